"""What a reading can be: in its channel's range, at its limit of quantification or above, on a level, in order."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from .spec import WorldSpec


def admissible(spec: WorldSpec, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """A reading near `x` that the channels admit; `x` itself where they declare nothing.

    Values beyond a range go to its end, those beyond a limit of quantification are read as the limit (as censored
    readings of a table are), ordinal ones go to their nearest level, those of channels in order are sorted. None of
    this takes a draw further from any admissible truth than rounding must (doi:10.1093/biomet/asp030).
    """
    for j, channel in enumerate(spec.channels):
        low, high, step = channel.low, channel.high, channel.resolution
        if channel.link == "ordinal" and low is not None and high is not None:
            x = x.at[..., j].set(jnp.clip(low + step * jnp.rint((x[..., j] - low) / step), low, high))
            continue
        least = max((end for end in (low, channel.lloq) if end is not None), default=None)
        most = min((end for end in (high, channel.uloq) if end is not None), default=None)
        if least is not None or most is not None:
            x = x.at[..., j].set(jnp.clip(x[..., j], least, most))
    for chain in spec.chains:
        columns = jnp.asarray(chain)
        x = x.at[..., columns].set(jnp.sort(x[..., columns], axis=-1))
    return x
