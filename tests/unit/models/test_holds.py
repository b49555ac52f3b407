from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.tiny import learned

from biowm.core.forecast import forecast
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.core.rollout import assimilate
from biowm.core.schedule import schedule
from biowm.core.spec import Channel, WorldSpec
from biowm.models.baselines.ridge import RIDGE
from biowm.models.holds import Hold, fit_holds, hazard, holding, no_holds, width
from biowm.models.tracker import Tracker, advance, fit_frame, fresh, read
from biowm.models.trunks.em import MixedConfig, fit_mixed
from biowm.models.trunks.mixed import Mixed
from biowm.models.trunks.statespace_fit import fit_noisy

SPEC = WorldSpec("scores", "h", (Channel("score", "mg/L"), Channel("pulse", "mg/L")), ())
RATE = 0.15  # changes an hour


def cohort(n: int, readings: int, seed: int = 0) -> Path:
    """A score that jumps at a known rate and is still in between, and a pulse that wanders."""
    rng = np.random.default_rng(seed)
    paths = []
    for _ in range(n):
        t = np.concatenate([[0.0], np.cumsum(rng.choice([1.0, 2.0, 4.0], readings - 1))]).astype(np.float32)
        moved = rng.uniform(size=readings - 1) > np.exp(-RATE * np.diff(t))
        jumps = np.where(moved, rng.normal(0, 1, readings - 1) * np.sqrt(np.diff(t)), 0.0)
        score = np.cumsum(np.concatenate([[rng.normal()], jumps]))
        pulse = np.cumsum(np.concatenate([[0.0], rng.normal(0, 0.3, readings - 1) * np.sqrt(np.diff(t))]))
        x = np.column_stack([score, pulse]).astype(np.float32)
        paths.append(Path(t, x, schedule([]), np.zeros(0, np.float32), np.asarray(0, np.int32)))
    return stack(paths)


@pytest.fixture(scope="module")
def paths() -> Path:
    return cohort(150, 14)


@pytest.fixture(scope="module")
def world(paths: Path) -> Mixed:
    return fit_noisy(SPEC, fit_frame(SPEC, paths, 2.0), paths, MixedConfig(("one", "z"), "full"))


def test_rounded_readings_do_not_hold_and_repeated_ones_do():
    rng = np.random.default_rng(0)
    rounded = np.round(rng.normal(37, 0.5, (40, 30)), 1)
    repeated = rounded[
        np.arange(40)[:, None], np.maximum.accumulate(np.where(rng.uniform(size=30) < 0.2, np.arange(30), 0))
    ]
    missing = np.full((40, 30), np.nan)
    x = np.stack([rounded, repeated, rng.normal(size=(40, 30)), missing], axis=2).astype(np.float32)
    assert holding(x).tolist() == [False, True, False, False]
    assert not holding(x[:1, :6]).any()  # six readings are too few to say


def test_the_hazard_is_recovered_and_says_the_same_in_one_step_as_in_many(paths: Path):
    frame = fit_frame(SPEC, paths, 2.0)
    hold = fit_holds(frame, paths, 0)
    assert np.asarray(hold.on).tolist() == [1.0, 0.0]
    nothing = jnp.zeros(0)
    tracker = read(fresh(frame, nothing), jnp.asarray([0.3, 0.0]), jnp.ones(2, bool))
    for hours in (1.0, 4.0):
        chance = hold.chance(advance(tracker, frame, nothing, jnp.asarray(hours)))
        assert float(chance[0]) == pytest.approx(np.exp(-RATE * hours), abs=0.06)
        assert float(chance[1]) == 0.0
    constant = Hold(hold.on, jnp.zeros((2, width(0))).at[0, 0].set(-1.0), hold.least, hold.most)
    whole = constant.chance(advance(tracker, frame, nothing, jnp.asarray(6.0)))[0]
    by_steps = 1.0
    for _ in range(3):
        tracker = advance(tracker, frame, nothing, jnp.asarray(2.0))
        by_steps *= float(constant.chance(tracker)[0])
        tracker = read(tracker, tracker.z, jnp.ones(2, bool))
    assert by_steps == pytest.approx(float(whole), rel=1e-5)
    assert float(tracker.still[0]) == pytest.approx(3.0)  # spacings that it has been read the same


def test_the_likelihood_of_holds_has_its_known_maximum():
    """With a constant alone and one gap, the hazard is -log(share that held) / gap."""
    tied = np.arange(100) < 30
    w = hazard(np.ones((100, 1), np.float32), np.full(100, 2.0, np.float32), tied)
    assert float(w[0]) == pytest.approx(np.log(-np.log(0.3) / 2), abs=1e-4)


def test_increments_are_learned_from_those_that_did_not_hold(paths: Path):
    """Jumps have variance 1 an hour, whatever the share of readings that did not jump."""
    world = fit_mixed(SPEC, fit_frame(SPEC, paths, 2.0), paths, MixedConfig(("one",), "none"))
    np.testing.assert_allclose(world.s2, [2.0, 2 * 0.09], rtol=0.2)


