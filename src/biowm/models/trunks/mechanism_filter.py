"""Normal distributions that take in readings and move: the algebra of the filter of a mechanism, without LAPACK."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float

WILD = 2.5  # a reading this many sd off moves the states of a mechanism, and the shifts of its parameters no further
FREE = 1e6  # sd: as good as no limit (infinity has no gradient)


class Normal(NamedTuple):
    """N(m, P)."""

    m: Float[Array, " n"]
    P: Float[Array, "n n"]


def absorb(
    now: Normal,
    h: Float[Array, " n"],
    off: Float[Array, ""],
    noise: Float[Array, ""],
    below: Bool[Array, ""],
    far: Float[Array, " n"],
) -> tuple[Normal, Float[Array, ""], Float[Array, ""]]:
    """What is believed after a reading `off` = h w + noise (or less, where `below`), its miss and its variance.

    `far`: a reading that many sd off moves w no further. A reading that is only known to be lower moves mean and
    variance as the lower part of a normal does.
    """
    cover = jnp.sum(now.P * h[None, :], axis=1)
    s = jnp.sum(h * cover) + noise * noise
    sd, miss = jnp.sqrt(s), off - jnp.sum(h * now.m)
    a = miss / sd
    slope = jnp.exp(norm.logpdf(a) - norm.logcdf(a))
    by = jnp.where(below, -sd * slope, miss)
    left = jnp.where(below, jnp.clip(1 - slope * (slope + a), 0.0, 1.0) * s, 0.0)
    gain = cover / s
    m = now.m + gain * jnp.clip(by, -far * sd, far * sd)
    P = carry(jnp.eye(h.shape[0]) - gain[:, None] * h[None, :], now.P)
    return Normal(m, P + (noise * noise + left) * gain[:, None] * gain[None, :]), miss, s


def carry(J: Float[Array, "n n"], P: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """J P J': by sums, because XLA runs many small products of matrices slowly."""
    half = jnp.sum(J[:, :, None] * P[None, :, :], axis=1)
    return jnp.sum(half[:, None, :] * J[None, :, :], axis=2)


def root(P: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """A lower root of a covariance (Cholesky without LAPACK, see docs/findings.md); directions of no spread are 0."""
    columns, rest = [], P
    for j in range(P.shape[0]):
        spread = rest[j, j]
        column = jnp.where(spread > 1e-12, rest[:, j] / jnp.sqrt(jnp.maximum(spread, 1e-12)), 0.0)
        columns.append(column)
        rest = rest - jnp.outer(column, column)
    return jnp.stack(columns, axis=1)
