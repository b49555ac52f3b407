"""Training paths as the filter of a mechanism walks them."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from biowm.core.buckets import bucket
from biowm.core.path import Path, take
from biowm.core.schedule import between
from biowm.core.spec import WorldSpec

MOST_TIMES, MOST_READINGS = 96, 4096  # of a subject, and of all: more subjects where they are read less often


class Walk(NamedTuple):
    """Training paths as the filter walks them: gap, rates and doses before each reading, the reading, the traits."""

    dt: Float[Array, "*b t"]
    rate: Float[Array, "*b t a"]
    bolus: Float[Array, "*b t a"]
    x: Float[Array, "*b t d"]
    traits: Float[Array, "*b s"]


def walk_of(spec: WorldSpec, paths: Path, most: int | None = None) -> tuple[Walk, int]:
    """Some of the subjects (all, where they are few), padded with unread ones; how many they are."""
    most = MOST_READINGS // min(paths.t.shape[1], MOST_TIMES) if most is None else most
    chosen = np.random.default_rng(0).permutation(paths.t.shape[0])[:most]
    padded = np.concatenate([chosen, np.repeat(chosen[-1:], bucket(len(chosen)) - len(chosen))])
    some = take(paths, padded)
    x = np.array(some.x, np.float32)
    x[len(chosen) :] = np.nan
    dt, rate, bolus = (a[:, :MOST_TIMES] for a in _intervals(some, len(spec.actions)))
    return Walk(dt, rate, bolus, jnp.asarray(x[:, :MOST_TIMES]), jnp.asarray(some.traits)), len(chosen)


@eqx.filter_jit
def _intervals(paths: Path, n_actions: int) -> tuple[Array, Array, Array]:
    def one(path: Path) -> tuple[Array, Array, Array]:
        before = jnp.concatenate([path.t[:1], path.t[:-1]])
        rate, bolus = jax.vmap(lambda a, b: between(path.plan, a, b, n_actions))(before, path.t)
        return path.t - before, rate, bolus

    return jax.vmap(one)(paths)


def gaps_of(walk: Walk, most: int = 256) -> tuple[Array, Array, Array]:
    """Rates, lengths and first readings of some of the gaps."""
    dt = np.asarray(walk.dt[:, 1:]).reshape(-1)
    ahead = np.flatnonzero(dt > 0)
    some = np.random.default_rng(0).choice(ahead, most)
    rate, x = (np.asarray(a).reshape(dt.size, a.shape[-1])[some] for a in (walk.rate[:, 1:], walk.x[:, :-1]))
    return jnp.asarray(rate), jnp.asarray(dt[some]), jnp.asarray(x)
