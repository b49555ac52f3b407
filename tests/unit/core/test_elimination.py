"""Elimination is what a library of linear algebra says, also of many at once and of what is known in part."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from biowm.core.elimination import root, solved

RNG = np.random.default_rng(0)


def positive(n: int, rank: int | None = None) -> np.ndarray:
    half = RNG.normal(0, 1, (n, rank or n + 3))
    return (half @ half.T).astype(np.float32)


def test_systems_are_solved_and_determinants_found():
    many = np.stack([positive(7) for _ in range(5)])
    right = RNG.normal(0, 1, (5, 7, 3)).astype(np.float32)
    x, log = jax.jit(jax.vmap(solved))(jnp.asarray(many), jnp.asarray(right))
    np.testing.assert_allclose(x, np.linalg.solve(many.astype(float), right), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(log, np.linalg.slogdet(many.astype(float))[1], rtol=1e-4)


def test_the_root_is_one_of_the_covariance_also_where_directions_are_known():
    for covariance in (positive(6), positive(6, rank=2), np.zeros((4, 4), np.float32)):
        found = np.asarray(root(jnp.asarray(covariance)))
        np.testing.assert_allclose(found @ found.T, covariance, atol=2e-4 * max(1.0, float(covariance.max())))
        np.testing.assert_allclose(found, np.tril(found), atol=1e-4)
