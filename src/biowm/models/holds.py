"""Readings that hold: how likely a channel is to be read exactly as it was read last.

A score that nobody saw a reason to change, or a lesion that is measured the same, is not a small increment. Such a
channel has a point mass at its last value, by a hazard of change: over a gap it holds with probability
exp(-gap exp(w'x)), x being, just after the last reading, 1, log(1 + how long it has not changed), whether it just
changed, log(1 + time since the start), its value and that squared, whether it is the least or most ever read, and,
over the gap, mean doses and exposures. A hazard, unlike a share of readings, says the same of twelve steps of an hour
as of one of twelve hours.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.optimize import minimize

from biowm.core.path import Path
from biowm.core.registry import register

from .tracker import EXPOSURE_TAUS, Frame, Tracker, same, trace

# A channel holds if it ties this often, and this much more often than it makes any other change; changes are told
# apart in grains of its spread (single precision blurs them).
_LEAST_TIES, _MORE, _GRAIN = 30, 5.0, 1e-4
_PENALTY, _LOWEST, _HIGHEST = 1.0, -12.0, 5.0


@register("models", "Hold")
class Hold(eqx.Module):
    """Which channels hold (`on`, 0 or 1), their weights, and the least and most that was read (standardised)."""

    on: Float[Array, " d"]
    weights: Float[Array, "d f"]
    least: Float[Array, " d"]
    most: Float[Array, " d"]

    def chance(self, tracker: Tracker) -> Float[Array, " d"]:
        """How likely each channel is to be read now as it was read last: 0 where it does not hold."""
        hazard = jnp.exp(jnp.clip(jnp.sum(look(tracker, self.least, self.most) * self.weights, 1), _LOWEST, _HIGHEST))
        return self.on * jnp.exp(-hazard * jnp.maximum(tracker.age, 0.0))

    def held(self, tracker: Tracker, z: Float[Array, " d"]) -> Bool[Array, " d"]:
        """Whether a reading `z` of a channel that holds is the one before: it says nothing of how the channel moves."""
        return (self.on > 0) & same(z, tracker.z)

    def settle(self, tracker: Tracker, z: Float[Array, " d"], luck: Float[Array, " d"]) -> Float[Array, " d"]:
        """`z`, or the last value in channels whose `luck` (uniform on [0, 1)) it is to hold."""
        return jnp.where(luck < self.chance(tracker), tracker.z, z)


def look(tracker: Tracker, least: Float[Array, " d"], most: Float[Array, " d"]) -> Float[Array, "d f"]:
    """What the hazard goes by, one row a channel (see the module)."""
    start = jnp.maximum(tracker.clock - tracker.age, 0.0)
    columns = (
        jnp.ones_like(tracker.z), jnp.log1p(tracker.still), (tracker.still == 0).astype(jnp.float32), jnp.log1p(start),
        tracker.z, tracker.z**2, same(tracker.z, least).astype(jnp.float32), same(tracker.z, most).astype(jnp.float32),
    )  # fmt: skip
    gap = jnp.maximum(tracker.age, 1e-3)
    given = tracker.given / gap[:, None], (tracker.felt / gap[:, None, None]).reshape(gap.shape[0], -1)
    return jnp.concatenate([jnp.stack(columns, axis=1), *given], axis=1)


def width(n_actions: int) -> int:
    """How many features there are."""
    return 8 + n_actions * (1 + len(EXPOSURE_TAUS))


def no_holds(d: int, n_actions: int) -> Hold:
    """Of `d` channels that never hold."""
    return Hold(jnp.zeros(d), jnp.zeros((d, width(n_actions))), jnp.zeros(d), jnp.zeros(d))


def holding(x: Float[np.ndarray, "b t d"]) -> Bool[np.ndarray, " d"]:
    """Channels whose readings repeat exactly more than their coarseness explains (NaN = missing).

    A reading that is merely rounded repeats about as often as it changes by the least step.
    """
    found = np.zeros(x.shape[2], bool)
    for j in range(x.shape[2]):
        own = [v[np.isfinite(v)] for v in np.asarray(x[:, :, j], np.float64)]
        values = np.concatenate(own)
        if len(values) > 1:
            grain = max(_GRAIN * float(values.std()), 1e-300)
            steps = np.round(np.concatenate([np.diff(v) for v in own]) / grain)
            _, count = np.unique(steps[steps != 0], return_counts=True)
            found[j] = (steps == 0).sum() >= max(_LEAST_TIES, _MORE * count.max(initial=0))
    return found


def fit_holds(frame: Frame, paths: Path, n_actions: int) -> Hold:
    """Hazards of change by penalised likelihood, from stacked training paths."""
    x = np.asarray(paths.x)
    on, d = holding(x), x.shape[2]
    if not on.any():
        return no_holds(d, n_actions)
    z = frame.scale.to_z(x)
    least, most = np.nanmin(z, (0, 1)), np.nanmax(z, (0, 1))
    rows, gap, tied, mask = (
        np.asarray(a) for a in _rows(frame, paths, n_actions, jnp.asarray(least), jnp.asarray(most))
    )
    weights = np.zeros((d, width(n_actions)))
    for j in np.flatnonzero(on):
        use = mask[..., j]
        weights[j] = hazard(rows[:, :, j][use], gap[..., j][use], tied[..., j][use])
    return Hold(*(jnp.asarray(a, jnp.float32) for a in (on, weights, least, most)))


@eqx.filter_jit
def _rows(frame: Frame, paths: Path, n_actions: int, least: Float[Array, " d"], most: Float[Array, " d"]):
    """Features, gap, whether the reading is the one before, and whether there are two, by subject, time and channel."""

    def subject(path: Path):
        before = trace(frame, path, n_actions).before

        def at_time(tracker: Tracker, x: Float[Array, " d"]):
            read = jnp.isfinite(x)
            z = frame.scale.to_z(jnp.where(read, x, 1.0))
            mask = read & (tracker.seen > 0) & (tracker.age > 0)
            return look(tracker, least, most), tracker.age, same(z, tracker.z), mask

        return jax.vmap(at_time)(before, path.x)

    return jax.vmap(subject)(paths)


def hazard(rows: Float[np.ndarray, "n f"], gap: Float[np.ndarray, " n"], tied: Bool[np.ndarray, " n"]) -> np.ndarray:
    """Weights w of the log hazard, from whether each of n readings held over its gap: concave, so found surely."""
    rows, gap = rows.astype(np.float64), gap.astype(np.float64)
    penalty = np.full(rows.shape[1], _PENALTY)
    penalty[0] = 0.0  # of the constant

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        sum_of = np.exp(np.clip(rows @ w, _LOWEST, _HIGHEST)) * gap
        moved = np.maximum(-np.expm1(-sum_of), 1e-12)
        value = np.where(tied, sum_of, -np.log(moved)).sum() + 0.5 * penalty @ w**2
        slope = np.where(tied, sum_of, -sum_of * np.exp(-sum_of) / moved)
        return float(value), slope @ rows + penalty * w

    start = np.zeros(rows.shape[1])
    start[0] = np.log(max((~tied).sum(), 1) / gap.sum())
    return minimize(loss, start, jac=True, method="BFGS").x
