"""Who runs in the race: variants of the trunk, and the simple rules, each fitted to the same training paths."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from biowm.core.path import Path
from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.models.baselines.direct import Rule, fit_direct
from biowm.models.baselines.knn import fit_knn
from biowm.models.baselines.pairs import Pairs, pairs_of
from biowm.models.tracker import Frame, fit_frame
from biowm.models.trunks.em import Effects, MixedConfig, fit_mixed

LIBRARY = ("one", "z", "rate", "dose", "exposure", "z*dose", "z*exposure", "gap", "gap*dose")
RIDGE = MixedConfig(
    blocks=("one", "z", "delta", "gap", "dose", "z*dose", "delta*dose", "gap*dose"),
    effects="none",
    pace=0.0,
    power=0.0,
    traits=False,
    transform=False,
)


@dataclass(frozen=True)
class Material:
    """Training paths and what candidates share: scales, and the pairs of the direct rules."""

    spec: WorldSpec
    paths: Path
    frame: Frame
    longest: float

    @functools.cached_property
    def pairs(self) -> Pairs:
        """Origin and later reading pairs up to the longest horizon, built on first use."""
        return pairs_of(self.frame, self.paths, len(self.spec.actions), self.longest)


def material(spec: WorldSpec, paths: Path, spacing: float, longest: float) -> Material:
    """Fit the shared scales on the training paths."""
    return Material(spec, paths, fit_frame(spec, paths, spacing), longest)


@dataclass(frozen=True)
class Candidate:
    """One entrant: its name, whether it is a simple rule, and how it is fitted."""

    name: str
    is_rule: bool
    fit: Callable[[Material], World]


def _mixed(effects: Effects, memory: bool) -> Candidate:
    blocks = (*LIBRARY, "memory") if memory else LIBRARY
    config = MixedConfig(blocks, effects)
    name = f"mixed({effects}{', memory' if memory else ''})"
    return Candidate(name, False, lambda m: fit_mixed(m.spec, m.frame, m.paths, config))


def _direct(rule: Rule) -> Candidate:
    return Candidate(rule, True, lambda m: fit_direct(m.spec, m.frame, m.pairs, rule))


RULES = (
    _direct("persistence"),
    _direct("mean"),
    _direct("trend"),
    _direct("direct"),
    Candidate("ridge", True, lambda m: fit_mixed(m.spec, m.frame, m.paths, RIDGE)),
    Candidate("knn", True, lambda m: fit_knn(m.spec, m.frame, m.pairs)),
)
LEVELS: tuple[Effects, ...] = ("none", "action", "full")
VARIANTS = tuple(_mixed(effects, memory) for memory in (False, True) for effects in LEVELS)


def spacing_of(paths: Path, targets: tuple[int, ...]) -> float:
    """The usual gap between readings: the median over all subjects."""
    t, seen = np.asarray(paths.t), np.asarray(np.isfinite(np.asarray(paths.x)[..., list(targets)]).any(-1))
    gaps = [np.diff(t[s, seen[s]]) for s in range(len(t))]
    pooled = np.concatenate(gaps) if gaps else np.empty(0)
    pooled = pooled[pooled > 0]
    if len(pooled) == 0:
        raise ValueError("no subject has two readings at different times: there are no dynamics to learn")
    return float(np.median(pooled))
