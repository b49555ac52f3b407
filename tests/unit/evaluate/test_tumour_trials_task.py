"""Task tumour-trials on a small made-up table: what a lesion is, who is asked, what the simple rules say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biowm.data import catalogue
from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks.tumour_trials import (
    AHEAD,
    Lesion,
    Problem,
    TumourTrials,
    _by_rule,
    _paths,
    folds,
    read,
)


def lesion(name: str, trial: str, n: int, slope: float = 0.1) -> Lesion:
    t = np.arange(n) * 6.0
    return Lesion(name, trial, t, 3.0 + slope * t)


COHORT = tuple(lesion(f"s{i}", "ab"[i % 2], 4 if i % 5 == 0 else 7) for i in range(30))


def test_a_lesion_is_sorted_in_time_with_zero_at_one_cubic_millimetre(tmp_path: Path):
    file = tmp_path / catalogue.known("laleh").files
    file.parent.mkdir(parents=True)
    rows = [("p", 1, 6.0, 0.0), ("p", 1, 0.0, np.e), ("p", 1, 12.0, 2.0), ("p", 1, 12.0, 4.0), ("q", 2, 0.0, 9.0)]
    pd.DataFrame(rows, columns=["Pt_hashID", "Study_id", "T_weeks", "Lesion_vol"]).to_csv(file, index=False)
    first, second = read(tmp_path)
    np.testing.assert_array_equal(first.t, [0.0, 6.0, 12.0])
    np.testing.assert_allclose(first.y, [1.0, 0.0, np.log(3.0)])
    assert (second.name, second.trial) == ("q", "2")
    paths = _paths([first, second])
    np.testing.assert_allclose(paths.x[0, :3, 0], [np.e, 1.0, 3.0], rtol=1e-6)


def test_folds_by_patient_ask_everybody_once_and_trials_are_held_out_whole():
    cut = folds(COHORT)
    able = {i for i, own in enumerate(COHORT) if len(own.t) >= 6}
    for split, number in (("last3", 5), ("study-out", 2)):
        own = [fold for fold in cut if fold.split == split]
        assert len(own) == number
        assert sorted(i for fold in own for i in fold.test) == sorted(able)
        assert not any(set(fold.train) & set(fold.test) for fold in own)
    for fold in (f for f in cut if f.split == "study-out"):
        assert not {COHORT[i].trial for i in fold.train} & {COHORT[i].trial for i in fold.test}


def test_a_straight_line_is_foretold_by_its_trend_and_missed_by_the_last_value():
    problem = Problem(COHORT, folds(COHORT), 0, 1)
    task = TumourTrials()
    scored = {
        rule: task.score(tuple(_by_rule(problem, fold, rule) for fold in problem.folds), problem)
        for rule in ("locf", "trend")
    }
    assert interval(scored["trend"]["last3", "mae"]).value == pytest.approx(0.0, abs=1e-9)
    assert interval(scored["locf"]["last3", "mae"]).value == pytest.approx(0.1 * 6 * np.mean(np.arange(1, AHEAD + 1)))
    pooled = {(rule, "baseline", *key): v for rule, found in scored.items() for key, v in found.items()}
    beside = {(r.name, r.split, r.metric): r.value for r in task.beside(pooled, Setting())}
    assert beside["locf", "last3", "mae_ratio"] == 1.0
    assert beside["trend", "study-out", "mae_ratio"] == pytest.approx(0.0, abs=1e-9)
    assert beside["locf", "last3", "median_ae"] == pytest.approx(1.2)


def test_readings_that_are_asked_about_are_never_looked_at():
    changed = tuple(Lesion(o.name, o.trial, o.t, np.r_[o.y[:-AHEAD], o.y[-AHEAD:] + 5]) for o in COHORT)
    fold = folds(COHORT)[0]
    for rule in ("locf", "trend"):
        told, again = (_by_rule(Problem(c, (fold,), 0, 1), fold, rule) for c in (COHORT, changed))
        np.testing.assert_array_equal(told.median, again.median)
