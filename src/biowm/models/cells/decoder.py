"""What a cell is read as: counts (negative binomial, given its total and its batch), or log1p values (normal).

Encoder: the projection of log1p readings, freed of the batch's offset, on the directions that are kept. Decoders are
generalised linear in the latent cell: the batch and the total are contexts of the observation and nowhere else, so that
a cell that is said to be of another batch is another reading of the same state. All functions are
of one cell. doi:10.1038/s41592-018-0229-2 (the
model of counts), doi:10.1186/s13059-019-1861-6 (a generalised linear one).
"""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from biowm.core.registry import register


@register("models", "CellEncoder")
class CellEncoder(eqx.Module):
    """Latent cells z = (log1p - centre - offset of the batch) @ basis."""

    centre: Float[Array, " g"]
    basis: Float[Array, "g k"]
    offset: Float[Array, "b g"]

    def __call__(self, log1p: Float[Array, " g"], batch: Int[Array, ""]) -> Float[Array, " k"]:
        return (log1p - self.centre - self.offset[batch]) @ self.basis


def encoded(
    encoder: CellEncoder, log1p: Float[np.ndarray, "n g"], batch: Int[np.ndarray, " n"]
) -> Float[np.ndarray, "n k"]:
    """Many cells, encoded."""
    return np.asarray(_encoded(encoder, jnp.asarray(log1p, jnp.float32), jnp.asarray(batch, jnp.int32)))


@eqx.filter_jit
def _encoded(encoder: CellEncoder, log1p: Array, batch: Array) -> Array:
    return jax.vmap(encoder)(log1p, batch)


class CellDecoder(eqx.Module):
    """The distribution of a cell's reading given its latent state, its `size` (scale of its counts) and batch."""

    weights: eqx.AbstractVar[Float[Array, "g k"]]
    batch: eqx.AbstractVar[Float[Array, "b g"]]
    spread: eqx.AbstractVar[Float[Array, " g"]]

    @abstractmethod
    def mean(self, z: Float[Array, " k"], size: Float[Array, ""], batch: Int[Array, ""]) -> Float[Array, " g"]:
        """Expected reading: counts, or log1p values."""

    @abstractmethod
    def log_prob(
        self, x: Float[Array, " g"], z: Float[Array, " k"], size: Float[Array, ""], batch: Int[Array, ""]
    ) -> Float[Array, " g"]:
        """Log probability of each gene's reading."""

    @abstractmethod
    def sample(
        self, z: Float[Array, " k"], size: Float[Array, ""], batch: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, " g"]:
        """One reading of every gene."""


@register("models", "CountDecoder")
class CountDecoder(CellDecoder):
    """Counts: negative binomial with mean exp(level + weights z + batch) / size and inverse dispersion exp(spread)."""

    weights: Float[Array, "g k"]
    batch: Float[Array, "b g"]
    level: Float[Array, " g"]
    spread: Float[Array, " g"]

    def mean(self, z: Float[Array, " k"], size: Float[Array, ""], batch: Int[Array, ""]) -> Float[Array, " g"]:
        return jnp.exp(self._log_mean(z, size, batch))

    def log_prob(
        self, x: Float[Array, " g"], z: Float[Array, " k"], size: Float[Array, ""], batch: Int[Array, ""]
    ) -> Float[Array, " g"]:
        mean, r = self.mean(z, size, batch), jnp.exp(self.spread)
        said = jax.lax.lgamma(x + r) - jax.lax.lgamma(r) - jax.lax.lgamma(x + 1.0)
        return said + r * (self.spread - jnp.log(r + mean)) + x * (jnp.log(mean) - jnp.log(r + mean))

    def sample(
        self, z: Float[Array, " k"], size: Float[Array, ""], batch: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, " g"]:
        k_rate, k_count = jax.random.split(key)
        mean, r = self.mean(z, size, batch), jnp.exp(self.spread)
        rate = jax.random.gamma(k_rate, r) * mean / r
        return jax.random.poisson(k_count, rate).astype(jnp.float32)

    def _log_mean(self, z: Float[Array, " k"], size: Float[Array, ""], batch: Int[Array, ""]) -> Float[Array, " g"]:
        eta = self.level + self.weights @ z + self.batch[batch] - jnp.log(size)
        return jnp.clip(eta, -20.0, 14.0)  # a rollout may leave the data; a count may not overflow


@register("models", "NormalDecoder")
class NormalDecoder(CellDecoder):
    """Log1p values that are no counts: normal about level + weights z + batch, with one spread a gene."""

    weights: Float[Array, "g k"]
    batch: Float[Array, "b g"]
    level: Float[Array, " g"]
    spread: Float[Array, " g"]

    def mean(self, z: Float[Array, " k"], size: Float[Array, ""], batch: Int[Array, ""]) -> Float[Array, " g"]:
        return self.level + self.weights @ z + self.batch[batch]

    def log_prob(
        self, x: Float[Array, " g"], z: Float[Array, " k"], size: Float[Array, ""], batch: Int[Array, ""]
    ) -> Float[Array, " g"]:
        miss = (x - self.mean(z, size, batch)) / jnp.exp(self.spread)
        return -0.5 * miss**2 - self.spread - 0.5 * jnp.log(2 * jnp.pi)

    def sample(
        self, z: Float[Array, " k"], size: Float[Array, ""], batch: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Float[Array, " g"]:
        mean = self.mean(z, size, batch)
        return mean + jnp.exp(self.spread) * jax.random.normal(key, mean.shape)
