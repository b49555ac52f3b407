"""The gate `closure`: steps that add up, steps that do not, and forecasts that leave the range of real readings."""

import dataclasses
from types import SimpleNamespace
from unittest.mock import Mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.cohort import cohort
from tests.support.decay import Decay, DecayState
from tests.support.screen import HOURS, PAIRS, SINGLES, drugs, screen, trunk
from tests.support.sitting import Told, sit, training

from biowm.core.forecast import forecast as real_forecast
from biowm.core.path import stack
from biowm.evaluate.exam import Exam, Training
from biowm.evaluate.gates import closure
from biowm.models.scale import fit_scale
from biowm.models.sets.trunk import SetTrunk
from biowm.train.calibrate import Calibration
from biowm.train.envelope import envelope
from biowm.train.horizons import Horizons


class Creeping(Decay):
    """Every step, long or short, adds the same error: right once, wrong when it is iterated."""

    def step(self, state, action, dt, *, key):
        after = super().step(state, action, dt, key=key)
        return eqx.tree_at(lambda s: s.x, after, after.x + 0.3)


class Runaway(Decay):
    """Grows without bound, by one step as by many."""

    def step(self, state, action, dt, *, key):
        noise = self.sigma * jax.random.normal(key, (1,))
        return DecayState(state.t + dt, (state.x + noise) * jnp.exp(0.5 * dt))


class Overflowing(Decay):
    """Now and then a reading that is no number."""

    def step(self, state, action, dt, *, key):
        after = super().step(state, action, dt, key=key)
        lost = jax.random.uniform(jax.random.fold_in(key, 9), (1,)) < 0.01
        return eqx.tree_at(lambda s: s.x, after, jnp.where(lost, jnp.inf, after.x))


def test_the_true_world_is_closed():
    verdict = closure.check(sit(Decay(), learned=training()))
    assert verdict.status == "passed", verdict.detail
    found = verdict.evidence.metrics
    assert found["steps"] == [4, 7]
    # The action changes on the way: one long step under its mean is the worse forecast.
    assert verdict.value is not None
    assert verdict.value.high < 1
    assert found["outside_training_range"]["truth"]["n"] == found["questions"]


def test_a_world_whose_steps_do_not_add_up_fails():
    verdict = closure.check(sit(Creeping(), learned=training()))
    assert verdict.status == "failed"
    assert "clearly worse" in verdict.detail
    assert (
        verdict.evidence.metrics["errors"]["iterated"]["low"]
        > 1.02 * verdict.evidence.metrics["errors"]["joint"]["high"]
    )


def test_a_world_that_leaves_the_range_of_real_readings_fails():
    verdict = closure.check(sit(Runaway(), learned=training()))
    assert verdict.status == "failed"
    assert "more often than real ones" in verdict.detail
    assert "clearly worse" not in verdict.detail
    unknown = closure.check(sit(Runaway()))
    assert unknown.status == "passed"  # nobody knows where the training readings were, and it says so
    assert "is not known" in unknown.detail


def test_a_reading_that_is_no_number_fails():
    verdict = closure.check(sit(Overflowing(), cohort(n=10)))
    assert (verdict.status, verdict.value) == ("failed", None)
    assert "not finite" in verdict.detail


def test_one_step_cannot_be_iterated():
    verdict = closure.check(sit(Decay(), cohort(n=10), horizons=Horizons("readings", (1.0,), "d")))
    assert verdict.status == "not_applicable"
    assert "two steps" in verdict.detail


def test_a_model_without_transition_cannot_be_iterated():
    verdict = closure.check(sit(Told(), cohort(n=10)))
    assert verdict.status == "not_applicable"
    assert "no transition" in verdict.detail


def test_single_steps_divide_the_way_evenly_and_the_last_is_repeated():
    exam = Mock(spec=Exam, asked=SimpleNamespace(start=np.array([9.0, 10.0, 0.0])))  # the first is not asked
    ends = closure.Ends(np.array([1, 2]), np.array([0, 0]), np.array([12.0, 4.0], np.float32), np.array([2, 4]))
    np.testing.assert_array_equal(closure._steps(exam, ends), [[11, 12, 12, 12], [1, 2, 3, 4]])


class Forgetful(SetTrunk):
    """What is given on top of something starts from its result, read anew with an error, as one's own control."""

    def step(self, state, action, dt, *, key):
        after = super().step(state, action, dt, key=key)
        on_top = jnp.any(state.course.dose != 0) & jnp.any((state.course.dose != 0) != (after.course.dose != 0))
        return eqx.tree_at(lambda s: s.own, after, after.own + jnp.where(on_top, 1.0, 0.0))


def _screened(world=None, sets=PAIRS):
    """The exam of a trunk on a screen that is read once, about some of its sets."""
    spec, learned = drugs(), stack(screen([*SINGLES, *PAIRS]))
    world = world or trunk(spec, learned)
    paths, horizons = stack(screen(sets, seed=1)), Horizons("clock", (HOURS,), "h", "start")
    scale = fit_scale(spec, np.asarray(learned.x))
    trust = Calibration(None, 0, (0,), (HOURS,), np.ones((1, 2)), np.ones(1), scale)
    known = Training(learned, tuple(f"c{i}" for i in range(21)), scale, envelope(spec, scale, learned, HOURS, "start"))
    names = tuple(f"t{i}" for i in range(len(sets)))
    rules = {"persistence": trunk(spec, learned, "persistence")}
    return Exam(world, rules, paths, names, horizons, {"world": trust, "persistence": trust}, training=known)


def test_one_member_on_top_of_another_is_both_at_once():
    verdict = closure.check(_screened())
    assert verdict.status == "passed", verdict.detail
    found = verdict.evidence.metrics
    assert (found["sets"], found["members"]) == (15, [2, 2])
    assert verdict.value is not None
    assert verdict.value.value == pytest.approx(1.0, abs=1e-4)
    assert "one after another, in either order" in verdict.detail


def test_members_really_come_one_after_another(monkeypatch):
    asked = []
    monkeypatch.setattr(
        closure, "forecast", lambda *a, plans, **k: asked.append(plans) or real_forecast(*a, plans=plans, **k)
    )
    closure.check(_screened())
    first, last, whole = (np.asarray(plan.onset)[:, :2] for plan in asked)
    np.testing.assert_array_equal(first, [[0.0, HOURS / 2]] * 15)
    np.testing.assert_array_equal(last, [[HOURS / 2, 0.0]] * 15)
    assert not whole.any()


def test_a_world_that_takes_a_result_for_its_control_fails():
    base = _screened().world
    world = Forgetful(**{f.name: getattr(base, f.name) for f in dataclasses.fields(base)})
    verdict = closure.check(_screened(world))
    assert verdict.status == "failed", verdict.detail
    assert "clearly worse" in verdict.detail


def test_a_screen_without_sets_of_several_has_nothing_to_carry_on():
    verdict = closure.check(_screened(sets=SINGLES))
    assert verdict.status == "not_applicable"
    assert "set of several members" in verdict.detail
