"""What stays with a subject: the parts of a state that no step changes.

In a simulator they are its true parameters, in a learned world its random effects; one rule finds both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray

from biowm.core.path import Path
from biowm.core.rollout import assimilate, at, draw_states
from biowm.core.world import Mixture, State, World

_SAME, _OPEN = 1e-6, 1e-6  # of the spread of the draws, and of the size of the numbers


@dataclass(frozen=True)
class Constants:
    """N draws of what stays with each of B subjects, with the names of the columns."""

    names: tuple[str, ...]
    draws: Float[np.ndarray, "b n c"]

    @property
    def mean(self) -> Float[np.ndarray, "b c"]:
        """What is expected of every subject."""
        return self.draws.mean(1)

    @property
    def sd(self) -> Float[np.ndarray, "b c"]:
        """How sure that is."""
        return self.draws.std(1)


def columns(states: State) -> Constants:
    """All real numbers of states [B, N, ...] as columns, named by field and place."""
    names, parts = [], []
    for path, leaf in jax.tree_util.tree_flatten_with_path(states)[0]:
        if eqx.is_inexact_array(leaf):
            field, places = jax.tree_util.keystr(path, simple=True, separator="."), list(np.ndindex(leaf.shape[2:]))
            names += [field + "".join(f"[{i}]" for i in place) for place in places]
            parts.append(np.asarray(leaf, np.float64).reshape(*leaf.shape[:2], len(places)))
    return Constants(tuple(names), np.concatenate(parts, axis=2))


def pick(found: Constants, names: Sequence[str]) -> Constants:
    """Some of the columns, by name."""
    return Constants(tuple(names), found.draws[:, :, [found.names.index(name) for name in names]])


def constants(
    world: World,
    paths: Path,
    top: Float[np.ndarray, " a"],
    *,
    draws: int,
    seed: int,
    names: Sequence[str] | None = None,
) -> Constants:
    """What stays with the subjects of stacked paths, drawn from the belief after all their readings.

    A number stays if two steps under the doses `top` leave it as it is, and is open if draws of one subject differ in
    it; `names` picks columns instead. Of a mixture the member with most weight speaks.
    """
    if isinstance(world, Mixture):
        world = max(world.members(), key=lambda member: member[1])[0]
    keys = jax.random.split(jax.random.key(seed), len(np.asarray(paths.t)))
    drawn = _drawn(world, jax.tree.map(jnp.asarray, paths), keys, jnp.asarray(top, jnp.float32), draws)
    now, later = (columns(states) for states in drawn)
    if names is None:
        names = [name for name, stayed in zip(now.names, _stays(now.draws, later.draws), strict=True) if stayed]
    return pick(now, names)


@eqx.filter_jit
def _drawn(
    world: World, paths: Path, keys: Key[Array, " b"], top: Float[Array, " a"], draws: int
) -> tuple[State, State]:
    """States after each whole path, and two steps of full doses later: what is remembered goes by the second."""

    def one(path: Path, key: PRNGKeyArray) -> tuple[State, State]:
        states = draw_states(world, at(assimilate(world, path), -1), key=key, draws=draws)
        dt = jnp.asarray(world.spacing, jnp.float32)
        then = jax.vmap(lambda s, k: world.step(world.impulse(s, top), top, dt, key=k))
        once, twice = jax.random.split(key)
        return states, then(then(states, jax.random.split(once, draws)), jax.random.split(twice, draws))

    return jax.vmap(one)(paths, keys)


def _stays(now: Float[np.ndarray, "b n f"], later: Float[np.ndarray, "b n f"]) -> Bool[np.ndarray, " f"]:
    """Which columns these steps leave as they are although a subject's draws differ in them."""
    spread = now.std(1).max(0)
    return (spread > _OPEN * np.abs(now).max((0, 1))) & (np.abs(later - now).max((0, 1)) <= _SAME * spread)
