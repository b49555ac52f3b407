"""Sinkhorn divergence of two populations: optimal transport, smoothed by entropy and freed of its bias, in JAX.

Products of matrices, maxima and sums alone, in logarithms: nothing is factorised and nothing overflows.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .arrays import AnyArray
from .populations import squared_distances

_SHRINK = 0.7  # of the temperature from step to step, until it is the one that was asked for


def sinkhorn_divergence(
    x: Float[AnyArray, "n g"],
    y: Float[AnyArray, "m g"],
    epsilon: float | Float[AnyArray, ""],
    *,
    x_weights: Float[AnyArray, " n"] | None = None,
    y_weights: Float[AnyArray, " m"] | None = None,
    steps: int = 60,
) -> Float[Array, ""]:
    """Sinkhorn divergence under the cost |x - y|^2 / 2, in the squared unit of the columns; 0 for the same population.

    Args: `x` [n, g] and `y` [m, g]; `epsilon`, the temperature, in the squared unit (towards 0 it is half the squared
    Wasserstein-2 distance, towards infinity half the squared distance of the means); weights, at least 0, of any sum
    (default equal; 0 leaves a row out, which must be finite); `steps` of each problem, at temperatures that fall from
    the largest cost to `epsilon`.
    Gradients by `x` and `y` are those of the dual at its solution (nothing is differentiated through the steps), none
    by the weights. With too few steps the value is low: the dual is a bound from below, to second order in the error.
    Source: arXiv:1810.08278; arXiv:1306.0895.
    """
    x, y = jnp.asarray(x), jnp.asarray(y)
    log_a, log_b = _log_shares(x, x_weights), _log_shares(y, y_weights)
    cost = 0.5 * squared_distances(x, y)
    top = jax.lax.stop_gradient(jnp.max(jnp.where(jnp.isfinite(log_a[:, None] + log_b[None, :]), cost, 0.0)))
    falling = jnp.maximum(top * _SHRINK ** jnp.arange(steps, dtype=cost.dtype), epsilon)
    between = _between(cost, log_a, log_b, falling)
    within = (_within(0.5 * squared_distances(z, z), s, falling) for z, s in ((x, log_a), (y, log_b)))
    return between - 0.5 * sum(within, jnp.zeros((), cost.dtype))


def _log_shares(x: Float[Array, "n g"], weights: Float[AnyArray, " n"] | None) -> Float[Array, " n"]:
    """Logarithms of weights that sum to 1; -infinity where a row is left out."""
    w = jnp.ones(x.shape[0], x.dtype) if weights is None else jnp.asarray(weights, x.dtype)
    return jax.lax.stop_gradient(jnp.log(w / w.sum()))


def _soft_min(
    cost: Float[Array, "n m"], log_b: Float[Array, " m"], g: Float[Array, " m"], epsilon: Float[Array, ""]
) -> Float[Array, " n"]:
    """The best potential on the rows, given one on the columns."""
    return -epsilon * jax.nn.logsumexp(log_b[None, :] + (g[None, :] - cost) / epsilon, axis=1)


def _between(
    cost: Float[Array, "n m"], log_a: Float[Array, " n"], log_b: Float[Array, " m"], falling: Float[Array, " s"]
) -> Float[Array, ""]:
    """The smoothed cost of carrying one population to another."""
    still = jax.lax.stop_gradient(cost)

    def step(g: Float[Array, " m"], epsilon: Float[Array, ""]) -> tuple[Float[Array, " m"], None]:
        f = _soft_min(still, log_b, g, epsilon)
        return _soft_min(still.T, log_a, f, epsilon), None

    g, _ = jax.lax.scan(step, jnp.zeros_like(log_b), falling)
    f = _soft_min(still, log_b, g, falling[-1])
    return _dual(cost, log_a, log_b, f, g, falling[-1])


def _within(cost: Float[Array, "n n"], log_a: Float[Array, " n"], falling: Float[Array, " s"]) -> Float[Array, ""]:
    """The smoothed cost of carrying a population to itself: one potential, by averaged steps."""
    still = jax.lax.stop_gradient(cost)

    def step(f: Float[Array, " n"], epsilon: Float[Array, ""]) -> tuple[Float[Array, " n"], None]:
        return 0.5 * (f + _soft_min(still, log_a, f, epsilon)), None

    f, _ = jax.lax.scan(step, jnp.zeros_like(log_a), falling)
    return _dual(cost, log_a, log_a, f, f, falling[-1])


def _dual(
    cost: Float[Array, "n m"],
    log_a: Float[Array, " n"],
    log_b: Float[Array, " m"],
    f: Float[Array, " n"],
    g: Float[Array, " m"],
    epsilon: Float[Array, ""],
) -> Float[Array, ""]:
    """The dual at given potentials; its derivative by the cost is the plan they stand for."""
    carried = jnp.exp(log_a[:, None] + log_b[None, :] + (f[:, None] + g[None, :] - cost) / epsilon).sum()
    return _mean(log_a, f) + _mean(log_b, g) - epsilon * (carried - 1.0)


def _mean(log_shares: Float[Array, " n"], values: Float[Array, " n"]) -> Float[Array, ""]:
    return jnp.sum(jnp.where(jnp.isfinite(log_shares), jnp.exp(log_shares) * values, 0.0))
