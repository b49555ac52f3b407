"""The gate `time`: worlds that know how long a step is, and worlds that count steps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from tests.support.cohort import cohort
from tests.support.decay import Decay, DecayState
from tests.support.sitting import Told, sit, sitters

from biowm.core.schedule import Entry
from biowm.evaluate.gates import time
from biowm.evaluate.tamper import pack, unpack


class Counting(Decay):
    """Takes every step for one of a whole day: a model of a regular grid."""

    def step(self, state, action, dt, *, key):
        after = super().step(state, action, jnp.ones(()), key=key)
        return eqx.tree_at(lambda s: s.t, after, state.t + dt)


class Jittery(Decay):
    """The right mean, with the same noise in every step, however short."""

    def step(self, state, action, dt, *, key):
        gone = jnp.exp(-self.k * dt)
        mean = state.x * gone + action[:1] / self.k * (1 - gone)
        return DecayState(state.t + dt, mean + self.sigma * jax.random.normal(key, (1,)))


def test_the_true_world_is_a_semigroup():
    verdict = time.check(sit(Decay()))
    assert verdict.status == "passed", verdict.detail
    found = verdict.evidence.metrics["apart"]
    assert list(found) == ["half steps, x", "irregular steps, x"]
    assert max(apart["shift"]["value"] for apart in found.values()) < 0.1
    assert all(abs(apart["spread"]["value"] - 1) < 0.1 for apart in found.values())


def test_every_grid_meets_at_two_four_and_six_spacings_and_the_irregular_one_strays_both_ways():
    sat = sit(Decay(), cohort(n=10))
    rows = np.arange(20)
    regular, halves, odd = (g - sat.asked.start[rows][:, None] for g in time._grids(sat, Decay(), rows))
    np.testing.assert_allclose(regular[:, :6], np.tile(np.arange(1.0, 7.0), (20, 1)), atol=1e-5)
    np.testing.assert_allclose(halves, np.tile(np.arange(1, 13) / 2, (20, 1)), atol=1e-5)
    np.testing.assert_allclose(odd[:, 1:6:2], regular[:, 1:6:2], atol=1e-5)
    stray = odd[:, 0:6:2] - regular[:, 0:6:2]
    assert -0.5 <= stray.min() < -0.3
    assert 0.3 < stray.max() <= 0.5


def test_a_world_that_counts_steps_fails():
    verdict = time.check(sit(Counting()))
    assert verdict.status == "failed"
    assert "depends on the times" in verdict.detail
    assert verdict.value is not None
    assert verdict.value.low > 1


def test_a_world_whose_noise_counts_steps_fails_by_its_spread_alone():
    verdict = time.check(sit(Jittery()))
    assert verdict.status == "failed"
    half = verdict.evidence.metrics["apart"]["half steps, x"]
    np.testing.assert_allclose(half["spread"]["value"], 2**0.5, rtol=0.15)  # twice the steps, twice the variance
    assert half["shift"]["low"] < 0.05


def test_a_world_without_spread_agrees_with_itself():
    assert time.check(sit(Decay(sigma=0.0), cohort(n=10))).status == "passed"


def test_a_model_without_transition_has_no_steps():
    verdict = time.check(sit(Told(), cohort(n=10)))
    assert verdict.status == "not_applicable"
    assert "no transition" in verdict.detail


def test_actions_are_held_at_their_mean_over_the_horizon_and_boluses_come_at_the_origin():
    paths, names = sitters()
    now = float(sit(Decay()).asked.start[0])
    before, rate = Entry(0, 4.0, now - 1.0, now), Entry(0, 2.0, now, now + 1.5)
    doses = ((7.0, -0.5), (1.0, 0.5), (2.0, 2.0), (9.0, 6.5))
    shots = [Entry(1, dose, now + after, now + after) for dose, after in doses]
    later = Entry(0, 5.0, now + 6.5, now + 8.0)
    given = eqx.tree_at(lambda p: p.plan, paths, pack([[before, rate, *shots, later]] * len(names)))
    held = time._held(sit(Decay(), (given, names)), np.array([0]), 6.0)
    found = [e for e in unpack(held)[0] if e.stop > now or e.onset >= now]
    wanted = [(0, 0.5, now, now + 6.0), (1, 1.5, now, now)]
    np.testing.assert_allclose([(e.card, e.dose, e.onset, e.stop) for e in found], wanted, rtol=1e-6)
