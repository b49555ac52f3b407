"""The feature library of the linear trunks: named blocks, computed per channel from a tracker."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from .tracker import EXPOSURE_TAUS, MEMORY_TAUS, Tracker

BLOCKS = (
    "one", "z", "delta", "rate", "dose", "exposure", "z*dose", "z*exposure", "delta*dose", "gap", "gap*dose", "memory",
)  # fmt: skip
ACTION_BLOCKS = ("one", "dose", "exposure")
_RATE_LIMIT = 3.0


def widths(d: int, a: int) -> dict[str, int]:
    """Number of columns of each block for `d` channels and `a` actions."""
    k, m = len(EXPOSURE_TAUS), len(MEMORY_TAUS)
    sizes = (1, d, d, d, a, a * k, a, a * k, a, 1, a, d * m)
    return dict(zip(BLOCKS, sizes, strict=True))


def columns_of(chosen: tuple[str, ...], d: int, a: int) -> Bool[np.ndarray, " p"]:
    """Which columns of a row belong to the chosen blocks."""
    return np.concatenate([np.full(w, name in chosen) for name, w in widths(d, a).items()])


def features(tracker: Tracker) -> Float[Array, "d p"]:
    """One row a channel: everything known just before its next reading.

    Doses and exposures are means over the time since that channel's own last reading; products are with
    the channel's own last value.
    """
    d = tracker.z.shape[0]
    gap = jnp.maximum(tracker.age, 1e-3)
    dose = tracker.given / gap[:, None]
    exposure = (tracker.felt / gap[:, None, None]).reshape(d, -1)
    delta = tracker.z - tracker.prev
    rate = jnp.where(tracker.lag > 0, delta / jnp.maximum(tracker.lag, 1e-3), 0.0)
    rate = jnp.clip(rate, -_RATE_LIMIT, _RATE_LIMIT)
    away = (tracker.z[:, None] - tracker.mean).reshape(-1)

    def everyone(row: Float[Array, " w"]) -> Float[Array, "d w"]:
        return jnp.broadcast_to(row[None, :], (d, row.shape[0]))

    columns = {
        "one": jnp.ones((d, 1)),
        "z": everyone(tracker.z),
        "delta": everyone(delta),
        "rate": everyone(rate),
        "dose": dose,
        "exposure": exposure,
        "z*dose": tracker.z[:, None] * dose,
        "z*exposure": tracker.z[:, None] * exposure,
        "delta*dose": delta[:, None] * dose,
        "gap": jnp.log(gap)[:, None],
        "gap*dose": jnp.log(gap)[:, None] * dose,
        "memory": everyone(away),
    }
    return jnp.concatenate([columns[name] for name in BLOCKS], axis=1)


def slopes(tracker: Tracker) -> Float[Array, "d p"]:
    """How each channel's own row changes with its own last value."""

    def of(z: Float[Array, " d"]) -> Float[Array, "d p"]:
        return features(eqx.tree_at(lambda s: s.z, tracker, z))

    turned = jax.vmap(lambda way: jax.jvp(of, (tracker.z,), (way,))[1])(jnp.eye(tracker.z.shape[0]))
    return jnp.einsum("jjp->jp", turned)


def with_traits(row: Float[Array, "d p"], tracker: Tracker) -> Float[Array, "d q"]:
    """The row of the fixed effects: the random effects' row, then traits times (1, doses, exposures)."""
    d, a = tracker.given.shape
    acting = jnp.asarray(np.flatnonzero(columns_of(ACTION_BLOCKS, d, a)))
    crossed = tracker.traits[None, :, None] * row[:, acting][:, None, :]
    return jnp.concatenate([row, crossed.reshape(d, -1)], axis=1)
