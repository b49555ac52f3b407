"""Simple rules of `parpi` land on their references; folds hold out what they say; the mice are the paper's."""

from __future__ import annotations

import os

import numpy as np
import pytest

from biowm.core.errors import BadInput
from biowm.data import catalogue
from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks import _mice, _olaparib
from biowm.evaluate.tasks.parpi import Parpi, Problem, Said

FIGURES = {  # RMSE of means of replicates: all readings, those of the first nine days
    "neighbours": (11.78, 8.87),  # 11.2 to 11.8 in the reference, by how missing ends are treated
    "other-dose": (10.50, 10.28),
    "mean": (18.46, 15.69),
}


@pytest.fixture(scope="module")
def problem() -> Problem:
    try:
        catalogue.find("parpi")
    except BadInput:
        if os.environ.get("BIOWM_DATA"):
            raise
        pytest.skip("needs the real data: set BIOWM_DATA to the folder that holds tissue/parpi_schedules")
    return Parpi().make(0, Setting())


@pytest.mark.parametrize("rule", FIGURES)
def test_rules_land_on_the_references(problem: Problem, rule: str):
    said = Said(tuple(_olaparib.by_rule(rule, problem.wells, fold) for fold in problem.folds))
    scores = Parpi().score(said, problem)
    for split, figure in zip(("withdrawal-out", "withdrawal-out/9d"), FIGURES[rule], strict=True):
        assert interval(scores[split, "rmse"]).value == pytest.approx(figure, abs=0.02)
        assert len(scores[split, "rmse"].units) == 16


def test_where_both_neighbours_were_read_their_mean_is_11_2(problem: Problem):
    """The reference's figure: four readings have one neighbour alone, as a condition's wells all end early."""
    wells, misses = problem.wells, []
    kinds = {(a, d, w) for a, d, w in zip(wells.line, wells.dose, wells.delay, strict=True)}

    def mean(line: int, dose: float, delay: int) -> np.ndarray:
        some = (wells.line == line) & (wells.dose == dose) & (wells.delay == delay)
        seen = np.isfinite(wells.y[some])
        return np.where(seen.any(0), np.nansum(wells.y[some], axis=0) / np.maximum(seen.sum(0), 1), 1e9)

    for line, dose, delay in sorted(kinds):
        k = _olaparib.DELAYS.index(int(delay))
        if delay in _olaparib.HELD:
            around = [mean(line, dose, _olaparib.DELAYS[k + step]) for step in (-1, 1)]
            misses.append((around[0] + around[1]) / 2 - mean(line, dose, delay))
    miss = np.concatenate(misses)
    miss = miss[np.abs(miss) < 1e6]
    assert len(miss) == 284
    assert np.sqrt(np.mean(miss**2)) == pytest.approx(11.18, abs=0.01)


def test_the_wells_are_the_papers(problem: Problem):
    assert len(problem.wells.line) == 71  # of 72 one was never read
    names = np.array(problem.wells.names())
    own = [problem.wells.y[names == name] for name in sorted(set(names))]
    every = np.array([v.std(ddof=1) for y in own for v in (c[np.isfinite(c)] for c in y.T) if len(v) > 1])
    assert every.mean() == pytest.approx(4.3, abs=0.05)
    assert np.sqrt((every**2).mean()) == pytest.approx(5.9, abs=0.05)


def test_folds_hold_out_all_wells_of_a_withdrawal_time(problem: Problem):
    for fold in problem.folds:
        assert set(problem.wells.delay[fold.test]) == {fold.delay}
        assert fold.delay not in problem.wells.delay[fold.train]


def test_the_mice_are_the_papers(problem: Problem):
    assert [sum(m.arm == arm for m in problem.mice) for arm in _mice.ARMS] == [6] * 5
    assert {m.origin for m in problem.mice} == {6}
    assert all(m.dose[:16].max() == 0 for m in problem.mice)
    assert sum(m.t[-1] >= _mice.END for m in problem.mice) == 29
