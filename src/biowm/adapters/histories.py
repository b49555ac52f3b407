"""What was read of subjects and done to them, as plain arrays: what a foreign model learns from and is asked with."""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from biowm.core.path import Path, take
from biowm.core.schedule import Schedule, between
from biowm.core.spec import WorldSpec


@dataclass(frozen=True)
class Histories:
    """B subjects, each with its rows at the end: row T - 1 is the latest, and padding stands in front.

    `times` (world clock; padding repeats the first). `readings` are in the channels' units, NaN where nothing was read
    and in padding. `actions` say what was given between the row before and this one: the mean rate of each action, or
    the total of boluses. `traits` are coded as in the spec.
    """

    times: Float[np.ndarray, "b t"]
    readings: Float[np.ndarray, "b t d"]
    actions: Float[np.ndarray, "b t a"]
    traits: Float[np.ndarray, "b s"]


def given(
    spec: WorldSpec, rate: Float[Array, " a"], bolus: Float[Array, " a"], dt: Float[Array, ""]
) -> Float[Array, " a"]:
    """What was given in `dt`, each action in its own terms: boluses as the total amount, all else as the mean rate."""
    is_bolus = jnp.array([card.kind == "bolus" for card in spec.actions], bool)
    per_time = jnp.where(dt > 0, 1 / jnp.where(dt > 0, dt, 1.0), 0.0)
    return jnp.where(is_bolus, bolus + rate * dt, rate + bolus * per_time)


@eqx.filter_jit
def _between(spec: WorldSpec, plans: Schedule, start: Float[Array, "b t"], stop: Float[Array, "b t"]) -> Array:
    def one(plan: Schedule, a: Array, b: Array) -> Array:
        return given(spec, *between(plan, a, b, len(spec.actions)), b - a)

    return jax.vmap(jax.vmap(one, (None, 0, 0)))(plans, start, stop)


def given_between(
    spec: WorldSpec, plans: Schedule, start: Float[np.ndarray, "b t"], stop: Float[np.ndarray, "b t"]
) -> Float[np.ndarray, "b t a"]:
    """What the schedule of each row gives over intervals (world clock), as in `Histories.actions`."""
    return np.array(_between(spec, plans, jnp.asarray(start, jnp.float32), jnp.asarray(stop, jnp.float32)))


def histories(
    spec: WorldSpec,
    paths: Path,
    subject: Int[np.ndarray, " q"] | None = None,
    origin: Int[np.ndarray, " q"] | None = None,
) -> Histories:
    """The histories of stacked paths: of all of them, or of `subject`, each up to its reading number `origin`.

    Nothing after the origin is in what is returned; times at which nothing was read make no row.
    """
    everyone = np.arange(len(paths.t)) if subject is None else np.asarray(subject)
    group = take(paths, everyone)
    t, x = np.asarray(group.t, np.float32), np.asarray(group.x, np.float32)
    last = np.full(len(t), t.shape[1] - 1) if origin is None else np.asarray(origin)
    kept = np.isfinite(x).any(-1) & (np.arange(t.shape[1])[None, :] <= last[:, None])
    width = max(int(kept.sum(1).max(initial=0)), 1)
    place = np.argsort(kept, axis=1, kind="stable")[:, -width:]  # rows that are kept go to the end, in their order
    real = np.take_along_axis(kept, place, axis=1)
    times = np.take_along_axis(t, place, axis=1)
    first = np.where(real, times, np.inf).min(1)
    times = np.where(real, times, np.where(np.isfinite(first), first, t[:, 0])[:, None])
    readings = np.where(real[..., None], np.take_along_axis(x, place[..., None], axis=1), np.nan)
    before = np.concatenate([times[:, :1], times[:, :-1]], axis=1)
    leads = real & (np.cumsum(real, axis=1) == 1)  # what came before the first row began with the path
    before = np.where(leads, t[:, :1], before)
    actions = given_between(spec, group.plan, before, times)
    return Histories(times, readings, actions, np.array(group.traits, np.float32))
