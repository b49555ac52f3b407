from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import binom

from biowm.core.queries import Queries
from biowm.core.spec import Channel, WorldSpec
from biowm.models.scale import Scale, fit_scale
from biowm.train.calibrate import Calibration, band, calibrate, factors, level_at
from biowm.train.horizons import Asked

SPEC = WorldSpec("two", "d", (Channel("a", "mg/L"), Channel("b", "mg/L")))
TIMES = np.array([1.0, 2.0, 4.0, 8.0])
HORIZON = np.array([0, 0, 1, 1])


def scale(spec: WorldSpec = SPEC) -> Scale:
    """Mean 0, spread 1 and distant limits, so that z is x."""
    d = len(spec.channels)
    found = fit_scale(spec, np.tile(np.array([-1.0, 1.0])[:, None], (8, d))[None])
    return eqx.tree_at(lambda s: (s.lowest, s.highest), found, (jnp.full(d, -99.0), jnp.full(d, 99.0)))


SCALE = scale()


def world(rng: np.random.Generator, subjects: int, each: int = 1, n: int = 20) -> tuple[Asked, np.ndarray]:
    """Random-walk truths with a spread of each subject's own, and draws that are too narrow by half."""
    q = subjects * each
    who = np.repeat(np.arange(subjects), each)
    wide = rng.lognormal(0, 0.4, subjects)[who][:, None, None]
    sd = np.sqrt(np.diff(TIMES, prepend=0.0))[None, :, None]
    truth = np.cumsum(wide * sd * rng.normal(size=(q, 4, 2)), axis=1)
    draws = np.cumsum(0.5 * sd * rng.normal(size=(q, n, 4, 2)), axis=2)
    queries = Queries(who, np.zeros(q, int), np.tile(TIMES, (q, 1)).astype(np.float32))
    asked = Asked(queries, truth.astype(np.float32), np.tile(HORIZON, (q, 1)), np.zeros(q))
    return asked, draws.astype(np.float32)


@pytest.mark.slow
def test_bands_keep_their_promise_over_many_cohorts():
    """One new subject a cohort, as one time of its path or whole: .90 lies in the exact interval of the coverage.

    Bands of single times do not hold whole paths so often, which is why paths have a band of their own.
    """
    rng = np.random.default_rng(0)
    rounds, held = 400, {"pointwise": 0, "joint": 0, "raw": 0, "path by pointwise": 0}
    for _ in range(rounds):
        asked, draws = world(rng, 29)  # 29: the promise of .90 is exact
        learned = Asked(*(part(asked, slice(0, 28))))
        fitted = calibrate(SPEC, SCALE, learned, draws[:28], 2)
        truth = asked.truth[28]
        _, low, high = band(fitted, SPEC, draws[28], TIMES)
        held["joint"] += bool(((low <= truth) & (truth <= high)).all())
        _, low, high = band(fitted, SPEC, draws[28], TIMES, "pointwise")
        held["path by pointwise"] += bool(((low <= truth) & (truth <= high)).all())
        place = (rng.integers(4), rng.integers(2))
        held["pointwise"] += bool(low[place] <= truth[place] <= high[place])
        held["raw"] += bool(abs(truth[place]) <= 1.645 * 0.5 * TIMES[place[0]] ** 0.5)
    least = binom.ppf(0.005, rounds, 0.9) / rounds
    most = binom.ppf(0.995, rounds, 0.9 + 2 / 29) / rounds  # conformal errs to the wide side, by up to 1 / (n + 1)
    assert held["raw"] / rounds < least
    assert held["path by pointwise"] / rounds < least
    assert least <= held["pointwise"] / rounds <= most
    assert least <= held["joint"] / rounds <= most


def part(asked: Asked, rows: slice):
    q = asked.queries
    yield Queries(q.subject[rows], q.origin[rows], q.times[rows])
    yield from (asked.truth[rows], asked.horizon[rows], asked.start[rows])


