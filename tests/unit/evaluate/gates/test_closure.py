"""The gate `closure`: steps that add up, steps that do not, and forecasts that leave the range of real readings."""

from types import SimpleNamespace
from unittest.mock import Mock

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tests.support.cohort import cohort
from tests.support.decay import Decay, DecayState
from tests.support.sitting import Told, sit, training

from biowm.evaluate.exam import Exam
from biowm.evaluate.gates import closure
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
