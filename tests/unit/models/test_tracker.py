from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.tiny import SPEC, tiny_cohort

from biowm.core.path import Path
from biowm.core.schedule import Entry, schedule
from biowm.models.tracker import (
    EXPOSURE_TAUS,
    MEMORY_TAUS,
    Frame,
    Tracker,
    advance,
    fit_frame,
    fresh,
    give,
    read,
    trace,
)

SPACING = 2.0
TAUS = np.array(EXPOSURE_TAUS)
_advance, _give, _read, _trace = (eqx.filter_jit(f) for f in (advance, give, read, trace))


@pytest.fixture(scope="module")
def frame() -> Frame:
    return fit_frame(SPEC, tiny_cohort(), SPACING)


def start(frame: Frame) -> Tracker:
    return fresh(frame, jnp.asarray([60.0]))


def pass_time(tracker: Tracker, frame: Frame, drug: float, days: float) -> Tracker:
    return _advance(tracker, frame, jnp.asarray([drug, 0.0]), jnp.asarray(days))


def reading(tracker: Tracker, *z: float) -> Tracker:
    z = np.array(z, np.float32)
    return _read(tracker, jnp.asarray(np.nan_to_num(z)), jnp.asarray(np.isfinite(z)))


def test_the_frame_scales_actions_and_traits_by_what_was_seen(frame: Frame):
    paths = tiny_cohort()
    card, dose = paths.plan.card, paths.plan.dose
    np.testing.assert_allclose(frame.action_scale, [dose[card == 0].max(), dose[card == 1].max() / SPACING], rtol=1e-6)
    np.testing.assert_allclose(frame.trait_mean, paths.traits.mean(0), rtol=1e-5)
    np.testing.assert_allclose(frame.trait_sd, paths.traits.std(0), rtol=1e-5)
    first = np.log(paths.x[:, 0, 0])
    np.testing.assert_allclose(frame.start_mean[0] * frame.scale.sd[0] + frame.scale.mean[0], first.mean(), rtol=1e-4)
    np.testing.assert_allclose(frame.start_sd[0] * frame.scale.sd[0], first.std(), rtol=1e-3)


def test_a_new_subject_is_the_average_one(frame: Frame):
    new = fresh(frame, jnp.asarray([jnp.nan]))
    np.testing.assert_array_equal(new.traits, 0.0)
    np.testing.assert_array_equal(new.z, frame.start_mean)
    np.testing.assert_array_equal(new.seen, 0.0)


def test_exposures_under_a_constant_rate_are_the_leaky_integral(frame: Frame):
    days, drug = 3.0, 1.5
    u, steps = drug / float(frame.action_scale[0]), days / SPACING
    after = pass_time(start(frame), frame, drug, days)
    np.testing.assert_allclose(after.e[0], u * (1 - np.exp(-steps / TAUS)), rtol=1e-5)
    np.testing.assert_allclose(after.given[:, 0], u * steps, rtol=1e-6)
    area = u * (steps - TAUS * (1 - np.exp(-steps / TAUS)))
    np.testing.assert_allclose(after.felt[:, 0], np.stack([area, area]), rtol=1e-4)
    np.testing.assert_array_equal(after.e[1], 0.0)
    np.testing.assert_allclose(after.clock, steps)


def test_exposures_decay_when_the_rate_stops(frame: Frame):
    on = pass_time(start(frame), frame, 1.0, 4.0)
    off = pass_time(on, frame, 0.0, 6.0)
    np.testing.assert_allclose(off.e[0], on.e[0] * np.exp(-3.0 / TAUS), rtol=1e-5)
    np.testing.assert_array_equal(off.given, on.given)
    gained = on.e[0] * TAUS * (1 - np.exp(-3.0 / TAUS))
    np.testing.assert_allclose(off.felt[0, 0], on.felt[0, 0] + gained, rtol=1e-5)


def test_a_bolus_is_spread_over_the_next_step_and_no_further(frame: Frame):
    dose, days = 1.2, 3.0
    shot = _give(start(frame), frame, jnp.asarray([0.0, dose]))
    np.testing.assert_array_equal(shot.given, 0.0)
    after = pass_time(shot, frame, 0.0, days)
    amount, steps = dose / (float(frame.action_scale[1]) * SPACING), days / SPACING
    np.testing.assert_allclose(after.given[:, 1], amount, rtol=1e-6)
    np.testing.assert_allclose(after.e[1], amount / steps * (1 - np.exp(-steps / TAUS)), rtol=1e-5)
    np.testing.assert_array_equal(after.pending, 0.0)
    later = pass_time(after, frame, 0.0, days)
    np.testing.assert_array_equal(later.given, after.given)
    twice = _give(shot, frame, jnp.asarray([0.0, dose]))
    np.testing.assert_allclose(twice.pending[1], 2 * amount, rtol=1e-6)


