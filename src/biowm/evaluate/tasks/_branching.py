"""Futures of many patients from several days each under many plans: filtered once, drawn once, then every plan."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from biowm.core.path import Path, take
from biowm.core.rollout import assimilate, at, draw_states, resume
from biowm.core.schedule import Schedule
from biowm.core.world import World

AHEAD = 5
SLIDING, RANDOM = slice(0, 10), slice(11, 21)  # of the plans
_CHUNK = 8  # patients that one compiled program takes


@eqx.filter_jit
def _futures(
    world: World, paths: Path, origin: Int[Array, "b o"], plans: Schedule, keys: Key[Array, " b"], draws: int, days: int
) -> Float[Array, "b o p n h"]:
    def one(args):
        path, origins, courses, key = args
        beliefs = assimilate(world, path)

        def from_day(o: Int[Array, ""], options: Schedule) -> Float[Array, "p n h"]:
            belief = at(beliefs, o)
            states = draw_states(world, belief, key=key, draws=draws)
            times = belief.t + jnp.arange(1, days + 1, dtype=jnp.float32)
            return jax.vmap(lambda plan: resume(world, states, plan, times, key=key)[1][..., 0])(options)

        return jax.vmap(from_day)(origins, courses)

    return jax.lax.map(one, (paths, origin, plans, keys))


def futures(
    world: World,
    paths: Path,
    origin: Int[np.ndarray, "n o"],
    plans: Schedule,
    *,
    key: PRNGKeyArray,
    draws: int,
    days: int,
) -> Float[np.ndarray, "n o p draws h"]:
    """Draws of the only channel on each of the `days` after every origin, under every one of its `plans` [n, o, p].

    The noise is that of `forecast`: it depends on (key, patient, draw, time), so that plans share it.
    """
    n = len(origin)
    parts = []
    for start in range(0, n, _CHUNK):
        rows = np.arange(start, start + _CHUNK).clip(max=n - 1)
        keys = jax.vmap(lambda s: jax.random.fold_in(key, s))(jnp.asarray(rows))
        asked = (take(paths, rows), jnp.asarray(origin[rows]), take(plans, rows))
        got = _futures(world, *asked, keys, draws, days)
        parts.append(np.asarray(got)[: n - start])
    return np.concatenate(parts)


def plans(rng: np.random.Generator, shape: tuple[int, ...]) -> Bool[np.ndarray, "*n 21 5 2"]:
    """21 plans of five days and two treatments: each alone on each day, both on the first, ten at random."""
    given = np.zeros((*shape, 21, AHEAD, 2), bool)
    for day in range(AHEAD):
        given[..., day, day, 0] = given[..., AHEAD + day, day, 1] = True
    given[..., 10, 0, :] = True
    given[..., RANDOM, :, :] = rng.integers(0, 2, (*shape, 10, AHEAD, 2))
    return given
