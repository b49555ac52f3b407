"""The gate `observability`: a filter of noisy readings, one that clings to the first, one that trusts a dead sensor."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from tests.support.cohort import cohort
from tests.support.decay import Decay
from tests.support.sitting import sit

from biowm.core.interval import Interval
from biowm.core.path import Path, stack
from biowm.core.sampled import evenly
from biowm.core.schedule import schedule
from biowm.core.spec import Channel, WorldSpec
from biowm.core.world import Belief, Observation, State, World
from biowm.evaluate.gates import observability
from biowm.train.horizons import Horizons

DRIFT, NOISE = 0.25, 1.0  # variance a day of the hidden level; SD of channel a


class LevelBelief(Belief):
    t: Float[Array, ""]
    mean: Float[Array, ""]
    var: Float[Array, ""]


class LevelState(State):
    t: Float[Array, ""]
    x: Float[Array, ""]


class Level(World):
    """A hidden level that wanders, read by two sensors: a Kalman filter (`sd` is what it takes their noise for)."""

    spec: WorldSpec = eqx.field(
        static=True,
        default=WorldSpec("level", "d", (Channel("a", "mg/L"), Channel("b", "mg/L", role="covariate"))),
    )
    spacing: float = eqx.field(static=True, default=1.0)
    sd: tuple[float, float] = eqx.field(static=True, default=(NOISE, NOISE / 2))

    def begin(self, traits):
        return LevelBelief(jnp.zeros(()), jnp.zeros(()), jnp.full((), 9.0))

    def update(self, belief: LevelBelief, reading, mask):
        mean, var = belief.mean, belief.var
        for j, sd in enumerate(self.sd):
            gain = jnp.where(mask[j], var / (var + sd**2), 0.0)
            mean, var = mean + gain * (reading[j] - mean), (1 - gain) * var
        return LevelBelief(belief.t, mean, var)

    def predict(self, belief: LevelBelief, action, dt):
        return LevelBelief(belief.t + dt, belief.mean, belief.var + DRIFT * dt)

    def draw(self, belief: LevelBelief, *, key):
        return LevelState(belief.t, belief.mean + jnp.sqrt(belief.var) * jax.random.normal(key))

    def step(self, state: LevelState, action, dt, *, key):
        return LevelState(state.t + dt, state.x + jnp.sqrt(DRIFT * dt) * jax.random.normal(key))

    def impulse(self, state, dose):
        return state

    def observe(self, state: LevelState):
        return Observation(jnp.stack([state.x, state.x]), jnp.asarray(self.sd))


class Clinging(Level):
    """Believes the first reading and no other."""

    def update(self, belief: LevelBelief, reading, mask):
        read = super().update(belief, reading, mask)
        fresh = (belief.t == 0) | (belief.var > 9.0)
        return jax.tree.map(lambda new, old: jnp.where(fresh, new, old), read, belief)


@functools.cache
def levels(broken: bool = False, n: int = 40, readings: int = 10) -> tuple[Path, tuple[str, ...]]:
    """Subjects of `Level`; sensor b of a `broken` one reads nothing but noise."""
    rng = np.random.default_rng(0)
    paths = []
    for _ in range(n):
        x = rng.normal(0, 3) + np.concatenate([[0.0], np.cumsum(DRIFT**0.5 * rng.normal(size=readings - 1))])
        b = 3 * rng.normal(size=readings) if broken else x + NOISE / 2 * rng.normal(size=readings)
        read = np.stack([x + NOISE * rng.normal(size=readings), b], axis=1).astype(np.float32)
        t = np.arange(readings, dtype=np.float32)
        paths.append(Path(t, read, schedule([]), np.zeros(0, np.float32), np.asarray(0, np.int32)))
    return stack(paths), tuple(f"s{i}" for i in range(n))


def test_a_filter_of_noisy_readings_passes_and_both_the_past_and_the_second_sensor_help():
    sat = sit(Level(), levels())
    verdict = observability.check(sat)
    assert verdict.status == "passed", verdict.detail
    assert "clearly better" in verdict.detail
    found = verdict.evidence.metrics
    assert all(found["ratio_to_hidden"][name]["value"] < 1 for name in "ab")
    assert not found["markov"]
    rows = evenly(len(sat.asked.horizon), 64)
    assert found["full"]["n"] == (sat.asked.horizon[rows] >= 0).sum()  # every reading asked about, the first as well


def test_a_world_that_makes_nothing_of_later_readings_fails():
    verdict = observability.check(sit(Clinging(), levels()))
    assert verdict.status == "failed"
    assert "not shown to be better" in verdict.detail


def test_a_world_that_trusts_a_broken_sensor_fails_and_the_sensor_is_named():
    verdict = observability.check(sit(Level(), levels(broken=True)))
    assert verdict.status == "failed"
    assert "clearly better without having read b" in verdict.detail


def test_a_markov_world_has_nothing_to_remember():
    verdict = observability.check(sit(Decay(), cohort(n=20)))
    assert verdict.status == "passed"
    assert "Markov" in verdict.detail
    assert verdict.value is not None
    assert (verdict.value.low, verdict.value.high) == (1.0, 1.0)


def test_first_readings_have_no_history():
    verdict = observability.check(sit(Level(), levels(), horizons=Horizons("clock", (1.0,), "d", "first")))
    assert verdict.status == "not_applicable"
    assert "no history" in verdict.detail


def test_the_last_reading_of_each_channel_is_kept_at_its_own_time():
    x = np.array([[[1.0, 5.0], [2.0, np.nan], [3.0, 7.0], [np.nan, np.nan]], [[1.0, np.nan]] * 4])
    nan = np.nan
    np.testing.assert_array_equal(
        observability._last(x), [[[nan, nan], [nan, nan], [3.0, 7.0], [nan, nan]], [[nan, nan]] * 3 + [[1.0, nan]]]
    )


@pytest.fixture
def histories(monkeypatch):
    """The readings that each forecast is made from; nothing is forecast but zeros."""
    seen = []

    def zeros(world, paths, asked, *, key, draws):
        seen.append(np.isfinite(np.asarray(paths.x)))
        return np.zeros((len(asked.subject), draws, asked.times.shape[1], paths.x.shape[-1]))

    monkeypatch.setattr(observability, "forecast", zeros)
    return seen


def test_the_only_channel_is_not_hidden_for_nothing_would_be_left_to_read(histories):
    verdict = observability.check(sit(Decay()))
    assert len(histories) == 2  # all readings, and the last
    assert verdict.evidence.metrics["ratio_to_hidden"] == {}
    assert "with one channel there is none to hide" in verdict.detail


def test_each_channel_is_hidden_alone(histories):
    observability.check(sit(Level(), levels(n=10)))
    full, _, without_a, without_b = histories
    np.testing.assert_array_equal(without_a, full & [False, True])
    np.testing.assert_array_equal(without_b, full & [True, False])
    assert full.any((0, 1)).all()


@pytest.mark.parametrize(("high", "helps"), [(0.9, "a"), (1.0, "none"), (1.1, "none")])
def test_a_channel_clearly_helps_where_the_whole_interval_is_below_one(high, helps):
    drop = {"a": Interval(0.8, 0.7, high, 9), "b": Interval(1.0, 0.9, 1.2, 9)}
    verdict = observability._judge(sit(Level(), levels()), Interval(0.5, 0.4, 0.6, 9), drop, False, {})
    assert verdict.status == "passed"
    assert verdict.detail.endswith(f"what clearly helps: {helps}")