def test_a_subject_counts_once_however_often_it_was_asked():
    """Nineteen calm subjects asked once and a wild one asked a hundred times: the radius stays that of the calm."""
    truth = np.full((119, 4, 2), 1.0, np.float32)
    truth[19:] = 50.0
    who = np.concatenate([np.arange(19), np.full(100, 19)])
    queries = Queries(who, np.zeros(119, int), np.tile(TIMES, (119, 1)).astype(np.float32))
    asked = Asked(queries, truth, np.tile(HORIZON, (119, 1)), np.zeros(119))
    draws = np.broadcast_to(np.linspace(-1, 1, 41, dtype=np.float32)[None, :, None, None], (119, 41, 4, 2))
    fitted = calibrate(SPEC, SCALE, asked, draws, 2)
    assert fitted.subjects == 20
    assert fitted.pointwise.max() < 1.2
    assert fitted.joint.max() < 1.2


def test_fewer_than_nine_subjects_promise_nothing():
    rng = np.random.default_rng(0)
    few = calibrate(SPEC, SCALE, *world(rng, 8, each=5), 2)
    assert few.level is None
    np.testing.assert_array_equal(few.pointwise, 1.0)
    np.testing.assert_array_equal(few.joint, 1.0)
    assert level_at(few, 1.0) is None
    nine = calibrate(SPEC, SCALE, *world(rng, 9), 2)
    assert nine.level == 0.9
    assert nine.pointwise.max() > 1.0
    assert level_at(nine, 1.0) == 0.9


def test_a_horizon_that_few_reach_promises_nothing():
    asked, draws = world(np.random.default_rng(0), 30)
    horizon = asked.horizon.copy()
    horizon[5:, 2:] = -1
    fitted = calibrate(SPEC, SCALE, Asked(asked.queries, asked.truth, horizon, asked.start), draws, 2)
    assert fitted.reach == (30, 5)
    assert level_at(fitted, fitted.leads[0]) == 0.9
    assert level_at(fitted, fitted.leads[1]) is None
    assert np.isfinite(fitted.joint).all()


def test_a_flat_forecast_is_widened_to_the_resolution():
    """Draws that agree exactly: half a resolution step each way where one is declared, else 2 % of the spread."""
    fine = Channel("a", "mg/L", resolution=0.5), Channel("b", "mg/L")
    spec = WorldSpec("two", "d", fine)
    draws = np.ones((7, 4, 2), np.float32)
    plain = Calibration(0.9, 20, (20, 20), (1.0, 4.0), np.ones((2, 2)), np.ones(2), scale(spec))
    median, low, high = band(plain, spec, draws, TIMES)
    np.testing.assert_allclose(median, 1.0, rtol=1e-5)
    np.testing.assert_allclose(high - median, np.tile([0.25, 0.02], (4, 1)), rtol=1e-3)
    np.testing.assert_allclose(median - low, np.tile([0.25, 0.02], (4, 1)), rtol=1e-3)


def test_missing_truths_are_passed_over():
    asked, draws = world(np.random.default_rng(0), 30)
    truth = asked.truth.copy()
    truth[:, 1] = np.nan
    truth[3] = np.nan
    found = calibrate(SPEC, SCALE, Asked(asked.queries, truth, asked.horizon, asked.start), draws, 2)
    without = np.array([i for i in range(30) if i != 3])
    rest = Asked(*part(Asked(asked.queries, truth, asked.horizon, asked.start), without))
    same = calibrate(SPEC, SCALE, rest, draws[without], 2)
    np.testing.assert_array_equal(found.pointwise, same.pointwise)
    np.testing.assert_array_equal(found.joint, same.joint)


def test_only_targets_make_the_joint_score():
    asked, draws = world(np.random.default_rng(0), 30)
    truth = asked.truth.copy()
    truth[..., 1] *= 100
    covariate = WorldSpec("two", "d", (SPEC.channels[0], Channel("b", "mg/L", role="covariate")))
    spoilt = Asked(asked.queries, truth, asked.horizon, asked.start)
    a, both = (calibrate(spec, SCALE, spoilt, draws, 2) for spec in (covariate, SPEC))
    assert a.joint.max() < 20
    assert both.joint.min() > 50


