"""Small linear problems inside compiled rollouts and filters, by elimination: nothing there is handed to LAPACK.

Factorisations of a library, called side by side from compiled programs, wait for each other's threads for ever where
there are two cores (docs/findings.md).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

_LEAST = 1e-12  # of the largest variance: below it a direction is known


def solved(matrix: Float[Array, "n n"], right: Float[Array, "n m"]) -> tuple[Float[Array, "n m"], Float[Array, ""]]:
    """The solutions of a symmetric positive definite system, one a column, and the logarithm of its determinant."""

    def eliminate(
        k: Int[Array, ""], carry: tuple[Float[Array, "n w"], Float[Array, ""]]
    ) -> tuple[Float[Array, "n w"], Float[Array, ""]]:
        table, log = carry
        pivot = table[k] / table[k, k]
        cleared = table - table[:, k][:, None] * pivot[None, :]
        return cleared.at[k].set(pivot), log + jnp.log(table[k, k])

    n = matrix.shape[0]
    table, log = jax.lax.fori_loop(0, n, eliminate, (jnp.concatenate([matrix, right], axis=1), jnp.zeros(())))
    return table[:, n:], log


def root(covariance: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """A lower triangular L with L @ L.T = covariance, which may be semidefinite: known directions have no column."""
    least = _LEAST * jnp.max(jnp.diag(covariance))

    def column(
        k: Int[Array, ""], carry: tuple[Float[Array, "n n"], Float[Array, "n n"]]
    ) -> tuple[Float[Array, "n n"], Float[Array, "n n"]]:
        rest, found = carry
        own = rest[k, k]
        there = own > least
        one = jnp.where(there, rest[:, k] / jnp.sqrt(jnp.where(there, own, 1.0)), 0.0)
        return rest - one[:, None] * one[None, :], found.at[:, k].set(one)

    return jax.lax.fori_loop(0, covariance.shape[0], column, (covariance, jnp.zeros_like(covariance)))[1]
