"""What a reading can be: in its channel's range, at its limit of quantification or above, on a level, in order."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .spec import WorldSpec


def _ends(spec: WorldSpec) -> Float[np.ndarray, "3 d"]:
    """The least and most of each channel (infinite where none is declared), and the step of its levels (0: none)."""
    ends = np.full((3, len(spec.channels)), [[-np.inf], [np.inf], [0.0]], np.float32)
    for j, c in enumerate(spec.channels):
        if c.link == "ordinal" and c.low is not None and c.high is not None:
            ends[:, j] = c.low, c.high, c.resolution
            continue
        ends[0, j] = max((end for end in (c.low, c.lloq) if end is not None), default=-np.inf)
        ends[1, j] = min((end for end in (c.high, c.uloq) if end is not None), default=np.inf)
    return ends


def admissible(spec: WorldSpec, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """A reading near `x` that the channels admit; `x` itself where they declare nothing.

    Values beyond a range go to its end, those beyond a limit of quantification are read as the limit (as censored
    readings of a table are), ordinal ones go to their nearest level, those of channels in order are sorted. None of
    this takes a draw further from any admissible truth than rounding must (doi:10.1093/biomet/asp030).
    """
    ends = _ends(spec)
    if np.isfinite(ends[:2]).any():  # of thousands of channels, all at once
        low, high, step = (at[(None,) * (x.ndim - 1)] for at in ends)
        first, apart = np.where(step > 0, low, 0.0), np.where(step > 0, step, 1.0)
        level = first + apart * jnp.rint((x - first) / apart)
        x = jnp.clip(jnp.where(step > 0, level, x), low, high)
    for chain in spec.chains:
        columns = jnp.asarray(chain)
        x = x.at[..., columns].set(jnp.sort(x[..., columns], axis=-1))
    return x
