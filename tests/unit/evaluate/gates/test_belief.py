"""The gate `belief`: a Kalman filter of an unknown rate of growth, and filters that forget it or miscount time."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from tests.support.cohort import promise
from tests.support.sitting import HORIZONS, sit

from biowm.core.spec import Channel, WorldSpec
from biowm.core.world import Belief, Observation, State, World
from biowm.engine.cohort import random_policy, simulate
from biowm.evaluate.constants import columns, constants
from biowm.evaluate.exam import Exam
from biowm.evaluate.gates import belief as gate

DRIFT, NOISE = 0.04, 0.3  # variance a day of the level; SD of a reading


class GrowthBelief(Belief):
    """A normal belief about level and rate: means, variances, covariance; and the time since the last reading."""

    t: Float[Array, ""]
    x: Float[Array, ""]
    rate: Float[Array, ""]
    xx: Float[Array, ""]
    xr: Float[Array, ""]
    rr: Float[Array, ""]
    idle: Float[Array, ""]


class GrowthState(State):
    t: Float[Array, ""]
    x: Float[Array, ""]
    rate: Float[Array, ""]


class Growth(World):
    """A level that grows by a subject's own rate, N(0, 1) a day, and is read with noise: the filter is exact."""

    spec: WorldSpec = eqx.field(static=True, default=WorldSpec("growth", "d", (Channel("x", "mg/L"),)))
    spacing: float = eqx.field(static=True, default=1.0)

    def begin(self, traits):
        zero, one = jnp.zeros(()), jnp.ones(())
        return GrowthBelief(zero, zero, zero, 9 * one, zero, one, zero)

    def update(self, belief: GrowthBelief, reading, mask):
        spread = belief.xx + NOISE**2
        miss, gx, gr = reading[0] - belief.x, belief.xx / spread, belief.xr / spread
        read = GrowthBelief(
            belief.t, belief.x + gx * miss, belief.rate + gr * miss, belief.xx * (1 - gx), belief.xr * (1 - gx),
            belief.rr - gr * belief.xr, jnp.zeros(()),
        )  # fmt: skip
        return jax.tree.map(lambda new, old: jnp.where(mask[0], new, old), read, belief)

    def predict(self, belief: GrowthBelief, action, dt):
        xr = belief.xr + dt * belief.rr
        xx = belief.xx + dt * (belief.xr + xr) + DRIFT * dt
        x = belief.x + dt * belief.rate
        return GrowthBelief(belief.t + dt, x, belief.rate, xx, xr, belief.rr, belief.idle + dt)

    def draw(self, belief: GrowthBelief, *, key):
        e, f = jax.random.normal(key, (2,))
        rest = jnp.maximum(belief.xx - belief.xr**2 / belief.rr, 0.0)
        x = belief.x + belief.xr / jnp.sqrt(belief.rr) * e + jnp.sqrt(rest) * f
        return GrowthState(belief.t, x, belief.rate + jnp.sqrt(belief.rr) * e)

    def step(self, state: GrowthState, action, dt, *, key):
        return GrowthState(
            state.t + dt, state.x + dt * state.rate + jnp.sqrt(DRIFT * dt) * jax.random.normal(key), state.rate
        )

    def impulse(self, state, dose):
        return state

    def observe(self, state: GrowthState):
        return Observation(state.x[None], jnp.full(1, NOISE))


class Forgetful(Growth):
    """Learns the level and never the rate."""

    def update(self, belief: GrowthBelief, reading, mask):
        read = super().update(belief, reading, mask)
        return eqx.tree_at(lambda b: (b.rate, b.rr, b.xr), read, (belief.rate, belief.rr, jnp.zeros(())))


class Even(Growth):
    """Takes every two readings for a day apart: days without one do not count."""

    def predict(self, belief: GrowthBelief, action, dt):
        ahead = super().predict(belief, action, jnp.where(belief.idle > 0, 0.0, dt))
        return eqx.tree_at(lambda b: (b.t, b.idle), ahead, (belief.t + dt, belief.idle + dt))


