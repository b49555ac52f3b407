"""The gate `support`: an envelope that knows its data, one that sees nothing, one that fears everything."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from tests.support.cohort import cohort
from tests.support.decay import Decay
from tests.support.sitting import sit, training

from biowm.core.schedule import Entry
from biowm.evaluate.gates import support

SHIFTS = ["u x 10", "shot, never given", "x + 10 SD", "gaps x 3"]


@pytest.fixture(scope="module")
def small():
    return cohort(n=16)


def seen(**changed):
    """The training of the toy cohort, with an envelope that is wrong in one way."""
    return replace(training(), envelope=replace(training().envelope, **changed))


def test_subjects_like_those_of_training_are_answered_and_every_shift_is_told(small):
    verdict = support.check(sit(Decay(), small, learned=training()))
    assert verdict.status == "passed", verdict.detail
    found = verdict.evidence.metrics
    assert list(found["power"]) == SHIFTS
    assert all(p["value"] > 0.9 for p in found["power"].values())
    assert verdict.value is not None
    assert verdict.value.value == found["false_alarms"]["value"] == 0.0
    assert found["not_tested"] == []


def test_an_envelope_that_fears_everything_fails(small):
    wary = seen(longest=training().envelope.longest, gaps=np.array([2.0, 2.5, 3.0]))
    verdict = support.check(sit(Decay(), small, learned=wary))
    assert verdict.status == "failed"
    assert "clearly more than 5 %" in verdict.detail


@pytest.mark.parametrize(
    ("blind", "missed"),
    [
        ({"z_high": np.full(1, 99.0), "levels": np.full((1, 2, 1), np.nan)}, "x + 10 SD"),
        ({"given": np.ones(2), "dose_top": np.array([2.0, 0.0])}, None),
        ({"gaps": np.array([0.1, 1.0, 2.2])}, "gaps x 3"),
    ],
)
def test_an_envelope_that_overlooks_a_shift_fails(small, blind, missed):
    verdict = support.check(sit(Decay(), small, learned=seen(**blind)))
    if missed is None:  # it was given in training, so that it is no new action
        assert verdict.status == "passed"
        assert "a new action" in verdict.detail
        assert verdict.evidence.metrics["not_tested"][0] == "shot x 10"
    else:
        assert verdict.status == "failed"
        assert f"less than 90 %: {missed}" in verdict.detail


def test_a_dose_or_a_gap_that_stays_among_those_of_training_is_no_shift(small):
    wide = seen(dose_top=np.array([50.0, 0.0]), gaps=np.array([0.1, 1.0, 9.0]))
    verdict = support.check(sit(Decay(), small, learned=wide))
    assert verdict.evidence.metrics["not_tested"][:2] == ["u x 10", "gaps x 3"]
    assert list(verdict.evidence.metrics["power"]) == ["shot, never given", "x + 10 SD"]


def test_every_shift_changes_what_it_names_and_nothing_else(small):
    path = jax.tree.map(lambda leaf: leaf[0], small[0])
    read = np.asarray(path.x)
    q = support.Question(path, 2, (Entry(0, 2.0, 1.0, 4.0), Entry(1, 3.0, 2.0, 2.0)), 3.0, 2.0)
    assert support._with_new(q, 1).plan == (*q.plan, Entry(1, 1.0, 3.0, 5.0))
    dosed = support._with_dose(q, 0, 19.0)
    assert dosed is not None
    assert dosed.plan == (Entry(0, 20.0, 1.0, 4.0), q.plan[1])
    assert support._with_dose(q, 0, 20.0) is None
    moved = support._with_readings(q, 0, 3.0, 1.0)
    assert moved is not None
    np.testing.assert_array_equal(moved.path.x, 3 * read + 1)
    usual = float(np.median(np.diff(path.t[:3])))
    slow = support._with_gaps(q, 2.9 * usual)
    assert slow is not None
    np.testing.assert_allclose(slow.path.t - slow.path.t[0], 3 * (path.t - path.t[0]), rtol=1e-6)
    assert support._with_gaps(q, 3.1 * usual) is None
    assert support._with_gaps(replace(q, origin=0), 0.0) is None


def test_without_the_histories_nothing_is_known(small):
    verdict = support.check(sit(Decay(), small))
    assert verdict.status == "not_applicable"
    assert "left out" in verdict.detail
