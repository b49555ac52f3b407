"""Scores against closed forms and brute force."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from biowm.core.scores import conformal_radius, crps, inside, inside_jointly, interval_score, rank_quantile


def brute_crps(draws, truth, weights, fair):
    error = np.sum(weights * np.abs(draws - truth))
    pairs = np.sum(weights[:, None] * weights[None] * np.abs(draws[:, None] - draws[None])) / 2
    return error - pairs / ((1 - np.sum(weights**2)) if fair else 1)


@pytest.mark.parametrize("fair", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_crps_equals_brute_force(fair, weighted):
    rng = np.random.default_rng(0)
    draws, truth = rng.normal(1e3, 2, (17, 3, 4)), rng.normal(1e3, 2, (3, 4))
    weights = rng.dirichlet(np.ones(17)) if weighted else np.full(17, 1 / 17)
    got = crps(draws, truth, weights=weights if weighted else None, fair=fair)
    for i, j in np.ndindex(3, 4):
        assert got[i, j] == pytest.approx(brute_crps(draws[:, i, j], truth[i, j], weights, fair), rel=1e-9)


def test_crps_of_a_normal_is_the_closed_form_and_fair_whatever_the_number_of_draws():
    rng = np.random.default_rng(1)
    z = 0.7
    exact = z * (2 * stats.norm.cdf(z) - 1) + 2 * stats.norm.pdf(z) - 1 / np.sqrt(np.pi)
    many = crps(rng.normal(size=200_000), np.asarray(z))
    assert many == pytest.approx(exact, abs=5e-3)
    few = rng.normal(size=(5, 100_000))
    truth = np.full(100_000, z)
    assert crps(few, truth).mean() == pytest.approx(exact, abs=5e-3)
    assert crps(few, truth, fair=False).mean() > exact + 0.05


def test_crps_of_one_draw_is_its_absolute_error_and_axis_moves():
    assert crps(np.array([3.0]), np.asarray(1.0)) == pytest.approx(2.0)
    draws = np.random.default_rng(2).normal(size=(4, 9, 2))
    truth = np.zeros((4, 2))
    np.testing.assert_allclose(crps(draws, truth, axis=1), crps(np.moveaxis(draws, 1, 0), truth))


def test_jax_gives_the_same_numbers():
    rng = np.random.default_rng(3)
    draws, truth = rng.normal(size=(11, 5)).astype(np.float32), rng.normal(size=5).astype(np.float32)
    np.testing.assert_allclose(crps(jnp.asarray(draws), jnp.asarray(truth)), crps(draws, truth), rtol=1e-5)
    np.testing.assert_array_equal(rank_quantile(jnp.asarray(draws), 0.9), rank_quantile(draws, 0.9))


def test_interval_score_counts_width_and_misses():
    low, high = np.zeros(3), np.full(3, 2.0)
    np.testing.assert_allclose(interval_score(low, high, np.array([1.0, -0.5, 3.0])), [2.0, 12.0, 22.0])


@pytest.mark.parametrize("n", [19, 20, 100, 137])
def test_rank_quantiles_cover_a_further_draw_as_promised(n):
    rng = np.random.default_rng(n)
    x = rng.normal(size=(n + 1, 40_000))
    low, high = rank_quantile(x[:n], 0.05), rank_quantile(x[:n], 0.95)
    held = inside(low, high, x[n]).mean()
    assert 0.9 - 0.006 <= held <= 0.9 + 2 / (n + 1) + 0.006
    if n == 20:
        linear = np.quantile(x[:n], [0.05, 0.95], axis=0)
        assert inside(*linear, x[n]).mean() < 0.83


def test_rank_quantile_is_an_order_statistic_and_the_outermost_draw_when_n_is_small():
    x = np.arange(19.0)
    assert [rank_quantile(x, p) for p in (0.05, 0.5, 0.95)] == [0, 9, 18]
    assert [rank_quantile(x[:4], p) for p in (0.05, 0.5, 0.95)] == [0, 1.5, 3]


def test_conformal_radius_holds_new_subjects_however_many_scores_each_has():
    rng = np.random.default_rng(4)
    held = []
    for _ in range(800):
        count = rng.integers(1, 12, size=30)
        level = np.exp(0.5 * rng.normal(size=31) + 0.05 * np.append(count, 1))
        units = np.repeat(np.arange(30), count)
        scores = np.abs(level[units] * rng.normal(size=len(units)))
        held.append(abs(level[30] * rng.normal()) <= conformal_radius(scores, units))
    assert np.mean(held) > 0.875
    assert conformal_radius(np.arange(9.0), np.arange(9)) == 8.0
    assert conformal_radius(np.arange(8.0), np.arange(8)) == np.inf


def test_joint_coverage_needs_the_whole_path_and_passes_over_missing_truths():
    low, high = np.zeros((3, 4)), np.ones((3, 4))
    truth = np.array([[0.5, 0.5, 0.5, 0.5], [0.5, 2.0, 0.5, 0.5], [0.5, np.nan, 0.5, 1.0]])
    np.testing.assert_array_equal(inside_jointly(low, high, truth), [True, False, True])
    np.testing.assert_array_equal(inside(low, high, truth)[2], [True, False, True, True])
