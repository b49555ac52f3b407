"""The variants of the mixed trunk that are raced: three levels of random effects, with and without memory."""

from __future__ import annotations

from biowm.core.registry import register

from ..candidate import Candidate
from .em import Effects, MixedConfig
from .statespace_fit import fit_noisy

LIBRARY = ("one", "z", "rate", "dose", "exposure", "z*dose", "z*exposure", "gap", "gap*dose")
LEVELS: tuple[Effects, ...] = ("none", "action", "full")


@register("candidates", "mixed")
def candidates() -> tuple[Candidate, ...]:
    """Six variants; the race says which level pays and whether memory does, the likelihood how noisy readings are."""
    return tuple(
        Candidate(name, False, lambda m, config=config: fit_noisy(m.spec, m.frame, m.paths, config))
        for name, config in configs().items()
    )


def configs() -> dict[str, MixedConfig]:
    """The six variants by name."""
    return {
        f"mixed({effects}{', memory' if memory else ''})": MixedConfig(
            (*LIBRARY, "memory") if memory else LIBRARY, effects
        )
        for memory in (False, True)
        for effects in LEVELS
    }
