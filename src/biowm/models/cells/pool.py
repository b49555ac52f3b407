"""The cells a population starts as, and which of them answer when something is given."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from biowm.core.registry import register


@register("models", "CellPool")
class CellPool(eqx.Module):
    """Control cells: readings `x` (counts, or log1p), latent `z`, `size` of their scaling, batch and context."""

    x: Float[Array, "p g"]
    z: Float[Array, "p k"]
    size: Float[Array, " p"]
    batch: Int[Array, " p"]
    context: Int[Array, " p"]


@register("models", "Escape")
class Escape(eqx.Module):
    """The share of cells that do not answer: sigmoid of `common` plus the mean of the members' own; 0 where not `on`.

    Guides that cut nothing and drugs that are pumped out leave cells as they were; the others answer the more, so that
    the population's mean is what it is.
    """

    on: Float[Array, ""]
    common: Float[Array, ""]
    members: Float[Array, " a"]

    def share(self, dose: Float[Array, "*n a"]) -> Float[Array, "*n"]:
        """The share that escapes a set given in these doses."""
        there = (dose != 0).astype(jnp.float32)
        own = (there @ self.members) / jnp.maximum(there.sum(-1), 1.0)
        return self.on * jax.nn.sigmoid(self.common + own)
