"""Who runs in the race: everything under `biowm/models/` that registered candidates, and other packages' entries."""

from __future__ import annotations

import numpy as np

from biowm.core import registry
from biowm.core.path import Path
from biowm.models.candidate import Candidate


def entrants() -> tuple[Candidate, ...]:
    """All registered candidates, variants of trunks first, then the simple rules.

    Raises: ValueError where two of them have one name.
    """
    found = [c for name in registry.names("candidates") for c in registry.get("candidates", name)()]
    twice = sorted({c.name for c in found if sum(c.name == other.name for other in found) > 1})
    if twice:
        raise ValueError(f"candidates of one name: {', '.join(twice)}")
    return tuple(sorted(found, key=lambda c: c.is_rule))


def spacing_of(paths: Path, targets: tuple[int, ...]) -> float:
    """The usual gap between readings: the median over all subjects."""
    t, seen = np.asarray(paths.t), np.asarray(np.isfinite(np.asarray(paths.x)[..., list(targets)]).any(-1))
    gaps = [np.diff(t[s, seen[s]]) for s in range(len(t))]
    pooled = np.concatenate(gaps) if gaps else np.empty(0)
    pooled = pooled[pooled > 0]
    if len(pooled) == 0:
        raise ValueError("no subject has two readings at different times: there are no dynamics to learn")
    return float(np.median(pooled))
