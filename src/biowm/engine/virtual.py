"""Virtual patients: newcomers of any world, each of whom lives through every arm by the same chances."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from biowm.core.path import Path
from biowm.core.programs import make_room
from biowm.core.rollout import assimilate, at, draw_states, resume
from biowm.core.schedule import Schedule, schedule
from biowm.core.world import Mixture, World

from .newcomers import Newcomers

_CHUNK = 256  # patients that one compiled program serves


@eqx.filter_jit
def _lived(
    world: World, traits: Float[Array, "n s"], reading: Float[Array, "n d"], keys: Key[Array, " n"], plans: Schedule,
    nothing: Schedule, times: Float[Array, " t"],
) -> Float[Array, "n a t d"]:  # fmt: skip
    def one(own: Float[Array, " s"], first: Float[Array, " d"], key: PRNGKeyArray) -> Float[Array, "a t d"]:
        path = Path(jnp.zeros(1), first[None], nothing, own, 0)
        state = draw_states(world, at(assimilate(world, path), 0), key=key, draws=1)
        return jax.vmap(lambda plan: resume(world, state, plan, times, key=key)[1][0])(plans)

    return jax.vmap(one)(traits, reading, keys)


def live(
    world: World,
    newcomers: Newcomers,
    plans: Sequence[Schedule],
    times: Float[np.ndarray, " t"],
    *,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Float[np.ndarray, "n a t d"]:
    """Readings of every newcomer at `times` (the world's clock, from 0) under each of the plans (of one size).

    A newcomer is one draw of the belief after its first reading: its random effects, state and chances depend on
    (seed, newcomer) alone, so that the arms differ by treatment only. Of a mixture each follows one member, drawn by
    weight. One compiled program serves all members of one structure.
    """
    n, width = newcomers.reading.shape
    members = world.members() if isinstance(world, Mixture) else [(world, 1.0)]
    follows = _followed([weight for _, weight in members], n, seed)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(n, dtype=jnp.uint32))
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *plans)
    nothing = jax.tree.map(jnp.asarray, schedule([]))
    out = np.empty((n, len(plans), len(times), width), np.float32)
    done = 0
    make_room()
    for m, (member, _) in enumerate(members):
        rows = np.flatnonzero(follows == m)
        for start in range(0, len(rows), _CHUNK):
            some = rows[start : start + _CHUNK]
            full = np.concatenate([some, np.repeat(some[-1:], _CHUNK - len(some))])
            who = (jnp.asarray(newcomers.traits[full]), jnp.asarray(newcomers.reading[full]), keys[jnp.asarray(full)])
            got = _lived(member, *who, stacked, nothing, jnp.asarray(times, jnp.float32))
            out[some] = np.asarray(got)[: len(some)]
            done += len(some)
            progress(done / n)
    return out


def _followed(weights: Sequence[float], n: int, seed: int) -> Int[np.ndarray, " n"]:
    share = np.asarray(weights, np.float64)
    return np.random.default_rng([seed, 4]).choice(len(share), n, p=share / share.sum())
