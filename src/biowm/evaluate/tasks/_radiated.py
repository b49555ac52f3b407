"""The machines of `glioma-rt`: one a line and fold, its parts alone, and what they foretell of the validation wells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from biowm.core.forecast import forecast
from biowm.core.mechanism_units import Declared
from biowm.core.mechanisms.radiotherapy import Radiotherapy
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec
from biowm.core.world import World
from biowm.models.candidate import Candidate, material, shared
from biowm.models.residuals.kernel import with_kernel
from biowm.models.trunks.mechanism_fit import entrant
from biowm.models.trunks.mechanism_futures import fit_futures
from biowm.train.calibrate import Calibration, band, unpromised
from biowm.train.candidates import entrants, spacing_of
from biowm.train.contest import SMALL, Progress, silent
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons

from ..metrics import Forecast
from ._wells import CAMPAIGNS, Fold, Well, path_of

EVERY = 12.0  # hours between the readings that worlds are trained on, and between the times they are asked
PARTS = {
    "world:trunk": "mechanism(radiotherapy, futures)",
    "world:residual": "persistence + kernel",
    "world:trunk+residual": "mechanism(radiotherapy, futures) + kernel",
}
MEMBERS = {"direct": "direct", "ridge": "ridge", "race-knn": "knn"}
_TIMES = np.arange(EVERY, 348.0 + EVERY, EVERY)
_HORIZONS = (72.0, 168.0, 312.0)
_WIDE = (3.0,)  # spreads of the doses among the anchors

SPEC = WorldSpec(
    name="glioma-rt",
    clock="h",
    channels=(Channel("confluence", "1", link="log", low=0.0, high=1.0, floor=0.01, resolution=0.001),),
    actions=(ActionCard("radiation", "Gy", "bolus", 0.0, 10.0),),
    traits=(Trait("campaign", kind="category", levels=CAMPAIGNS),),
)


@dataclass(frozen=True)
class Machine:
    """The default world of one fold's training wells, and the parts of the mechanism's candidates by themselves."""

    fold: Fold
    fitted: Fitted
    parts: dict[str, World]


def build(wells: Sequence[Well], fold: Fold, seed: int, thorough: bool = False, tell: Progress = silent) -> Machine:
    """Fit the machine (`thorough`: with smooth neighbours); the race asks as the protocol does.

    That is from the first reading, of wells or schemes held out. Where schemes are unseen, wells are thinned to so
    many that every scheme is held out once.
    """
    train = [wells[i] for i in fold.train]
    if fold.protocol != "in" and len(train) >= SMALL:
        train = [train[i] for i in np.linspace(0, len(train) - 1, SMALL - 8).round().astype(int)]
    units = [w.name if fold.protocol == "in" else w.scheme for w in train]
    paths = stack([path_of(w, EVERY) for w in train])
    everyone = candidates(thorough)
    fitted = fit_paths(
        SPEC, paths, Horizons("clock", _HORIZONS, "h", "first"), seed=seed, units=units,
        candidates=everyone, halves=False, progress=tell,
    )  # fmt: skip
    ready = material(SPEC, paths, spacing_of(paths, SPEC.targets), _HORIZONS[-1])
    fits = {c.name: c.fit for c in everyone}
    parts = {name: fitted.members.get(part) or fits[part](ready) for name, part in PARTS.items()}
    return Machine(fold, fitted, parts)


def candidates(thorough: bool = False) -> tuple[Candidate, ...]:
    """Who runs: the mechanism fitted by its futures, the mixed trunk, kernels, and the simple rules.

    What is known of doses is in the mechanism: the kernel on it is wide in them. Of those that run in `thorough` fits
    alone the recurrent network is left out: whole curves from one reading give it no history to read.
    """
    usual = {c.name: c for c in entrants()}
    trunk = shared(entrant(Declared(Radiotherapy()), SPEC, fit_futures, "futures"))
    kernels = (with_kernel(trunk, _WIDE), with_kernel(usual["persistence"]))
    slow = (usual["smooth"],) if thorough else ()
    return (trunk, usual["mixed(full)"], *slow, *kernels, *(c for c in usual.values() if c.is_rule))


def foretold(machine: Machine, wells: Sequence[Well], name: str, origin: float, seed: int, draws: int) -> Forecast:
    """The forecast of a fold's validation wells at their own times, padded as the truths are."""
    world, calibration = _member(machine, name)
    tests = [wells[i] for i in machine.fold.test]
    paths: Path = stack([path_of(w, EVERY) for w in tests])
    times = _TIMES[origin < _TIMES]
    n = len(tests)
    queries = Queries(np.arange(n), np.full(n, int(origin / EVERY)), np.tile(times, (n, 1)).astype(np.float32))
    area = forecast(world, paths, queries, key=jax.random.key(seed), draws=draws)
    leads = np.tile(times - origin, (n, 1))
    edges = [band(calibration, SPEC, area, leads, kind)[1:] for kind in ("pointwise", "joint")]
    start = np.array([np.interp(origin, w.t, w.y) for w in tests])

    def own(values: Float[np.ndarray, "q h"]) -> Float[np.ndarray, "q t"]:
        """At the wells' own times, linear from the reading at the origin on."""
        out = np.full((n, max(len(w.t) for w in wells)), np.nan)
        for i, w in enumerate(tests):
            out[i, : len(w.t)] = np.interp(w.t, [origin, *times], [start[i], *values[i]])
        return out

    every = np.stack([own(area[:, k, :, 0]) for k in range(draws)], axis=1)
    (low, high), (joint_low, joint_high) = ([own(edge[..., 0]) for edge in pair] for pair in edges)
    return Forecast(every.mean(1), np.median(every, axis=1), every, low, high, joint_low, joint_high)


def _member(machine: Machine, name: str) -> tuple[World, Calibration]:
    """A world with its bands; those of the parts are raw, as nobody has calibrated them."""
    fitted = machine.fitted
    if name == "world":
        return fitted.world, fitted.calibration
    if name == "world:no-rules":
        return fitted.rules_free, fitted.rules_calibration[name]
    if name in MEMBERS:
        return fitted.members[MEMBERS[name]], fitted.rules_calibration[MEMBERS[name]]
    return machine.parts[name], unpromised(fitted.calibration)
