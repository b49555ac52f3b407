"""Lin's concordance of a forecast curve with the curve that came (doi:10.2307/2532051)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from biowm.core.arrays import AnyArray

_TINY = 1e-12


def concordance(
    forecast: Float[AnyArray, "*b t"], truth: Float[AnyArray, "*b t"], seen: Bool[AnyArray, "*b t"]
) -> Float[Array, "*b"]:
    """Concordance of each pair of curves over the times in `seen`, with moments divided by their number (biased)."""
    n = jnp.sum(seen, axis=-1, keepdims=True).astype(forecast.dtype)

    def mean(x: Float[Array, "*b t"]) -> Float[Array, "*b 1"]:
        return jnp.sum(jnp.where(seen, x, 0.0), axis=-1, keepdims=True) / n

    p, y = mean(forecast), mean(truth)
    both = mean((forecast - p) * (truth - y))
    spread = mean((forecast - p) ** 2) + mean((truth - y) ** 2) + (p - y) ** 2
    return (2 * both / (spread + _TINY))[..., 0]
