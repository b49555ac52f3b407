"""The envelope of the training data, and what `safety.support` says of questions in it, at its edge and outside."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.tiny import SPEC, tiny_cohort

from biowm.core.path import Path, take
from biowm.core.schedule import Entry, schedule
from biowm.models.scale import Scale, fit_scale
from biowm.safety.support import future, judge
from biowm.train.envelope import Envelope, envelope

PATHS = tiny_cohort(60, 10)


@pytest.fixture(scope="module")
def scale() -> Scale:
    return fit_scale(SPEC, PATHS.x)


@pytest.fixture(scope="module")
def seen(scale: Scale) -> Envelope:
    return envelope(SPEC, scale, PATHS, 6.0)


def ask(scale: Scale, seen: Envelope, path: Path | None = None, plan=(), horizon: float = 4.0, origin: int = 6):
    path = take(PATHS, 0) if path is None else path
    return judge(SPEC, scale, seen, path, origin, [Entry(*e) for e in plan], horizon)


def changed(t=None, x=None) -> Path:
    path = take(PATHS, 0)
    return Path(path.t if t is None else t, path.x if x is None else x, path.plan, path.traits, path.event)


def test_the_envelope_is_what_was_seen(scale: Scale, seen: Envelope):
    z = np.asarray(scale.to_z(jnp.asarray(PATHS.x))).reshape(-1, 2)
    np.testing.assert_allclose(seen.z_low, np.nanmin(z, 0))
    np.testing.assert_allclose(seen.z_high, np.nanmax(z, 0))
    gaps = np.concatenate([np.diff(t[:10]) for t in PATHS.t])
    np.testing.assert_allclose(seen.gaps, np.quantile(gaps, [0.005, 0.5, 0.995]), rtol=1e-5)
    card, dose = PATHS.plan.card, PATHS.plan.dose
    np.testing.assert_allclose(seen.dose_top, [dose[card == a].max() for a in (0, 1)])
    np.testing.assert_allclose(seen.given, [(card == a).any(1).mean() for a in (0, 1)])
    assert seen.readings.tolist() == [10.0, 10.0]
    assert seen.longest == 6.0


def test_an_ordinary_question_is_inside(scale: Scale, seen: Envelope):
    found = ask(scale, seen, plan=[(0, 1.0, 8.0, 9.0), (1, 1.0, 8.0, 8.0)], horizon=6.0)
    assert found.verdict == "inside"
    assert found.reasons == ()


def test_a_horizon_beyond_what_was_validated_is_outside(scale: Scale, seen: Envelope):
    found = ask(scale, seen, horizon=7.0)
    assert found.verdict == "outside"
    assert "7 d" in found.reasons[0]
    assert "6 d" in found.reasons[0]


@pytest.mark.parametrize(("excess", "verdict"), [(-0.1, "inside"), (0.5, "edge"), (1.5, "outside")])
@pytest.mark.parametrize("side", ["high", "low"])
def test_a_last_reading_beyond_all_training_readings(
    scale: Scale, seen: Envelope, excess: float, verdict: str, side: str
):
    z = seen.z_high + excess if side == "high" else seen.z_low - excess
    x = PATHS.x[0].copy()
    x[6] = np.asarray(scale.to_x(jnp.asarray(z, jnp.float32)))
    found = ask(scale, seen, changed(x=x))
    assert found.verdict == verdict
    assert len(found.reasons) == (0 if verdict == "inside" else 2)


def test_missed_readings_are_told_where_the_median_gap_is_as_in_training(scale: Scale, seen: Envelope):
    daily = replace(seen, gaps=np.array([1.0, 1.0, 1.0]))
    day = np.array([0, 1, 2, 3, 4, 8, 13, 14, 15, 16], np.float32)
    assert np.median(np.diff(day[:7])) == 1.0
    found = ask(scale, daily, changed(t=np.concatenate([day, np.repeat(day[-1:], len(PATHS.t[0]) - 10)])))
    assert found.verdict == "outside"
    assert "readings 2.16667 d apart" in "; ".join(found.reasons)


def test_only_the_last_reading_of_a_channel_counts(scale: Scale, seen: Envelope):
    x = PATHS.x[0].copy()
    x[2] = 1e4
    x[8] = 1e4  # after the origin
    assert ask(scale, seen, changed(x=x)).verdict == "inside"


def test_a_channel_never_read_is_the_edge(scale: Scale, seen: Envelope):
    x = PATHS.x[0].copy()
    x[:, 1] = np.nan
    found = ask(scale, seen, changed(x=x))
    assert found.verdict == "edge"
    assert found.reasons == ("score was never read in this history",)


@pytest.mark.parametrize(("stretch", "verdict"), [(1.0, "inside"), (1.9, "edge"), (5.0, "outside"), (0.1, "outside")])
def test_readings_further_apart_or_closer_than_in_training(scale: Scale, seen: Envelope, stretch: float, verdict: str):
    steady = (stretch * float(seen.gaps[1]) * np.arange(len(PATHS.t[0]))).astype(np.float32)
    found = ask(scale, seen, changed(t=steady))
    assert found.verdict == verdict


def test_a_single_reading_says_little(scale: Scale, seen: Envelope):
    found = ask(scale, seen, origin=0)
    assert found.verdict == "edge"
    assert "history of 1 reading" in found.reasons[0]


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, "inside"), (1.2, "edge"), (1.6, "outside")])
def test_doses_above_the_largest_of_training(scale: Scale, seen: Envelope, factor: float, verdict: str):
    dose = factor * float(seen.dose_top[0])
    found = ask(scale, seen, plan=[(0, dose, 8.0, 9.0)])
    assert found.verdict == verdict
    assert ("drug" in " ".join(found.reasons)) == (verdict != "inside")


def test_an_action_never_given_is_outside(scale: Scale):
    paths = tiny_cohort(60, 10)
    card = np.where(paths.plan.card == 1, -1, paths.plan.card)
    plan = type(paths.plan)(card, paths.plan.dose, paths.plan.onset, paths.plan.stop, paths.plan.assigned)
    bare = envelope(SPEC, scale, Path(paths.t, paths.x, plan, paths.traits, paths.event), 6.0)
    assert bare.given.tolist() == [1.0, 0.0]
    found = ask(scale, bare, plan=[(1, 0.5, 8.0, 8.0)])
    assert found.verdict == "outside"
    assert found.reasons == ("shot was never given in training",)
    assert ask(scale, bare, plan=[(1, 0.0, 8.0, 8.0)]).verdict == "inside"


def test_the_worst_reason_decides_and_all_are_told(scale: Scale, seen: Envelope):
    found = ask(scale, seen, plan=[(0, 1.2 * float(seen.dose_top[0]), 8.0, 9.0)], horizon=60.0)
    assert found.verdict == "outside"
    assert len(found.reasons) == 2


def test_what_acts_between_two_times():
    rows = [
        Entry(0, 1.0, 0.0, 3.0), Entry(0, 1.0, 2.0, 5.0), Entry(1, 1.0, 3.0, 3.0), Entry(1, 1.0, 1.0, 1.0),
        Entry(1, 1.0, 7.0, 7.0),
    ]  # fmt: skip
    path = Path(np.zeros(1, np.float32), np.zeros((1, 2), np.float32), schedule(rows), np.zeros(1, np.float32),
                np.int32(0))  # fmt: skip
    assert [(e.card, e.onset) for e in future(path, 3.0, 7.0)] == [(0, 2.0), (1, 3.0)]


@pytest.mark.parametrize(("by", "verdict"), [(0.1, "inside"), (0.5, "edge"), (2.0, "outside")])
def test_a_history_at_a_level_no_training_history_had(scale: Scale, seen: Envelope, by: float, verdict: str):
    """All its readings are some that training had; only that they go together is new."""
    levels = seen.levels.copy()
    levels[:, :, 1] = [[-0.5, 0.5]]
    known = replace(seen, levels=levels, z_high=seen.z_high + 100.0)
    begin = float(scale.to_x(jnp.asarray([0.0, 0.5 + by], jnp.float32))[1])
    x = PATHS.x[0].copy()
    x[:, 1] = begin
    found = ask(scale, known, changed(x=x))
    assert found.verdict == verdict
    assert [r.startswith(f"the first score, {begin:.4g} mg/L, ") for r in found.reasons] == [True] * (by > 0.25)


def test_one_odd_reading_does_not_make_a_level(scale: Scale, seen: Envelope):
    x = PATHS.x[0].copy()
    x[3, 1] = 1e4
    assert ask(scale, seen, changed(x=x)).verdict == "inside"


def test_levels_are_ranges_of_early_medians_over_enough_subjects(scale: Scale, seen: Envelope):
    z = np.asarray(scale.to_z(jnp.asarray(PATHS.x)))
    firsts = [s[np.isfinite(s[:, 1]), 1][0] for s in z]
    fours = [np.median(s[np.isfinite(s[:, 1]), 1][:4]) for s in z]
    np.testing.assert_allclose(seen.levels[0, :, 1], [min(firsts), max(firsts)], rtol=1e-6)
    np.testing.assert_allclose(seen.levels[2, :, 1], [min(fours), max(fours)], rtol=1e-6)
    assert len(seen.levels) == PATHS.x.shape[1].bit_length()
    assert np.isnan(envelope(SPEC, scale, take(PATHS, np.arange(7)), 6.0).levels).all()
