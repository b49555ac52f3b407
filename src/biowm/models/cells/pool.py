"""The cells a population is built from, and which of them answer when something more is given."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from biowm.core.registry import register


@register("models", "CellPool")
class CellPool(eqx.Module):
    """Measured cells: readings `x` (counts, or log1p), latent `z`, `size` of their scaling, batch, and population `of`.

    Of every population that cells are kept of: its `dose` (0 throughout: controls), context, and mean log1p expression.
    """

    x: Float[Array, "p g"]
    z: Float[Array, "p k"]
    size: Float[Array, " p"]
    batch: Int[Array, " p"]
    of: Int[Array, " p"]
    dose: Float[Array, "m a"]
    context: Int[Array, " m"]
    mean: Float[Array, "m g"]

    def nearest(self, context: int, dose: Float[np.ndarray, " a"]) -> Int[np.ndarray, " _"]:
        """The populations that what is given was added to: of this context, and with the most of the set already given.

        Raises: ValueError where the context has no population.
        """
        given = np.asarray(self.dose)
        part = ((given == 0) | (given == dose)).all(1) & (np.asarray(self.context) == context)
        if not part.any():
            raise ValueError("no population of this context was measured")
        size = np.where(part, (given != 0).sum(1), -1)
        return np.flatnonzero(size == size.max())


@register("models", "Escape")
class Escape(eqx.Module):
    """The share of cells that do not answer: sigmoid of `common` plus the mean of the members' own; 0 where not `on`.

    Guides that cut nothing and drugs that are pumped out leave cells as they were; the others answer the more, so that
    the population's mean is what it is.
    """

    on: Float[Array, ""]
    common: Float[Array, ""]
    members: Float[Array, " a"]

    def share(self, dose: Float[Array, " a"]) -> Float[Array, ""]:
        """The share that escapes a set given in these doses."""
        there = (dose != 0).astype(jnp.float32)
        own = (there @ self.members) / jnp.maximum(there.sum(), 1.0)
        return self.on * jax.nn.sigmoid(self.common + own)
