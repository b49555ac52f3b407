"""The variants of the mixed trunk that are raced: three levels of random effects, with and without memory."""

from __future__ import annotations

from biowm.core.registry import register

from ..candidate import Candidate
from .em import Effects, MixedConfig, fit_mixed

LIBRARY = ("one", "z", "rate", "dose", "exposure", "z*dose", "z*exposure", "gap", "gap*dose")
LEVELS: tuple[Effects, ...] = ("none", "action", "full")


@register("candidates", "mixed")
def candidates() -> tuple[Candidate, ...]:
    """Six variants; which level and whether memory pays is for the race to say."""
    return tuple(_variant(effects, memory) for memory in (False, True) for effects in LEVELS)


def _variant(effects: Effects, memory: bool) -> Candidate:
    config = MixedConfig((*LIBRARY, "memory") if memory else LIBRARY, effects)
    name = f"mixed({effects}{', memory' if memory else ''})"
    return Candidate(name, False, lambda m: fit_mixed(m.spec, m.frame, m.paths, config))
