from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler
from tests.support.tiny import SPEC, learned, tiny_cohort, tiny_material

from biowm.core.path import Path, take
from biowm.core.rollout import assimilate, at, rollout
from biowm.models.baselines.direct import Direct, fit_direct
from biowm.models.baselines.pairs import Pairs
from biowm.models.tracker import Tracker

ORIGIN, LEAD, DRAWS = 4, 2.0, 512
PATHS = tiny_cohort(60, 10)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return tiny_material().pairs


@eqx.filter_jit
def _future(world: Direct, path: Path, times, key):
    belief = at(assimilate(world, path), ORIGIN)
    return belief.tracker, rollout(world, belief, path.plan, times, key=key, draws=DRAWS)


def future(rule: str, subject: int, *leads: float) -> tuple[Tracker, np.ndarray]:
    """The tracker at the origin, and draws (n, T, 2) in standardised link space, at three leads."""
    world, path = learned(rule), take(PATHS, subject)
    leads = (*leads, *[leads[-1]] * (3 - len(leads)))
    times = (path.t[ORIGIN] + np.array(leads)).astype(np.float32)
    tracker, x = _future(world, path, jnp.asarray(times), jax.random.key(subject))
    return tracker, np.asarray(world.frame.scale.to_z(x.reshape(-1, 2))).reshape(DRAWS, 3, 2)


def node(world: Direct, lead: float) -> int:
    return int(np.flatnonzero(np.isclose(world.nodes, lead))[0])


def residual(world: Direct, lead: float, p: float) -> float:
    """A residual quantile of the first channel at a node."""
    return float(np.interp(p, np.linspace(0.005, 0.995, 67), world.quantiles[node(world, lead), 0]))


def test_persistence_is_the_last_value_plus_the_median_rise():
    tracker, z = future("persistence", 3, LEAD)
    expected = float(tracker.z[0]) + residual(learned("persistence"), LEAD, 0.5)
    assert np.median(z[:, 0, 0]) == pytest.approx(expected, abs=4 * z[:, 0, 0].std() * 1.25 / np.sqrt(DRAWS))


def test_mean_forgets_where_it_started(pairs: Pairs):
    world = learned("mean")
    i = node(world, LEAD)
    expected = pairs.z[pairs.valid[:, i, 0], i, 0].mean() + residual(world, LEAD, 0.5)
    found = [future("mean", subject, LEAD) for subject in range(6)]
    assert np.ptp([float(tracker.z[0]) for tracker, _ in found]) > 1.0
    for _, z in found:
        spread = z[:, 0, 0].std() * 1.25 / np.sqrt(DRAWS)
        assert np.median(z[:, 0, 0]) == pytest.approx(expected, abs=4 * spread)


def test_trend_goes_on_with_the_slope_of_the_subjects_own_readings():
    world = learned("trend")
    for subject in (2, 11):
        _, z = future("trend", subject, LEAD)
        t, x = PATHS.t[subject, : ORIGIN + 1], PATHS.x[subject, : ORIGIN + 1]
        own = np.asarray(world.frame.scale.to_z(jnp.asarray(x)))[:, 0]
        slope = np.polyfit(t.astype(float), own.astype(float), 1)[0]
        expected = own[-1] + slope * LEAD + residual(world, LEAD, 0.5)
        top = float(world.frame.scale.highest[0])
        spread = z[:, 0, 0].std() * 1.25 / np.sqrt(DRAWS)
        assert np.median(z[:, 0, 0]) == pytest.approx(min(expected, top), abs=4 * spread)


def rows(pairs: Pairs, i: int) -> np.ndarray:
    """The columns of direct ridge, written out: last values, pace, memory, exposures, traits, doses, products."""
    s = jax.tree.map(lambda leaf: np.asarray(leaf, float), pairs.start)
    rate = np.where(s.lag > 0, (s.z - s.prev) / np.maximum(s.lag, 1e-3), 0.0).clip(-3, 3)
    away = (s.z[:, :, None] - s.mean).reshape(len(s.z), -1)
    dose = pairs.dose[:, i, 0]
    return np.column_stack([s.z, rate, away, s.e[:, :, 1], s.traits, dose, s.z[:, :1] * dose])


def test_direct_is_ridge_at_every_node(pairs: Pairs):
    world = learned("direct")
    for i in (0, len(world.nodes) - 1):
        ok = pairs.valid[:, i, 0]
        X, rise = rows(pairs, i)[ok], (pairs.z[:, i, 0] - np.asarray(pairs.start.z)[:, 0])[ok]
        scaler = StandardScaler().fit(X)
        ridge = Ridge(alpha=1.0).fit(scaler.transform(X), rise)
        slopes = ridge.coef_ / scaler.scale_
        expected = np.concatenate([[ridge.intercept_ - slopes @ scaler.mean_], slopes])
        got = np.delete(np.asarray(world.weights[i, 0]), 3)  # the column of the subject's own trend is not used
        assert float(world.weights[i, 0, 3]) == 0.0
        np.testing.assert_allclose(got, expected, rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("rule", ["persistence", "direct"])
def test_residuals_are_those_of_the_training_pairs(rule: str, pairs: Pairs):
    world = learned(rule)
    i = node(world, LEAD)
    ok = pairs.valid[:, i, 0]
    point = 0.0
    if rule == "direct":
        w = np.delete(np.asarray(world.weights[i, 0], float), 3)
        point = rows(pairs, i)[ok] @ w[1:] + w[0]
    left = (pairs.z[:, i, 0] - np.asarray(pairs.start.z)[:, 0])[ok] - point
    np.testing.assert_allclose(world.quantiles[i, 0], np.quantile(left, np.linspace(0.005, 0.995, 67)), atol=2e-4)


def test_margins_of_the_draws_follow_the_residual_quantiles():
    world = learned("persistence")
    tracker, z = future("persistence", 3, LEAD)
    left = z[:, 0, 0] - float(tracker.z[0])
    for p in (0.1, 0.25, 0.5, 0.75, 0.9):
        share = (left <= residual(world, LEAD, p)).mean()
        assert share == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / DRAWS))


