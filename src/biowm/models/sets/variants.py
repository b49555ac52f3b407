"""Who reads sets in the race: variants of the hierarchical additive trunk, and the rules everybody knows."""

from __future__ import annotations

from biowm.core.registry import register

from ..candidate import Candidate
from .fit import SetConfig, fit_sets

ADDITIVE = ("base", "context", "members")
VARIANTS = {
    "sets(additive)": SetConfig((*ADDITIVE, "dose")),
    "sets(shared)": SetConfig((*ADDITIVE, "shared", "side")),
    "sets(full)": SetConfig(
        (*ADDITIVE, "dose", "shared", "side", "pairs", "context*context", "members*context"), own="given"
    ),
}
_CONTEXT = ("base", "context", "context*context")
RULES = {
    "persistence": SetConfig(_CONTEXT, own="never", most=0),
    "mean": SetConfig((*_CONTEXT, "any"), own="never"),
    "additive": SetConfig((*_CONTEXT, "members"), own="never", penalty=1e-3, most=1),
    "ridge": SetConfig((*_CONTEXT, "members"), own="never", penalty=0.5),
}


@register("candidates", "sets")
def candidates() -> tuple[Candidate, ...]:
    """Three variants of the trunk; no change from the control, the mean of what was treated, sums of singles, ridge.

    All of them within their context. The rules are asked from the start alone: where something was read before, those
    of histories run.
    """
    trunks = tuple(_candidate(name, config) for name, config in VARIANTS.items())
    return (*trunks, *(_candidate(name, config, rule=True) for name, config in RULES.items()))


def _candidate(name: str, config: SetConfig, rule: bool = False) -> Candidate:
    def fit(m):
        return fit_sets(m.spec, m.frame, m.paths, config)

    return Candidate(name, rule, fit, origins=("start",) if rule else ("spread", "first", "start"), sets=True)
