"""The ceiling of replicates: an experiment done again, told by hand."""

from dataclasses import replace

import numpy as np
import pytest
from tests.support.decay import Decay
from tests.support.sitting import sit

from biowm.evaluate.baselines import with_baselines
from biowm.evaluate.certify import certify
from biowm.evaluate.replicates import losses, missing


@pytest.fixture(scope="module")
def exam():
    """Four subjects a group; the last four are alone."""
    groups = [f"g{i // 4}" for i in range(36)] + ["", "x", "y", "z"]
    return with_baselines(replace(sit(Decay()), without={}, contexts={"replicate": tuple(groups)}))


def test_a_subjects_future_is_its_own_reading_and_the_rise_of_the_others(exam):
    found, asked = losses(exam), exam.asked
    z, t = exam.scaled(exam.paths.x)[..., 0], np.asarray(exam.paths.t, float)
    checked = 0
    for q in range(0, len(asked.queries.subject), 7):
        s, origin = asked.queries.subject[q], asked.queries.origin[q]
        others = [o for o in range(s // 4 * 4, s // 4 * 4 + 4) if o != s]
        for r, when in enumerate(asked.queries.times[q]):
            if s >= 36:
                assert np.isnan(found["mae"][q, r, 0])
            if s >= 36 or any(when > t[o].max() or t[s, origin] < t[o].min() for o in others):
                continue
            now = t[s, origin]
            said = [z[s, origin] + np.interp(when, t[o], z[o]) - np.interp(now, t[o], z[o]) for o in others]
            came = exam.scaled(asked.truth)[q, r, 0]
            if np.isnan(came):
                continue
            a, b, c = sorted(said)
            score = np.mean(np.abs(np.subtract(said, came))) - ((b - a) + (c - a) + (c - b)) / 6
            assert found["crps"][q, r, 0] == pytest.approx(score, abs=1e-5)
            assert found["mae"][q, r, 0] == pytest.approx(abs(b - came), abs=1e-5)
            assert found["rmse"][q, r, 0] == pytest.approx((np.mean(said) - came) ** 2, abs=1e-5)
            checked += 1
    assert checked > 20


def test_the_report_has_the_row_and_its_subjects_are_those_with_replicates(exam):
    report = certify(exam)
    assert report.ceiling == "replicates"
    bound = [r for r in report.rows if r.role == "ceiling"]
    assert {r.name for r in bound} == {"replicates"}
    assert {r.metric for r in bound} == {"crps", "mae", "rmse"}
    ours = {(r.split, r.metric): r.n for r in report.rows if r.role == "ours"}
    assert all(0 < r.n < ours[r.split, r.metric] for r in bound)  # four subjects have none


def test_without_replicates_it_says_why(exam):
    assert missing(replace(exam, contexts={})) == "no grouping 'replicate' is declared"
    lonely = replace(exam, contexts={"replicate": tuple(f"g{i // 2}" for i in range(40))})
    assert missing(lonely) == "40 of 40 subjects have fewer than 2 others in their group 'replicate'"
    assert missing(exam) == ""
    blank = replace(exam, contexts={"replicate": ("",) * 40})
    assert missing(blank).startswith("40 of 40")