def test_the_ridge_rule_is_as_plain_as_ever(paths: Path):
    rule = fit_mixed(SPEC, fit_frame(SPEC, paths, 2.0), paths, RIDGE)
    assert not np.asarray(rule.hold.on).any()
    assert not np.asarray(rule.fade).any()


def test_a_channel_that_repeats_has_no_reading_noise(world: Mixed):
    assert float(world.r[0]) == 0.0


def test_futures_hold_as_often_as_subjects_do(world: Mixed):
    fresh_paths = cohort(60, 14, seed=5)
    t = np.asarray(fresh_paths.t)
    ahead = np.array([1.0, 4.0, 8.0], np.float32)
    queries = Queries(np.arange(60), np.full(60, 6), t[:, 6][:, None] + ahead)
    draws = forecast(world, fresh_paths, queries, key=jax.random.key(0), draws=64)
    last = np.asarray(fresh_paths.x)[:, 6]
    held = np.abs(draws - last[:, None, None]) < 1e-4
    for k, hours in enumerate(ahead):
        assert held[:, :, k, 0].mean() == pytest.approx(np.exp(-RATE * hours), abs=0.07)
    assert held[..., 1].mean() < 0.01


def test_a_held_reading_moves_no_belief(world: Mixed):
    nothing = jnp.zeros(0)
    first = world.update(world.begin(nothing), jnp.asarray([0.5, 0.2]), jnp.ones(2, bool))
    due = world.predict(first, nothing, jnp.asarray(2.0))
    held = world.update(due, jnp.asarray([0.5, 0.2]), jnp.ones(2, bool))
    moved = world.update(due, jnp.asarray([0.9, 0.2]), jnp.ones(2, bool))
    np.testing.assert_array_equal(held.m[0], first.m[0])
    np.testing.assert_array_equal(held.L[0], first.L[0])
    assert float(held.tracker.age[0]) == 0.0
    assert np.abs(np.asarray(moved.m[0] - first.m[0])).max() > 1e-4
    assert np.abs(np.asarray(held.m[1] - first.m[1])).max() > 1e-6  # the pulse does not hold: standing still is news


def test_channels_that_do_not_hold_draw_what_they_drew(world: Mixed):
    """The luck of one channel takes nothing from the noise of another."""
    without = eqx.tree_at(lambda w: w.hold, world, no_holds(2, 0))
    belief = assimilate(world, jax.tree.map(lambda a: jnp.asarray(a)[0], cohort(1, 6, seed=9)))
    last = jax.tree.map(lambda a: a[-1], belief)
    for k in range(5):
        state = world.draw(last, key=jax.random.key(k))
        one, other = (
            w.step(state, jnp.zeros(0), jnp.asarray(2.0), key=jax.random.key(k)).tracker.z for w in (world, without)
        )
        assert float(one[1]) == float(other[1])


def test_a_cohort_that_never_repeats_holds_nothing():
    fitted = learned("mixed(full)")
    assert isinstance(fitted, Mixed)
    assert not np.asarray(fitted.hold.on).any()
    assert not np.asarray(fitted.hold.weights).any()


def test_a_tracker_forgets_stillness_at_a_change(world: Mixed):
    frame, nothing, everyone = world.frame, jnp.zeros(0), jnp.ones(2, bool)
    tracker: Tracker = read(fresh(frame, nothing), jnp.asarray([0.1, 0.2]), everyone)
    tracker = read(advance(tracker, frame, nothing, jnp.asarray(2.0)), jnp.asarray([0.1, 0.3]), everyone)
    np.testing.assert_allclose(tracker.still, [1.0, 0.0])
    tracker = read(advance(tracker, frame, nothing, jnp.asarray(2.0)), jnp.asarray([0.4, 0.3]), everyone)
    np.testing.assert_allclose(tracker.still, [0.0, 1.0])


def test_a_channel_that_never_changed_stays_where_it_is(paths: Path):
    x = np.array(paths.x)
    x[..., 0] = np.where(np.isfinite(x[..., 0]), 3.0, np.nan)
    still = eqx.tree_at(lambda p: p.x, paths, x)
    world = fit_mixed(SPEC, fit_frame(SPEC, still, 2.0), still, MixedConfig(("one", "z"), "full"))
    t = np.asarray(paths.t)
    queries = Queries(np.arange(5), np.full(5, 6), t[:5, 6][:, None] + np.array([2.0, 8.0], np.float32))
    draws = forecast(world, still, queries, key=jax.random.key(0), draws=32)[..., 0]
    assert (np.abs(draws - 3.0) < 1e-4).mean() > 0.98
    np.testing.assert_allclose(draws, 3.0, atol=0.01)