@pytest.mark.parametrize("rule", ["persistence", "direct"])
def test_a_stop_on_the_way_does_not_change_the_margin(rule: str):
    _, through = future(rule, 5, 0.5, 1.3, LEAD)
    _, at_once = future(rule, 5, LEAD)
    for p in (0.1, 0.5, 0.9):
        share = (through[:, 2, 0] <= np.quantile(at_once[:, 0, 0], p)).mean()
        assert share == pytest.approx(p, abs=4 * np.sqrt(2 * p * (1 - p) / DRAWS))


def test_paths_hang_together():
    """One draw keeps its luck: ranks at neighbouring times go together, as those of a random walk."""
    _, z = future("persistence", 5, 1.0, 2.0)
    assert np.corrcoef(z[:, 0, 0], z[:, 1, 0])[0, 1] == pytest.approx(np.sqrt(0.5), abs=0.15)


def test_a_rule_that_looks_at_no_dose_feels_none_and_direct_does():
    dosed = {}
    for rule in ("persistence", "direct"):
        world = learned(rule)
        weights = np.asarray(world.weights)
        dosed[rule] = np.abs(weights[..., -4:]).max()
    assert dosed["persistence"] == 0.0
    assert dosed["direct"] > 1e-3


def test_pairs_are_readings_near_their_node_with_the_doses_up_to_them(pairs: Pairs):
    i = 1
    row = int(np.flatnonzero(pairs.valid[:, i, 0] & (pairs.subject == 4))[0])
    t, x = PATHS.t[4], PATHS.x[4]
    start = int(np.argmin(np.abs(t - float(pairs.start.clock[row]))))
    gap = float(pairs.lead[row, i, 0])
    target = int(np.argmin(np.abs(t - (t[start] + gap))))
    assert t[target] - t[start] == pytest.approx(gap, abs=1e-4)
    others = np.abs(t[np.isfinite(x[:, 0])] - t[start] - pairs.nodes[i])
    assert abs(gap - pairs.nodes[i]) == pytest.approx(others.min(), abs=1e-4)
    z = np.asarray(tiny_material().frame.scale.to_z(jnp.asarray(x)))
    assert pairs.z[row, i, 0] == pytest.approx(float(z[target, 0]), abs=1e-5)
    plan = take(PATHS, 4).plan
    drug = (plan.card == 0) & (plan.onset >= t[start] - 1e-6) & (plan.stop <= t[target] + 1e-4)
    given = np.sum(plan.dose[drug] * (plan.stop - plan.onset)[drug]) / gap
    assert pairs.dose[row, i, 0, 0] * float(tiny_material().frame.action_scale[0]) == pytest.approx(given, rel=1e-3)


def test_no_effect_knows_no_doses_and_additive_nothing_else(pairs: Pairs):
    frame = tiny_material().frame
    nothing, alone = (np.asarray(fit_direct(SPEC, frame, pairs, r).weights) for r in ("no-effect", "additive"))
    np.testing.assert_array_equal(nothing[..., -4:], 0.0)
    assert (nothing[..., [0, 1]] != 0.0).all()  # where it starts counts
    np.testing.assert_array_equal(alone[..., 1:-4], 0.0)
    np.testing.assert_array_equal(alone[..., -2:], 0.0)  # no product of dose and state
    i = len(alone) - 1
    ok = pairs.valid[:, i, 0]
    dose, rise = pairs.dose[ok, i, 0], (pairs.z[:, i, 0] - np.asarray(pairs.start.z)[:, 0])[ok]
    scaler = StandardScaler().fit(dose)
    ridge = Ridge(alpha=1.0).fit(scaler.transform(dose), rise)
    np.testing.assert_allclose(alone[i, 0, -4:-2], ridge.coef_ / scaler.scale_, rtol=2e-3)
    assert alone[i, 0, -4] < 0 < alone[i, 1, -4]  # the drug slows the burden and raises the score


def test_low_rank_has_two_patterns_of_change_and_the_same_mean(pairs: Pairs):
    frame = tiny_material().frame
    full, low = (np.asarray(fit_direct(SPEC, frame, pairs, r).weights, float) for r in ("direct", "low-rank"))
    tables = [(pairs.valid[:, i, 0], rows(pairs, i)) for i in range(len(full))]
    sd = np.array([X[ok].std(0) for ok, X in tables])
    slopes = [np.delete(w[:, 0], [0, 3], axis=1) * sd for w in (full, low)]
    assert np.linalg.matrix_rank(slopes[0], tol=1e-3) > 2
    assert np.linalg.matrix_rank(slopes[1], tol=1e-3) == 2
    for i, (ok, X) in enumerate(tables):
        w = np.delete(low[i, 0], 3)
        rise = (pairs.z[:, i, 0] - np.asarray(pairs.start.z)[:, 0])[ok]
        assert (w[0] + X[ok] @ w[1:]).mean() == pytest.approx(rise.mean(), abs=1e-3)
