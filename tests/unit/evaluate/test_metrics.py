"""Metrics: values by hand, intervals that cover, pairing that sharpens."""

import numpy as np
import pytest

from biowm.evaluate.metrics import (
    METRICS,
    Forecast,
    add,
    average,
    difference,
    exact_share,
    geometric_ratio,
    interval,
    measure,
    ratio,
    tally,
)


def forecast(truth, error, draws=9, width=1.0, joint=2.0):
    point = truth + error
    sample = point[:, None] + np.linspace(-1, 1, draws)[None, :, None]
    return Forecast(point, point, sample, point - width, point + width, point - joint, point + joint)


def test_every_metric_by_hand():
    truth = np.array([[0.0, 0.0], [0.0, np.nan]])
    error = np.array([[0.5, 3.0], [-1.5, 0.0]])
    f = forecast(truth, error)
    units = ["a", "b"]
    got = {name: interval(measure(name, f, truth, units, 0)) for name in METRICS}
    assert got["rmse"].value == pytest.approx(np.sqrt((0.25 + 2.25) / 2))
    assert got["mae"].value == pytest.approx(1.0)
    assert got["interval_score"].value == pytest.approx(2 + 0.5 * 20 * 0.5)
    assert got["coverage90"].value == 0.5
    assert got["joint90"].value == 1.0
    assert 0 < got["crps"].value < got["mae"].value
    late = measure("joint90", f, truth, units, 1)
    assert (interval(late).value, interval(late).n) == (0.0, 1)


def test_joint_coverage_at_a_lead_needs_every_lead_before():
    truth = np.zeros((1, 3))
    f = forecast(truth, np.array([[0.0, 5.0, 0.0]]))
    held = [interval(measure("joint90", f, truth, ["a"], h)).value for h in range(3)]
    assert held == [1.0, 0.0, 0.0]
    assert interval(measure("coverage90", f, truth, ["a"], 2)).value == 1.0


def test_clopper_pearson_against_the_textbook():
    got = exact_share(9, 10)
    assert (round(got.low, 4), round(got.high, 4)) == (0.5550, 0.9975)
    assert exact_share(0, 10).low == 0.0
    assert exact_share(10, 10).high == 1.0


def test_coverage_counts_subjects_not_rows():
    loss = np.concatenate([np.ones(98), np.zeros(2)])
    units = np.array(["long"] * 98 + ["b", "c"])
    got = interval(tally(METRICS["coverage90"], loss, units))
    assert got.value == pytest.approx(1 / 3)
    assert got.low < 0.01


def test_the_bootstrap_resamples_subjects():
    rng = np.random.default_rng(0)
    held = 0
    for seed in range(200):
        level = np.repeat(rng.normal(size=40), 25)
        got = interval(
            tally(METRICS["mae"], level + 0.1 * rng.normal(size=1000), np.repeat(np.arange(40), 25)), seed=seed
        )
        held += got.low <= 0.0 <= got.high
    assert 0.88 <= held / 200 <= 0.99


def test_pairing_sharpens_and_the_seed_decides():
    rng = np.random.default_rng(1)
    hard = np.abs(rng.normal(size=60)) * 5
    units = np.arange(60)
    ours, other = (tally(METRICS["mae"], hard + shift, units) for shift in (0.0, 0.2))
    apart = difference(ours, other)
    assert apart.high < 0
    assert apart.value == pytest.approx(-0.2)
    assert ratio(ours, other).high < 1
    assert interval(ours).high > interval(other).low
    assert interval(ours, seed=3) == interval(ours, seed=3) != interval(ours, seed=4)


def test_equal_errors_are_equal_even_when_both_are_zero():
    zero = tally(METRICS["mae"], np.zeros(5), np.arange(5))
    assert ratio(zero, zero).value == 1.0
    assert difference(zero, zero).value == 0.0


def test_a_loss_counts_as_often_as_it_stands_for():
    loss, stands = np.array([2.0, 4.0, np.nan, 1.0]), np.array([1.0, 3.0, 9.0, 2.0])
    found = tally(METRICS["mae"], loss, ["a", "a", "a", "b"], weights=stands)
    assert (found.total.tolist(), found.count.tolist()) == ([14.0, 2.0], [4.0, 2.0])
    assert interval(found).value == 16 / 6


def test_tallies_add_up_and_only_shared_units_are_paired():
    a = tally(METRICS["rmse"], np.array([1.0, 4.0]), ["x", "y"])
    b = tally(METRICS["rmse"], np.array([9.0]), ["y"])
    both = add([a, b])
    assert interval(both).value == pytest.approx(np.sqrt(14 / 3))
    assert list(both.count) == [1, 2]
    assert ratio(b, a).value == pytest.approx(1.5)
    assert interval(tally(METRICS["mae"], np.array([np.nan]), ["x"])).n == 0


def test_seeds_are_averaged_over_those_that_scored_the_unit():
    one = tally(METRICS["mae"], np.array([1.0, 3.5, 5.0]), ["x", "x", "y"])
    two = tally(METRICS["mae"], np.array([2.0, 8.0]), ["x", "z"])
    both = average([one, two])
    assert list(both.units) == ["x", "y", "z"]
    assert list(both.total) == [3.25, 5.0, 8.0]
    assert list(both.count) == [1.5, 1.0, 1.0]


def test_a_geometric_ratio_weighs_channels_alike_and_resamples_units_together():
    units = np.array(["a", "b", "c", "d"])
    small, large = np.array([1.0, 2.0, 3.0, 4.0]), np.array([100.0, 300.0, np.nan, 200.0])
    ours = [tally(METRICS["mae"], 0.5 * small, units), tally(METRICS["mae"], 2 * large, units)]
    last = [tally(METRICS["mae"], small, units), tally(METRICS["mae"], large, units)]
    found = geometric_ratio(ours, last)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 1.0, 1.0))
    assert found.n == 7
    alone = geometric_ratio(ours[1:], last[1:])
    assert alone.value == pytest.approx(2.0)
