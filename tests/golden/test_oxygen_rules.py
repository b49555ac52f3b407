"""Naive rules of `oxygen` land on their references."""

from __future__ import annotations

import os

import pytest

from biowm.core.errors import BadInput
from biowm.data import catalogue
from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks._spheroids import RULES, arms, by_rule
from biowm.evaluate.tasks.oxygen import Oxygen, Problem

BEST = {  # the best of the three rules, um: outer radius, necrotic core
    "WM164/21-2": (26.6, 60.3), "WM164/2-21-d2": (30.3, 43.0), "WM164/2-21-d4": (11.5, 33.9),
    "WM793b/21-2": (5.9, 46.0), "WM793b/2-21-d2": (16.4, 5.8), "WM793b/2-21-d4": (13.0, 33.3),
    "WM983b/21-2": (23.1, 44.6),
}  # fmt: skip


@pytest.fixture(scope="module")
def problem() -> Problem:
    try:
        catalogue.find("oxygen")
    except BadInput:
        if os.environ.get("BIOWM_DATA"):
            raise
        pytest.skip("needs the real data: set BIOWM_DATA to the folder that holds tissue/murphy_oxygen")
    return Oxygen().make(0, Setting())


def test_the_best_rule_of_each_case_is_the_reference(problem: Problem):
    scores = [Oxygen().score(tuple(by_rule(r, problem.spheroids, c) for c in problem.cases), problem) for r in RULES]
    assert [case.name for case in problem.cases] == list(BEST)
    for case, figures in BEST.items():
        for metric, figure in zip(("rmse_outer", "rmse_necrotic"), figures, strict=True):
            assert min(interval(s[case, metric]).value for s in scores) == pytest.approx(figure, abs=0.06)


def test_worlds_learn_from_constant_arms_alone(problem: Problem):
    paths, names = arms(problem.spheroids, 0)
    assert set(names) == {f"{line}/{o} %" for line in ("WM164", "WM793b", "WM983b") for o in (21, 2)}
    assert all((path.plan.dose[1:] == 0).all() for path in paths)
    assert sum(len(rows) for rows in problem.spheroids.values()) == 511