def test_a_lead_takes_the_factor_of_the_nearest_horizon_in_ratio_and_a_joint_band_that_of_its_longest():
    found = Calibration(0.9, 20, (20, 20), (1.0, 4.0), np.array([[1.0, 3.0], [2.0, 5.0]]), np.array([2.0, 4.0]), SCALE)
    np.testing.assert_allclose(
        factors(found, np.array([0.5, 1.0, 1.9, 2.1, 9.0]), "pointwise"),
        [[1, 3], [1, 3], [1, 3], [2, 5], [2, 5]],
    )
    np.testing.assert_allclose(factors(found, np.array([0.5, 1.0, 2.1]), "joint"), np.full((3, 2), 4.0))
    np.testing.assert_allclose(factors(found, np.array([0.5, 1.0, 1.9]), "joint"), np.full((3, 2), 2.0))


def test_stacked_questions_get_the_bands_of_each_by_itself():
    asked, draws = world(np.random.default_rng(0), 12)
    fitted = calibrate(SPEC, SCALE, asked, draws, 2)
    leads = np.stack([TIMES, TIMES / 2])
    together = band(fitted, SPEC, draws[:2], leads)
    for i in range(2):
        for a, b in zip(together, band(fitted, SPEC, draws[i], leads[i]), strict=True):
            np.testing.assert_allclose(a[i], b, rtol=1e-6)


def test_a_log_channel_gets_its_band_in_its_own_unit():
    spec = WorldSpec("one", "d", (Channel("a", "mg/L", "log"),))
    log = fit_scale(spec, np.exp(np.linspace(-1, 1, 20))[None, :, None])
    draws = np.exp(np.random.default_rng(0).normal(size=(99, 4, 1))).astype(np.float32)
    wide = Calibration(0.9, 20, (20, 20), (1.0, 4.0), np.full((2, 1), 1.5), np.full(2, 1.5), log)
    median, low, _ = band(wide, spec, draws, TIMES, "pointwise")
    ranked = np.log(np.sort(draws, axis=0))
    centre = ranked[49]
    np.testing.assert_allclose(np.log(median), centre, atol=1e-3)
    np.testing.assert_allclose(np.log(low), np.maximum(centre - 1.5 * (centre - ranked[4]), -4.0 - log.sd), atol=1e-2)
    assert (low > 0).all()


def test_an_ordinal_band_ends_on_levels_and_holds_the_same_ones():
    spec = WorldSpec("one", "d", (Channel("a", "1", "ordinal", low=3.0, high=15.0, resolution=1.0),))
    coarse = fit_scale(spec, np.arange(3.0, 16.0)[None, :, None])
    draws = np.rint(np.random.default_rng(0).normal(9, 2, size=(99, 4, 1))).clip(3, 15).astype(np.float32)
    found = Calibration(0.9, 20, (20, 20), (1.0, 4.0), np.full((2, 1), 1.3), np.full(2, 1.3), coarse)
    real = replace(spec, channels=(replace(spec.channels[0], link="real"),))
    edges, plain = band(found, spec, draws, TIMES), band(found, real, draws, TIMES)
    for edge in edges:
        np.testing.assert_array_equal(edge, np.rint(edge))
    levels = np.arange(3.0, 16.0)
    inside = (levels >= plain[1]) & (levels <= plain[2])
    assert (inside <= ((levels >= edges[1]) & (levels <= edges[2]))).all()
    assert (np.abs(np.array(edges) - np.array(plain)) <= 0.5 + 1e-5).all()


@pytest.mark.parametrize("kind", ["joint", "pointwise"])
def test_a_wider_calibration_gives_wider_bands(kind: str):
    _, draws = world(np.random.default_rng(0), 1)
    widths = []
    for factor in (1.0, 2.0):
        twice = np.full((2, 2), factor), np.full(2, factor)
        found = Calibration(0.9, 20, (20, 20), (1.0, 4.0), *twice, SCALE)
        _, low, high = band(found, SPEC, draws[0], TIMES, kind)
        widths.append(high - low)
    np.testing.assert_allclose(widths[1], 2 * widths[0], rtol=1e-3)