def test_one_step_is_two_halves(frame: Frame):
    begun = pass_time(start(frame), frame, 0.7, 1.0)
    whole = pass_time(begun, frame, 1.3, 5.0)
    halves = pass_time(pass_time(begun, frame, 1.3, 1.5), frame, 1.3, 3.5)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(halves), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-6)


def test_a_reading_resets_what_counts_from_it_and_a_missing_one_keeps_it(frame: Frame):
    first = reading(pass_time(start(frame), frame, 1.0, 2.0), 0.5, -1.0)
    np.testing.assert_array_equal(first.lag, 0.0)
    np.testing.assert_array_equal(first.prev, first.z)
    ahead = pass_time(first, frame, 1.0, 4.0)
    second = reading(ahead, 1.5, np.nan)
    np.testing.assert_allclose(second.z, [1.5, -1.0])
    np.testing.assert_allclose(second.prev, [0.5, -1.0])
    np.testing.assert_allclose(second.lag, [2.0, 0.0])
    np.testing.assert_allclose(second.age, [0.0, 2.0])
    np.testing.assert_array_equal(second.given[0], 0.0)
    np.testing.assert_array_equal(second.given[1], ahead.given[1])
    np.testing.assert_array_equal(second.felt[1], ahead.felt[1])
    np.testing.assert_array_equal(second.mean[1], ahead.mean[1])
    np.testing.assert_array_equal(second.e, ahead.e)
    third = reading(pass_time(second, frame, 1.0, 2.0), np.nan, 0.0)
    np.testing.assert_allclose(third.lag, [2.0, 3.0])
    np.testing.assert_allclose(third.age, [1.0, 0.0])


def test_memory_is_the_leaky_average_of_the_value_held_between_readings(frame: Frame):
    tracker, mean = reading(start(frame), 2.0, 0.0), np.full(len(MEMORY_TAUS), 2.0)
    held = 2.0
    for days, value in ((2.0, 0.5), (5.0, -1.0), (1.0, 3.0)):
        tracker = reading(pass_time(tracker, frame, 0.0, days), value, 0.0)
        mean = held + (mean - held) * np.exp(-days / SPACING / np.array(MEMORY_TAUS))
        held = value
        np.testing.assert_allclose(tracker.mean[0], mean, rtol=1e-5)


def test_moments_give_the_least_squares_slope(frame: Frame):
    rng = np.random.default_rng(0)
    gaps, z = rng.uniform(0.5, 4, 9), rng.normal(size=(9, 2))
    z[[2, 5], 1] = np.nan
    tracker = start(frame)
    for gap, row in zip(gaps, z, strict=True):
        tracker = reading(pass_time(tracker, frame, 0.0, float(gap)), *row)
    t = np.cumsum(gaps) / SPACING
    for j in range(2):
        ok = np.isfinite(z[:, j])
        count, t_mean, z_mean, s_tt, s_tz = (float(v) for v in tracker.moments[:, j])
        assert count == ok.sum()
        np.testing.assert_allclose([t_mean, z_mean], [t[ok].mean(), z[ok, j].mean()], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(s_tz / s_tt, np.polyfit(t[ok], z[ok, j], 1)[0], rtol=1e-3)


def test_a_trace_keeps_before_and_after_each_time_and_the_doses_so_far(frame: Frame):
    t = np.array([1.0, 3.0, 4.0, 4.0], np.float32)
    x = np.array([[2.0, 0.1], [3.0, np.nan], [1.0, 0.4], [np.nan, np.nan]], np.float32)
    plan = schedule([Entry(0, 1.0, 0.0, 3.5), Entry(1, 0.8, 3.0, 3.0)])
    found = _trace(frame, Path(t, x, plan, np.array([60.0], np.float32), np.int32(0)), 2)
    unit = np.asarray(frame.action_scale) * SPACING
    np.testing.assert_allclose(found.after.total[:, 0, 0] * unit[0], [0.0, 2.0, 2.5, 2.5], rtol=1e-5)
    np.testing.assert_allclose(found.after.total[:, 1, 0] * unit[1], [0.0, 0.0, 0.8, 0.8], rtol=1e-5)
    when = (found.after.total[:, 0, 1] / np.maximum(found.after.total[:, 0, 0], 1e-9)) * SPACING
    np.testing.assert_allclose(when, [0.0, 1.0, 1.3, 1.3], rtol=1e-5)  # mean time of the doses, since the start
    np.testing.assert_allclose(found.before.age[:, 0], [0.0, 1.0, 0.5, 0.0])
    np.testing.assert_allclose(found.after.age[:, 1], [0.0, 1.0, 0.0, 0.0])
    np.testing.assert_array_equal(found.before.z[1], found.after.z[0])
    np.testing.assert_allclose(found.before.given[2, 1] * unit, [0.5 + 2.0, 0.8], rtol=1e-5)
