"""What a reading can be: on the levels of an ordinal channel, and in the order that channels keep."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from .spec import WorldSpec


def admissible(spec: WorldSpec, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """A reading near `x` that the channels admit; `x` itself where they declare nothing.

    Ordinal channels go to their nearest level, values of channels that are in order are sorted: neither takes a draw
    further from any admissible truth than rounding must (rearrangement: doi:10.1093/biomet/asp030).
    """
    for j, channel in enumerate(spec.channels):
        low, high, step = channel.low, channel.high, channel.resolution
        if channel.link == "ordinal" and low is not None and high is not None:
            x = x.at[..., j].set(jnp.clip(low + step * jnp.rint((x[..., j] - low) / step), low, high))
    for chain in spec.chains:
        columns = jnp.asarray(chain)
        x = x.at[..., columns].set(jnp.sort(x[..., columns], axis=-1))
    return x
