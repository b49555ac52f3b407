"""Distances between populations: closed forms, brute force, exact transport, masks and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from biowm.core.populations import energy_distance, median_distance, mmd, squared_distances
from biowm.core.sinkhorn import sinkhorn_divergence

divergence = jax.jit(sinkhorn_divergence, static_argnames="steps")
slope = jax.jit(jax.grad(sinkhorn_divergence, argnums=1), static_argnames="steps")


def two(n: int, m: int, g: int, seed: int = 0, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, g)), rng.normal(size=(m, g)) + shift


def off_diagonal(values: np.ndarray) -> float:
    return float(values[~np.eye(len(values), dtype=bool)].mean())


def test_energy_and_mmd_are_means_over_pairs_without_a_row_itself():
    x, y = two(9, 7, 3)
    between, xx, yy = cdist(x, y), cdist(x, x), cdist(y, y)
    assert energy_distance(x, y) == pytest.approx(2 * between.mean() - off_diagonal(xx) - off_diagonal(yy))
    k, kx, ky = (np.exp(-(d**2) / (2 * 1.5**2)) for d in (between, xx, yy))
    assert mmd(x, y, 1.5) == pytest.approx(off_diagonal(kx) + off_diagonal(ky) - 2 * k.mean())


def test_known_answers_of_normal_populations():
    """In one dimension E|X - Y| is that of a folded normal; the kernel's mean is a normal density."""
    x = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)[:, None]
    y = x + 2.0
    spread = 2 / np.sqrt(np.pi)
    folded = spread * np.exp(-1.0) + 2.0 * 0.8427007929497149  # sd sqrt 2, mean 2: erf(1)
    assert energy_distance(x, y) == pytest.approx(2 * folded - 2 * spread, abs=2e-3)
    exact = 2 / np.sqrt(3) * (1 - np.exp(-4.0 / 6.0))  # bandwidth 1
    assert mmd(x, y, 1.0) == pytest.approx(exact, abs=2e-3)


def test_both_are_unbiased_where_populations_are_the_same():
    pairs = [two(6, 5, 4, seed, 0.0) for seed in range(400)]
    for distance in (energy_distance, lambda a, b: mmd(a, b, 2.0)):
        values = np.array([distance(a, b) for a, b in pairs])
        assert abs(values.mean()) < 4 * values.std() / 20
        assert values.min() < 0


def test_two_points():
    x, y = np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])
    assert squared_distances(x, y)[0, 0] == pytest.approx(25.0)
    assert energy_distance(x, y) == pytest.approx(10.0)
    assert float(divergence(jnp.asarray(x, jnp.float32), y.astype(np.float32), 0.5)) == pytest.approx(12.5)
    assert median_distance(np.array([[0.0], [1.0], [3.0]])) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="expected rows that differ"):
        median_distance(np.zeros((4, 2)))


def test_a_weight_of_nothing_leaves_a_row_out_and_weights_are_counts_of_any_sum():
    x, y = two(8, 6, 3)
    padded = np.concatenate([x, 100.0 * np.ones((3, 3))])
    w = np.r_[np.full(8, 2.0), np.zeros(3)]
    assert energy_distance(padded, y, x_weights=w) == pytest.approx(energy_distance(x, y))
    assert mmd(y, padded, 1.0, y_weights=w) == pytest.approx(mmd(y, x, 1.0))
    plain = divergence(*(jnp.asarray(v, jnp.float32) for v in (x, y)), 0.3)
    w = jnp.asarray(w, jnp.float32)
    masked = divergence(jnp.asarray(padded, jnp.float32), jnp.asarray(y, jnp.float32), 0.3, x_weights=w)
    assert float(masked) == pytest.approx(float(plain), rel=1e-4)


def test_jax_gives_the_same_numbers_and_gradients_are_finite_where_cells_are_the_same():
    x, y = (v.astype(np.float32) for v in two(7, 7, 3))
    y[:4] = x[:4]
    for distance in (energy_distance, lambda a, b: mmd(a, b, 1.0)):
        assert float(jax.jit(distance)(jnp.asarray(x), jnp.asarray(y))) == pytest.approx(
            float(distance(x, y)), abs=1e-4
        )
        assert np.isfinite(jax.jit(jax.grad(distance))(jnp.asarray(x), jnp.asarray(y))).all()
    gradient = slope(jnp.asarray(x), jnp.asarray(x), 0.5)
    assert np.abs(np.asarray(gradient)).max() < 1e-3


@pytest.mark.parametrize("distance", [energy_distance, lambda a, b: mmd(a, b, 1.5)])
def test_gradients_are_those_of_small_steps(distance):
    x, y = two(5, 6, 2)
    gradient = jax.jit(jax.grad(distance))(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32))
    step = np.zeros_like(x)
    step[2, 1] = 1e-5
    assert float(gradient[2, 1]) == pytest.approx((distance(x + step, y) - distance(x - step, y)) / 2e-5, rel=1e-3)


@pytest.mark.parametrize("epsilon", [0.05, 1.0, 50.0])
def test_a_moved_population_is_half_its_squared_move_away_at_any_temperature(epsilon):
    """For this cost the terms of a shift depend on the margins alone; the gradient is the move, shared by the rows."""
    x, _ = two(30, 1, 4)
    move = np.array([1.0, -2.0, 0.5, 0.0])
    x, y = jnp.asarray(x, jnp.float32), jnp.asarray(x + move, jnp.float32)
    assert float(divergence(x, y, epsilon, steps=200)) == pytest.approx(move @ move / 2, rel=0.01)
    gradient = slope(x, y, epsilon, steps=200)
    np.testing.assert_allclose(np.asarray(gradient).sum(0), move, atol=0.02)


def test_a_cold_one_is_exact_transport_and_a_hot_one_the_distance_of_means():
    x, y = two(40, 40, 2, shift=0.7)
    cost = cdist(x, y, "sqeuclidean") / 2
    i, j = linear_sum_assignment(cost)
    a, b = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    assert float(divergence(a, b, 0.002, steps=400)) == pytest.approx(cost[i, j].mean(), rel=0.02)
    apart = x.mean(0) - y.mean(0)
    assert float(divergence(a, b, 1e4)) == pytest.approx(apart @ apart / 2, rel=0.02)


def test_the_divergence_falls_when_its_gradient_is_followed():
    x, y = (jnp.asarray(v, jnp.float32) for v in two(20, 25, 3, shift=2.0))
    start = float(divergence(x, y, 0.1))
    for _ in range(20):
        x = x - 10.0 * slope(y, x, 0.1)
    assert float(divergence(x, y, 0.1)) < 0.1 * start


def test_many_genes_in_single_precision_far_from_zero():
    x, y = two(20, 20, 500, shift=0.05)
    near = energy_distance((x + 100).astype(np.float32), (y + 100).astype(np.float32))
    assert float(near) == pytest.approx(float(energy_distance(x, y)), abs=2e-3)
