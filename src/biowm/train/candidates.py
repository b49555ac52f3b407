"""Who runs in the race: everything under `biowm/models/` that registered candidates, and other packages' entries."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from biowm.core import registry
from biowm.core.mechanism_units import Declared
from biowm.core.path import Path
from biowm.core.queries import Origins
from biowm.core.spec import WorldSpec
from biowm.models.candidate import Candidate, shared
from biowm.models.residuals.kernel import with_kernel
from biowm.models.trunks.mechanism_fit import entrant


def entrants(
    spec: WorldSpec | None = None, declared: Declared | None = None, origins: Origins = "spread"
) -> tuple[Candidate, ...]:
    """All registered candidates that answer from these `origins`, variants of trunks first, then the simple rules.

    Those that read sets run where `spec` has actions that are held together. Where a mechanism is `declared` it runs as
    it is and with a kernel on what it missed of the training subjects.
    Raises: ValueError where two of them have one name, BadInput where the mechanism does not fit `spec`.
    """
    held = spec is not None and any(card.kind == "set-member" for card in spec.actions)
    found = [c for name in registry.names("candidates") for c in registry.get("candidates", name)()]
    found = [c for c in found if origins in c.origins and (held or not c.sets)]
    if spec is not None and declared is not None:
        equations = shared(entrant(declared, spec))
        found[:0] = [equations, with_kernel(equations)]
    twice = sorted({c.name for c in found if sum(c.name == other.name for other in found) > 1})
    if twice:
        raise ValueError(f"candidates of one name: {', '.join(twice)}")
    return tuple(sorted(found, key=lambda c: c.is_rule))


def references(origins: Origins = "spread") -> tuple[Candidate, ...]:
    """Baselines that no race runs and every report shows: what doses alone explain, what everything else does."""
    found = [c for name in registry.names("references") for c in registry.get("references", name)()]
    return tuple(c for c in found if origins in c.origins)


def eligible(
    spec: WorldSpec, paths: Path, declared: Declared | None = None, thorough: bool = False,
    origins: Origins = "spread",
) -> tuple[Candidate, ...]:  # fmt: skip
    """The entrants that find enough readings in the training paths to learn from; `thorough`: the slow ones too."""
    readings = int(np.isfinite(np.asarray(paths.x)[..., list(spec.targets)]).any(-1).sum())
    found = entrants(spec, declared, origins)
    found = (c for c in found if c.least <= readings and (thorough or not c.thorough))
    return tuple(c for c in found if c.runs(spec, paths))


def spacing_of(paths: Path, targets: tuple[int, ...]) -> float:
    """The usual gap between readings: the median over all subjects; from the start, where nobody is read twice."""
    t, seen = np.asarray(paths.t), np.asarray(np.isfinite(np.asarray(paths.x)[..., list(targets)]).any(-1))
    pooled = _gaps(t, seen)
    if len(pooled) == 0:
        seen[:, 0] = True
        pooled = _gaps(t, seen)
    if len(pooled) == 0:
        raise ValueError("no subject has two readings at different times: there are no dynamics to learn")
    return float(np.median(pooled))


def _gaps(t: Float[np.ndarray, "b t"], seen: Bool[np.ndarray, "b t"]) -> Float[np.ndarray, " g"]:
    gaps = np.concatenate([np.empty(0), *(np.diff(t[s, seen[s]]) for s in range(len(t)))])
    return gaps[gaps > 0]
