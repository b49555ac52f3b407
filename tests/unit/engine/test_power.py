"""Power against what theory gives: for two equal arms, for a known difference, and for what the interval holds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from biowm.engine.power import power

POOL = np.random.default_rng(0).normal(size=4000)


def test_two_equal_arms_are_told_apart_as_often_as_the_level_says():
    found = power(POOL, POOL, 40, trials=4000, alpha=0.05, seed=1)
    assert found.power.low < 0.05 < found.power.high
    assert found.power.value == pytest.approx(0.05, abs=0.012)
    assert found.wrong == found.power.value, "with no difference every sign is wrong"


def test_the_power_of_a_known_difference_is_that_of_the_t_test():
    found = power(POOL, POOL + 0.5, 64, trials=4000, alpha=0.05, seed=1)
    shift = 0.5 / np.sqrt(2 / 64)
    edge = stats.t.isf(0.025, 126)
    known = stats.nct.sf(edge, 126, shift) + stats.nct.cdf(-edge, 126, shift)
    assert found.power.value == pytest.approx(known, abs=0.03)
    assert found.power.low < known < found.power.high
    assert found.low < 0.5 < found.high
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(2 / 64), rel=0.1)


def test_a_small_pool_leaves_more_doubt_than_its_trials():
    rng = np.random.default_rng(2)
    treated = POOL[:200] + 0.5 + rng.normal(size=200)
    small, large = (
        power(np.tile(POOL[:200], k), np.tile(treated, k), 64, trials=500, alpha=0.05, seed=1) for k in (1, 20)
    )
    assert small.power.high - small.power.low > 1.5 * (large.power.high - large.power.low)


def test_more_patients_more_power_and_the_same_seed_the_same_numbers():
    sizes = [power(POOL, POOL + 0.4, n, trials=400, alpha=0.05, seed=3) for n in (10, 40, 160)]
    assert sizes[0].power.value < sizes[1].power.value < sizes[2].power.value
    assert sizes[1] == power(POOL, POOL + 0.4, 40, trials=400, alpha=0.05, seed=3)


def test_arms_without_any_spread_are_no_error():
    flat = np.ones(50)
    assert power(flat, flat, 5, trials=20, alpha=0.05, seed=0).power.value == 0.0
    assert power(flat, flat + 1, 5, trials=20, alpha=0.05, seed=0).power.value == 1.0