@pytest.mark.parametrize(("miss", "edge"), [(2.0, 3 - 3 / 19), (-2.0, 1 - 1 / 19)])
def test_a_miss_is_measured_by_the_width_of_its_own_side(miss: float, edge: float):
    """Draws that reach three up and one down; every truth misses the median by the same."""
    draws = np.concatenate([np.linspace(-1, 0, 20), np.linspace(0, 3, 20)[1:]]).astype(np.float32)
    draws = np.broadcast_to(draws[None, :, None, None], (20, 39, 4, 2))
    queries = Queries(np.arange(20), np.zeros(20, int), np.tile(TIMES, (20, 1)).astype(np.float32))
    asked = Asked(queries, np.full((20, 4, 2), miss, np.float32), np.tile(HORIZON, (20, 1)), np.zeros(20))
    fitted = calibrate(SPEC, SCALE, asked, draws, 2)
    np.testing.assert_allclose(fitted.pointwise, abs(miss) / edge, rtol=1e-5)
    np.testing.assert_allclose(fitted.joint, abs(miss) / edge, rtol=1e-5)
    _, low, high = band(fitted, SPEC, draws[0], TIMES)
    np.testing.assert_allclose(high if miss > 0 else low, miss, rtol=1e-4)


@pytest.mark.parametrize(("early", "late"), [(2.0, 8.0), (8.0, 2.0)])
def test_a_horizon_counts_the_leads_up_to_it_and_no_later_ones(early: float, late: float):
    draws = np.broadcast_to(np.linspace(-1, 1, 39, dtype=np.float32)[None, :, None, None], (20, 39, 4, 2))
    truth = np.where(HORIZON == 0, early, late)[None, :, None] * np.array([1.0, 0.5])
    queries = Queries(np.arange(20), np.zeros(20, int), np.tile(TIMES, (20, 1)).astype(np.float32))
    asked = Asked(queries, np.tile(truth, (20, 1, 1)).astype(np.float32), np.tile(HORIZON, (20, 1)), np.zeros(20))
    fitted = calibrate(SPEC, SCALE, asked, draws, 2)
    edge = 1 - 1 / 19
    np.testing.assert_allclose(fitted.pointwise, np.outer([early, late], [1.0, 0.5]) / edge, rtol=1e-5)
    np.testing.assert_allclose(fitted.joint, np.array([early, max(early, late)]) / edge, rtol=1e-5)
    assert (fitted.leads, fitted.reach, fitted.subjects) == ((1.5, 6.0), (20, 20), 20)


def test_a_band_ends_one_spread_beyond_what_was_ever_read():
    near = eqx.tree_at(lambda s: (s.lowest, s.highest), SCALE, (jnp.full(2, -4.0), jnp.full(2, 3.0)))
    wide = Calibration(0.9, 50, (50, 50), (1.0, 8.0), np.full((2, 2), 1e6), np.full(2, 1e6), near)
    draws = np.random.default_rng(0).normal(size=(20, 4, 2)).astype(np.float32)
    for kind in ("joint", "pointwise"):
        _, low, high = band(wide, SPEC, draws, TIMES, kind)
        np.testing.assert_allclose(np.asarray(near.to_z(low)), -5.0, rtol=1e-5)
        np.testing.assert_allclose(np.asarray(near.to_z(high)), 4.0, rtol=1e-5)


def test_where_too_few_reach_a_horizon_its_factor_is_at_least_that_of_the_horizon_before():
    asked, draws = world(np.random.default_rng(0), 29)
    truth = asked.truth.copy()
    truth[5:, 2:] = np.nan
    truth[:5, 2:] = np.median(draws[:5, :, 2:], axis=1)  # told exactly
    found = calibrate(SPEC, SCALE, replace(asked, truth=truth), draws, 2)
    assert (found.pointwise[0] > 1.2).all()
    np.testing.assert_array_equal(found.pointwise[1], found.pointwise[0])


def test_a_band_is_never_narrower_than_half_the_resolution():
    coarse = WorldSpec("coarse", "d", (Channel("a", "mg/L", resolution=0.5),))
    wide = fit_scale(coarse, np.tile(np.array([-3.0, 3.0])[:, None], (8, 1))[None])
    sure = np.zeros((20, 4, 1), np.float32)
    for factor, half in ((1.0, 0.25), (3.0, 0.75)):
        own = Calibration(0.9, 50, (50, 50), (1.0, 8.0), np.full((2, 1), factor), np.full(2, factor), wide)
        _, low, high = band(own, coarse, sure, TIMES)
        np.testing.assert_allclose(high, half, rtol=1e-5)
        np.testing.assert_allclose(low, -half, rtol=1e-5)