def doubt(*read: int) -> float:
    """The standard deviation of the rate that the exact filter is left with after readings on these days of twenty."""
    belief = Growth().begin(jnp.zeros(0))
    for day in range(20):
        belief = belief if day == 0 else Growth().predict(belief, jnp.zeros(0), jnp.ones(()))
        belief = Growth().update(belief, jnp.zeros(1), jnp.full(1, day in read))
    return float(jnp.sqrt(belief.rr))


@pytest.fixture(scope="module")
def exam() -> Exam:
    paths = simulate(Growth(), 40, np.arange(8.0), random_policy(Growth().spec), seed=5).paths
    trust = promise(Growth(), paths, HORIZONS)
    return sit(Growth(), (paths, tuple(f"s{i}" for i in range(40))), rules={"persistence": Growth()}, promised=trust)


def check(exam: Exam, world: World):
    return gate.check(replace(exam, world=world, truth=Growth()))


def test_what_stays_is_found_by_itself_in_simulator_and_model():
    paths = simulate(Growth(), 6, np.arange(3.0), random_policy(Growth().spec), seed=1).paths
    found = constants(Growth(), paths, np.zeros(0), draws=16, seed=0)
    assert found.names == ("rate",)
    assert found.draws.shape == (6, 16, 1)


def test_columns_are_named_by_field_and_place():
    states = GrowthState(*(jnp.arange(6.0).reshape(2, 3) + k for k in range(3)))
    found = columns(states)
    assert found.names == ("t", "x", "rate")
    np.testing.assert_array_equal(found.draws[:, :, 2], np.arange(6.0).reshape(2, 3) + 2)


@pytest.mark.slow
def test_the_exact_filter_passes_with_the_correlation_that_theory_gives(exam: Exam):
    verdict = check(exam, Growth())
    assert verdict.status == "passed", verdict.detail
    found = verdict.evidence.metrics
    r = found["r_by_readings"]["20"]["rate"]["model"]
    assert r["low"] - 0.01 < np.sqrt(1 - doubt(*range(20)) ** 2) < r["high"] + 0.01
    for name, days in (("1", (19,)), ("5", range(15, 20)), ("20", range(20))):
        assert found["doubt_by_readings"][name] == pytest.approx(doubt(*days), rel=0.05), name
    errors = [found["crps_by_readings"][str(k)]["value"] for k in gate.READ]
    assert all(b < a * 1.02 for a, b in pairwise(errors))
    assert found["irregular_to_regular"]["value"] < 1.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "what"),
    [(Forgetful(), "no true constant is found"), (Even(), "irregular readings cost more")],
    ids=["forgetful", "miscounting"],
)
def test_filters_with_a_fault_fail_by_name(exam: Exam, world: World, what: str):
    verdict = check(exam, world)
    assert verdict.status == "failed"
    assert what in verdict.detail


@pytest.mark.slow  # as its fixture is
def test_without_a_simulator_it_does_not_apply(exam: Exam):
    assert "what is true of a subject is not known" in gate.check(exam).detail


def test_what_traits_foretell_is_taken_off():
    """Of a constant that is a trait plus something of its own only the latter is left, whatever is unknown."""
    rng = np.random.default_rng(0)
    traits, own = rng.normal(size=(400, 2)), rng.normal(size=400)
    values = np.column_stack([3.0 + traits @ [2.0, -1.0] + own, traits[:, 0]])
    left = gate.beyond(values, traits)
    np.testing.assert_allclose(np.corrcoef(left[:, 0], own)[0, 1], 1.0, atol=0.02)
    np.testing.assert_allclose(left[:, 1], 0.0, atol=1e-9)
    unknown = np.column_stack([traits, np.full(400, np.nan)])
    np.testing.assert_allclose(gate.beyond(values, unknown), left, atol=1e-9)
    np.testing.assert_allclose(gate.beyond(values, np.zeros((400, 0))), values - values.mean(0))
