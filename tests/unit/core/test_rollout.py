from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.decay import Decay

from biowm.core.path import Path
from biowm.core.rollout import assimilate, at, rollout, time_grid
from biowm.core.schedule import Entry, schedule

WORLD, QUIET = Decay(), Decay(sigma=0.0)
KEY = jax.random.key(0)
_rollout = eqx.filter_jit(rollout)
_assimilate = eqx.filter_jit(assimilate)


def future(world=WORLD, rows=(), times=(1.0, 2.0), draws: int = 3, key=KEY) -> np.ndarray:
    belief = world.begin(jnp.zeros(0))
    wide = jnp.array([*times, *[times[-1]] * (8 - len(times))], jnp.float32)
    return np.asarray(_rollout(world, belief, schedule(rows), wide, key=key, draws=draws))[:, : len(times), 0]


def path(times, readings, rows=()) -> Path:
    x = np.array(readings, np.float32)[:, None]
    return Path(np.array(times, np.float32), x, schedule(rows), np.zeros(0, np.float32), np.int32(0))


def test_means_are_those_of_the_closed_form():
    times, k, u = np.array([0.5, 1.0, 4.0]), 0.2, 2.0
    got = future(QUIET, [Entry(0, u, 0.0, 9.0)], times)
    expected = np.exp(-k * times) + u / k * (1 - np.exp(-k * times))
    np.testing.assert_allclose(got, np.broadcast_to(expected, got.shape), rtol=1e-5)


def test_a_bolus_acts_at_its_onset_and_a_reading_then_is_before_it():
    got = future(QUIET, [Entry(1, 5.0, 1.0, 1.0)], (1.0, 1.5, 2.0))[0]
    before = np.exp(-0.2)
    np.testing.assert_allclose(got, [before, (before + 5) * np.exp(-0.1), (before + 5) * np.exp(-0.2)], rtol=1e-5)


def test_boluses_at_awkward_times_are_given_exactly_once():
    """In float32, t + (until - t) misses `until` for a few pairs in a hundred, and with it a bolus due there."""
    rng = np.random.default_rng(0)
    still = Decay(k=1e-9, sigma=0.0)
    for _ in range(30):
        times = np.sort(rng.uniform(0, 90, 7).astype(np.float32))
        rows = [Entry(1, 1.0, float(t), float(t)) for t in times]
        got = future(still, rows, [*times, np.float32(100)])[0]
        np.testing.assert_allclose(got, 1 + np.arange(8), rtol=1e-4)
        beliefs = _assimilate(still, path([0.0, *times], [1.0, *[np.nan] * 7], rows))
        np.testing.assert_allclose(beliefs.x[:, 0], [1, *1 + np.arange(7)], rtol=1e-4)
        np.testing.assert_array_equal(beliefs.t, np.array([0.0, *times], np.float32))


def test_noise_is_keyed_by_draw_and_absolute_time():
    one, other = future(times=(2.0, 3.0)), future(times=(1.0, 3.0))
    from_two = eqx.tree_at(lambda b: b.t, WORLD.begin(jnp.zeros(0)), jnp.float32(2.0))
    late = np.asarray(_rollout(WORLD, from_two, schedule([]), jnp.full(8, 3.0), key=KEY, draws=3))[:, 0, 0]
    # the step that ends at 3 d has one noise, whatever was asked before it
    gone = np.exp(-0.2)
    noise = one[:, 1] - gone * one[:, 0]
    np.testing.assert_allclose(late - gone, noise, atol=1e-5)
    wider = np.sqrt((1 - gone**4) / (1 - gone**2))
    np.testing.assert_allclose(other[:, 1] - gone**2 * other[:, 0], wider * noise, atol=1e-5)
    assert len(np.unique(noise)) == 3  # draws differ
    assert not np.allclose(one[:, 0] - gone**2, wider * noise)  # and so do times


def test_spread_is_the_stationary_one():
    got = future(times=(50.0,), draws=4000)
    assert got.std() == pytest.approx(0.1 / np.sqrt(0.4), rel=0.05)


def test_missing_readings_are_predicted_over():
    whole = _assimilate(QUIET, path([0, 1, 2, 3], [4.0, np.nan, np.nan, np.nan], [Entry(0, 1.0, 0.0, 2.0)]))
    gone = np.exp(-0.2)
    first = 4 * gone + 5 * (1 - gone)
    second = first * gone + 5 * (1 - gone)
    np.testing.assert_allclose(whole.x[:, 0], [4, first, second, second * gone], rtol=1e-5)


def test_readings_after_until_are_not_looked_at():
    seen = path([0, 1, 2], [4.0, 5.0, 6.0])
    blind = _assimilate(WORLD, seen, jnp.float32(1.0))
    np.testing.assert_allclose(blind.x[:2, 0], [4, 5])
    assert float(blind.x[2, 0]) == pytest.approx(5 * np.exp(-0.2))
    assert float(at(_assimilate(WORLD, seen), -1).x[0]) == 6.0


def test_a_path_that_begins_late_begins_at_its_own_first_time():
    late = _assimilate(WORLD, path([10.0, 11.0], [np.nan, np.nan]))
    np.testing.assert_allclose(late.x[:, 0], [1.0, np.exp(-0.2)], rtol=1e-6)
    np.testing.assert_array_equal(late.t, [10.0, 11.0])


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([1.0, 2.0], [1, 2]),
        ([1.4], [1.4]),
        ([3.0], [1, 2, 3]),
        ([0.0, 1.0], [0, 1]),
        ([2.0, 2.5], [1, 2, 2.5]),
        ([2.0, 1.0, 2.0], [1, 2]),
        ([], []),
    ],
)
def test_time_grid(wanted, expected):
    grid, index = time_grid(0.0, np.array(wanted), 1.0)
    np.testing.assert_allclose(grid, expected)
    np.testing.assert_allclose(grid[index] if len(wanted) else [], wanted)


def test_time_grid_does_not_look_back():
    with pytest.raises(ValueError, match="before the start"):
        time_grid(5.0, np.array([4.0, 6.0]), 1.0)
