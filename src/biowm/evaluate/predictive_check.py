"""Visual predictive check: do subjects drawn from a mechanism's population look like those that were read?

Every subject is simulated anew many times under its own schedule at its own times, from the population alone: nothing
of its readings is used. Percentiles of all readings in a bin of time lie, for equations that hold, within the band of
the same percentiles of the simulated trials. Where schedules differ, readings are corrected by what is typical under
each (Bergstrand et al. 2011, doi:10.1208/s12248-011-9255-z), in link space.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from biowm.core.path import Path, take
from biowm.core.rollout import rollout
from biowm.models.trunks.mechanism import Mechanistic
from biowm.train.fitted import Fitted

PERCENT = (5, 50, 95)
_DRAWS, _CHUNK = 200, 64  # simulated trials, subjects at once
_BINS, _LEAST = 10, 20  # most bins of time, readings in each
_BAND = (2.5, 50.0, 97.5)


@dataclass(frozen=True)
class Percentile:
    """One percentile of the readings of a bin of time, and 2.5, 50 and 97.5 % of that of the simulated trials."""

    start: float
    stop: float
    middle: float
    n: int
    percent: int
    observed: float
    low: float
    median: float
    high: float

    @property
    def inside(self) -> bool:
        """Whether the readings look like the simulated ones, but for rounding of a limit."""
        slack = 1e-4 * abs(self.observed)
        return self.low - slack <= self.observed <= self.high + slack


@dataclass(frozen=True)
class PredictiveCheck:
    """The check of one channel of one model, over `subjects` of whom `held_out` were not learned from."""

    model: str
    channel: int
    corrected: bool
    subjects: int
    held_out: int
    percentiles: tuple[Percentile, ...]


def predictive_checks(fitted: Fitted, *, seed: int = 0) -> tuple[PredictiveCheck, ...]:
    """A check of each channel that a mechanism among the members reads; none where histories were left out."""
    cohort = fitted.cohort
    worlds = {n: world for n, world in fitted.members.items() if isinstance(world, Mechanistic)}
    if cohort is None:
        return ()
    held = sum(part == "test" for part in cohort.split)
    checks = []
    for name, world in worlds.items():
        drawn = simulated(world, cohort.paths, seed)
        for j in sorted(set(world.wiring.channel)):
            found, corrected = compared(world, cohort.paths, drawn[..., j], j)
            if found:
                checks.append(PredictiveCheck(name, j, corrected, len(cohort.subjects), held, found))
    return tuple(checks)


def simulated(world: Mechanistic, paths: Path, seed: int) -> Float[np.ndarray, "b n t d"]:
    """Readings of new subjects under the schedules and at the times of stacked paths."""
    n = paths.t.shape[0]
    keys = jax.random.split(jax.random.key(seed), n)
    parts = []
    for first in range(0, n, _CHUNK):
        rows = np.minimum(np.arange(first, first + _CHUNK), n - 1)
        parts.append(np.asarray(_drawn(world, take(paths, rows), keys[rows])))
    return np.concatenate(parts)[:n]


@eqx.filter_jit
def _drawn(world: Mechanistic, paths: Path, keys: Key[Array, " b"]) -> Float[Array, "b n t d"]:
    def one(path: Path, key: PRNGKeyArray) -> Array:
        prior = eqx.tree_at(lambda b: b.t, world.begin(path.traits), jnp.asarray(path.t[0]))
        return rollout(world, prior, path.plan, jnp.asarray(path.t), key=key, draws=_DRAWS)

    return jax.vmap(one)(paths, keys)


def compared(
    world: Mechanistic, paths: Path, drawn: Float[np.ndarray, "b n t"], j: int
) -> tuple[tuple[Percentile, ...], bool]:
    """The percentiles of one channel by bins of time, and whether they are corrected by what is typical."""
    t, x = np.asarray(paths.t), np.asarray(paths.x)[..., j]
    seen = np.isfinite(x)
    if seen.sum() < _LEAST:
        return (), False
    both = np.concatenate([x[:, None], drawn], axis=1).astype(float)  # the first trial is the real one
    trials = np.moveaxis(both, 1, 0)[:, seen]
    z, when, corrected = _linked(world, trials, j), t[seen], _differ(paths)
    typical = np.median(z[1:], axis=0)
    found = []
    for rows in _bins(when):
        part = z[:, rows] - (typical[rows] - np.median(typical[rows]) if corrected else 0.0)
        levels = _unlinked(world, np.percentile(part, PERCENT, axis=1), j)
        low, median, high = np.percentile(levels[:, 1:], _BAND, axis=1)
        ends = (float(when[rows].min()), float(when[rows].max()), float(np.median(when[rows])), len(rows))
        for i, percent in enumerate(PERCENT):
            values = (float(v) for v in (levels[i, 0], low[i], median[i], high[i]))
            found.append(Percentile(*ends, percent, *values))
    return tuple(found), corrected


def _linked(world: Mechanistic, x: Float[np.ndarray, "n m"], j: int) -> Float[np.ndarray, "n m"]:
    """Readings of a channel in standardised link space."""
    return np.asarray(world.frame.scale.to_z(np.repeat(x[..., None], len(world.spec.channels), axis=-1)))[..., j]


def _unlinked(world: Mechanistic, z: Float[np.ndarray, "n m"], j: int) -> Float[np.ndarray, "n m"]:
    return np.asarray(world.frame.scale.to_x(np.repeat(z[..., None], len(world.spec.channels), axis=-1)))[..., j]


def _differ(paths: Path) -> bool:
    """Whether some were given other things than who was read longest, until their own last reading."""
    t, there = np.asarray(paths.t), np.isfinite(np.asarray(paths.x)).any(-1)
    last = np.where(there, t, -np.inf).max(axis=1)
    plan = paths.plan
    given = np.stack([np.asarray(a, float) for a in (plan.card, plan.dose, plan.onset, plan.stop)], axis=-1).round(4)
    longest = given[np.argmax(last)]

    def before(rows: Float[np.ndarray, "k 4"], end: float) -> set[tuple[float, ...]]:
        return {tuple(row) for row in rows if row[0] >= 0 and row[2] < end}

    return any(before(own, end) != before(longest, end) for own, end in zip(given, last.tolist(), strict=True))


def _bins(when: Float[np.ndarray, " m"]) -> Sequence[Int[np.ndarray, " k"]]:
    """Readings by time: those of one time together where there are few times, else as many in each."""
    moments = np.unique(np.round(when, 6))
    most = int(np.clip(len(when) // _LEAST, 1, _BINS))
    if len(moments) <= most:
        edges = moments[1:]
    else:
        edges = np.unique(np.quantile(when, np.linspace(0, 1, most + 1)[1:-1], method="higher"))
    place = np.searchsorted(edges, when + 1e-6, side="right")
    return [np.flatnonzero(place == b) for b in np.unique(place)]
