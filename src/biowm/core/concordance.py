"""Lin's concordance of a forecast curve with the curve that came (doi:10.2307/2532051)."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .arrays import AnyArray

_TINY = 1e-12


def concordance(
    forecast: Float[AnyArray, "*b t"], truth: Float[AnyArray, "*b t"], seen: Bool[AnyArray, "*b t"]
) -> Float[Array, "*b"]:
    """Concordance of each pair of curves over the times in `seen`, with moments divided by their number (biased)."""

    def mean(x: Float[Array, "*b t"]) -> Float[Array, "*b 1"]:
        return jnp.mean(x, axis=-1, keepdims=True, where=jnp.asarray(seen))

    f, y = jnp.asarray(forecast), jnp.asarray(truth)
    apart = mean(f) - mean(y)
    f, y = f - mean(f), y - mean(y)
    return (2 * mean(f * y) / (mean(f * f) + mean(y * y) + apart * apart + _TINY))[..., 0]
