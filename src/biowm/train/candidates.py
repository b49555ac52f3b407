"""Who runs in the race: everything under `biowm/models/` that registered candidates, and other packages' entries."""

from __future__ import annotations

import numpy as np

from biowm.core import registry
from biowm.core.mechanism_units import Declared
from biowm.core.path import Path
from biowm.core.spec import WorldSpec
from biowm.models.candidate import Candidate, shared
from biowm.models.residuals.kernel import with_kernel
from biowm.models.trunks.mechanism_fit import entrant


def entrants(spec: WorldSpec | None = None, declared: Declared | None = None) -> tuple[Candidate, ...]:
    """All registered candidates, variants of trunks first, then the simple rules.

    Where a mechanism is `declared` it runs as it is and with a kernel on what it missed of the training subjects.
    Raises: ValueError where two of them have one name, BadInput where the mechanism does not fit `spec`.
    """
    found = [c for name in registry.names("candidates") for c in registry.get("candidates", name)()]
    if spec is not None and declared is not None:
        equations = shared(entrant(declared, spec))
        found[:0] = [equations, with_kernel(equations)]
    twice = sorted({c.name for c in found if sum(c.name == other.name for other in found) > 1})
    if twice:
        raise ValueError(f"candidates of one name: {', '.join(twice)}")
    return tuple(sorted(found, key=lambda c: c.is_rule))


def references() -> tuple[Candidate, ...]:
    """Baselines that no race runs and every report shows: what doses alone explain, what everything else does."""
    return tuple(c for name in registry.names("references") for c in registry.get("references", name)())


def eligible(
    spec: WorldSpec, paths: Path, declared: Declared | None = None, thorough: bool = False
) -> tuple[Candidate, ...]:
    """The entrants that find enough readings in the training paths to learn from; `thorough`: the slow ones too."""
    readings = int(np.isfinite(np.asarray(paths.x)[..., list(spec.targets)]).any(-1).sum())
    found = entrants(spec, declared)
    return tuple(c for c in found if c.least <= readings and (thorough or not c.thorough))


def spacing_of(paths: Path, targets: tuple[int, ...]) -> float:
    """The usual gap between readings: the median over all subjects."""
    t, seen = np.asarray(paths.t), np.asarray(np.isfinite(np.asarray(paths.x)[..., list(targets)]).any(-1))
    gaps = [np.diff(t[s, seen[s]]) for s in range(len(t))]
    pooled = np.concatenate(gaps) if gaps else np.empty(0)
    pooled = pooled[pooled > 0]
    if len(pooled) == 0:
        raise ValueError("no subject has two readings at different times: there are no dynamics to learn")
    return float(np.median(pooled))
