"""Dose paths: what schedules give in each piece of a stretch of time, and how far two of them are apart."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from biowm.core.path import Path
from biowm.core.sampled import evenly
from biowm.core.schedule import Schedule, between
from biowm.core.spec import WorldSpec


@partial(jax.jit, static_argnums=2)
def _given(plans: Schedule, marks: Float[Array, "w m"], actions: int) -> Float[Array, "w p a"]:
    def piece(plan: Schedule, start: Array, stop: Array) -> Array:
        rate, bolus = between(plan, start, stop, actions)
        return rate + bolus  # an action is one or the other

    def one(plan: Schedule, at: Array) -> Array:
        return jax.vmap(piece, in_axes=(None, 0, 0))(plan, at[:-1], at[1:])

    return jax.vmap(one)(plans, marks)


def dose_paths(
    spec: WorldSpec, plans: Schedule, start: Float[np.ndarray, " w"], length: float | np.ndarray, pieces: int
) -> Float[np.ndarray, "w p a"]:
    """What each of W schedules gives in the `pieces` of [start, start + length): mean rates, and sums of boluses."""
    stop = np.broadcast_to(start + length, start.shape)
    marks = np.linspace(start, stop, pieces + 1, axis=1).astype(np.float32)
    return np.asarray(_given(plans, jnp.asarray(marks), len(spec.actions)))


def windows(paths: Path, length: float, most: int) -> tuple[Int[np.ndarray, " w"], Int[np.ndarray, " w"]]:
    """Subjects and readings from which they were followed for at least `length`; up to `most` a subject, evenly."""
    t, seen = np.asarray(paths.t), np.asarray(np.isfinite(np.asarray(paths.x)).any(-1))
    subject, origin = [], []
    for s in range(len(t)):
        last = t[s, seen[s]].max(initial=-np.inf)
        can = np.flatnonzero(seen[s] & (t[s] + length <= last * (1 + 1e-6) + 1e-6))
        picked = can[evenly(len(can), most)]
        subject += [s] * len(picked)
        origin += picked.tolist()
    return np.array(subject, int), np.array(origin, int)
