"""The feature library of the linear trunks: named blocks, computed per channel from a tracker."""

from __future__ import annotations

from itertools import accumulate

import jax.numpy as jnp
from jaxtyping import Array, Float

from .tracker import EXPOSURE_TAUS, MEMORY_TAUS, Tracker

BLOCKS = ("one", "z", "delta", "rate", "dose", "exposure", "z*dose", "z*exposure", "delta*dose", "gap", "gap*dose", "memory")
ACTION_BLOCKS = ("one", "dose", "exposure")
_RATE_LIMIT = 3.0


def widths(blocks: tuple[str, ...], d: int, a: int) -> dict[str, int]:
    """Number of columns of each block for `d` channels and `a` actions."""
    k, m = len(EXPOSURE_TAUS), len(MEMORY_TAUS)
    sizes = {
        "one": 1, "z": d, "delta": d, "rate": d, "dose": a, "exposure": a * k, "z*dose": a,
        "z*exposure": a * k, "delta*dose": a, "gap": 1, "gap*dose": a, "memory": d * m,
    }  # fmt: skip
    return {name: sizes[name] for name in blocks}


def features(tracker: Tracker, blocks: tuple[str, ...]) -> Float[Array, "d p"]:
    """One row a channel: everything known just before its next reading.

    Doses and exposures are means over the time since that channel's own last reading; products are with
    the channel's own last value.
    """
    d, a = tracker.given.shape
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
    return jnp.concatenate([columns[name] for name in blocks], axis=1)


def with_traits(row: Float[Array, "d p"], tracker: Tracker, blocks: tuple[str, ...]) -> Float[Array, "d q"]:
    """The row of the fixed effects: the random effects' row, then traits times (1, doses, exposures)."""
    d, a = tracker.given.shape
    sizes = widths(blocks, d, a)
    starts = dict(zip(sizes, accumulate(sizes.values(), initial=0), strict=False))
    acting = [row[:, starts[b] : starts[b] + sizes[b]] for b in ACTION_BLOCKS if b in sizes]
    base = jnp.concatenate(acting, axis=1)
    crossed = tracker.traits[None, :, None] * base[:, None, :]
    return jnp.concatenate([row, crossed.reshape(d, -1)], axis=1)
