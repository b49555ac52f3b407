"""THE rollout: one scan over irregular times, vmapped over draws, subjects and candidate schedules.

Noise is keyed by (draw, absolute time): a rollout split at any time equals the whole, and counterfactuals
that share a key share their noise.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from .admissible import admissible
from .path import Path
from .schedule import Schedule, between
from .world import Belief, Moment, State, World

Carried = TypeVar("Carried")
_DRAW, _READ = 1, 2  # streams of noise: drawing the state, taking a reading (stepping uses the time alone)


def noise_at(key: PRNGKeyArray, t: Float[Array, ""]) -> PRNGKeyArray:
    """The key of the noise at absolute time `t`."""
    return jax.random.fold_in(key, jax.lax.bitcast_convert_type(t.astype(jnp.float32), jnp.uint32))


def _keep(new: Moment, old: Moment, move: Bool[Array, ""]) -> Moment:
    return jax.tree.map(lambda a, b: jnp.where(move, a, b), new, old)


def _now(moment: Moment, t: Float[Array, ""]) -> Moment:
    """The same at exactly `t`: in float32, t0 + (t - t0) may miss it, and with it a bolus given at `t`."""
    return eqx.tree_at(lambda m: m.t, moment, t)


def unroll(
    world: World, state: State, plan: Schedule, times: Float[Array, " t"], *, key: PRNGKeyArray
) -> tuple[State, Float[Array, "t d"]]:
    """Carry one state through `times`; returns the last state and a reading at each time.

    Times not after the state's own leave it as it is, so padding and repeats are harmless.
    """
    n_actions = len(world.spec.actions)

    def body(now: State, until: Float[Array, ""]) -> tuple[State, Float[Array, " d"]]:
        rate, bolus = between(plan, now.t, until, n_actions)
        noise = noise_at(key, until)
        after = world.step(world.impulse(now, bolus), rate, jnp.maximum(until - now.t, 0.0), key=noise)
        after = _keep(_now(after, until), now, until > now.t)
        reading = world.observe(after).sample(key=jax.random.fold_in(noise, _READ))
        return after, admissible(world.spec, reading)

    return jax.lax.scan(body, state, times)


def draw_states(
    world: World, belief: Belief, *, key: PRNGKeyArray, draws: int, first: Int[Array, ""] | int = 0
) -> State:
    """`draws` states from one belief (leading axis), from number `first` on; draw i depends on (key, i) alone."""
    keys = _draw_keys(key, draws, first)
    return jax.vmap(lambda k: world.draw(belief, key=jax.random.fold_in(k, _DRAW)))(keys)


def resume(
    world: World,
    states: State,
    plan: Schedule,
    times: Float[Array, " t"],
    *,
    key: PRNGKeyArray,
    first: Int[Array, ""] | int = 0,
) -> tuple[State, Float[Array, "n t d"]]:
    """Go on from drawn states under the same key: what `rollout` does after drawing."""
    keys = _draw_keys(key, states.t.shape[0], first)
    return jax.vmap(lambda s, k: unroll(world, s, plan, times, key=k))(states, keys)


def rollout(
    world: World,
    belief: Belief,
    plan: Schedule,
    times: Float[Array, " t"],
    *,
    key: PRNGKeyArray,
    draws: int,
    first: Int[Array, ""] | int = 0,
) -> Float[Array, "n t d"]:
    """`draws` futures of one subject at `times` (absolute, world clock), free-running under `plan`.

    Draw i depends on (key, i) alone, so many draws may be made in blocks: `first` is the number of the first.
    Returns readings in the channels' units. Callers vmap over subjects and candidate schedules and jit.
    """
    states = draw_states(world, belief, key=key, draws=draws, first=first)
    return resume(world, states, plan, times, key=key, first=first)[1]


def through(
    plan: Schedule,
    start: Float[Array, ""],
    stop: Float[Array, ""],
    parts: Int[Array, ""],
    n_actions: int,
    go: Callable[[Carried, Array, Array, Array, Array], Carried],
    carried: Carried,
) -> Carried:
    """Carry something from `start` to `stop` in equal parts: `go(carried, rate, bolus, until, dt)` for each."""

    def part(k: Int[Array, ""], now: Carried) -> Carried:
        a = start + (stop - start) * (k / parts)
        b = jnp.where(k + 1 < parts, start + (stop - start) * ((k + 1) / parts), stop)
        rate, bolus = between(plan, a, b, n_actions)
        return go(now, rate, bolus, b, jnp.maximum(b - a, 0.0))

    return jax.lax.fori_loop(0, parts, part, carried)


def assimilate(world: World, path: Path, until: Float[Array, ""] | None = None) -> Belief:
    """The belief after each time of one path, stacked along T; readings after `until` are not looked at."""
    n_actions = len(world.spec.actions)
    start = _now(world.begin(path.traits), path.t[0])

    def go(belief: Belief, rate: Array, bolus: Array, until: Array, dt: Array) -> Belief:
        return _now(world.predict(world.impulse(belief, bolus), rate, dt), until)

    def body(belief: Belief, now: tuple[Array, Array]) -> tuple[Belief, Belief]:
        t, x = now
        move = t > belief.t
        parts = world.strides(belief, jnp.maximum(t - belief.t, 0.0))
        ahead = through(path.plan, belief.t, t, parts, n_actions, go, belief)
        belief = _keep(_now(ahead, t), belief, move)
        mask = jnp.isfinite(x)
        if until is not None:
            mask = mask & (t <= until)
        read = world.update(belief, jnp.where(mask, x, 0.0), mask)
        belief = _keep(read, belief, jnp.any(mask))
        return belief, belief

    return jax.lax.scan(body, start, (path.t, path.x))[1]


def at(beliefs: Belief, index: Array | int) -> Belief:
    """The belief at one time of the stack that `assimilate` returns."""
    return jax.tree.map(lambda leaf: leaf[index], beliefs)


def _draw_keys(key: PRNGKeyArray, draws: int, first: Int[Array, ""] | int) -> Key[Array, " n"]:
    numbers = jnp.arange(draws, dtype=jnp.uint32) + jnp.asarray(first, jnp.uint32)
    return jax.vmap(lambda i: jax.random.fold_in(key, i))(numbers)


def time_grid(start: float, wanted: np.ndarray, spacing: float) -> tuple[Float[np.ndarray, " t"], np.ndarray]:
    """A grid from `start` through all `wanted` times with no step much longer than `spacing`.

    Returns the grid (without `start`, unless it is wanted) and the index of each wanted time in it. Gaps up
    to 1.5 spacings are left alone: visits are never regular, and a learned transition knows the length of its step.
    Raises ValueError for a wanted time before `start`.
    """
    wanted = np.asarray(wanted, float)
    if np.any(wanted < start):
        raise ValueError(f"time {wanted.min():g} is before the start of the grid, {start:g}")
    marks = np.unique(np.concatenate([[start], wanted]))
    pieces = [marks[:1]] if np.any(wanted == start) else []
    for a, b in pairwise(marks):
        n = max(1, int(np.ceil((b - a) / spacing - 0.5)))
        pieces.append(np.linspace(a, b, n + 1)[1:])
    grid = np.concatenate(pieces) if pieces else np.empty(0)
    index = np.searchsorted(grid, wanted)
    return grid.astype(np.float32), index
