"""Ridge-VAR with exposures: the next reading, linear in the last two, the gap and what was given over it."""

from __future__ import annotations

from biowm.core.registry import register

from ..candidate import Candidate
from ..trunks.em import MixedConfig, fit_mixed

RIDGE = MixedConfig(
    blocks=("one", "z", "delta", "gap", "dose", "z*dose", "delta*dose", "gap*dose"),
    effects="none",
    pace=0.0,
    power=0.0,
    traits=False,
    transform=False,
    holds=False,
    fades=False,
)


@register("candidates", "ridge")
def candidates() -> tuple[Candidate, ...]:
    """The plain trunk: no random effects, exposures, traits, transforms, holds or fades; a rule everybody knows."""
    return (Candidate("ridge", True, lambda m: fit_mixed(m.spec, m.frame, m.paths, RIDGE)),)
