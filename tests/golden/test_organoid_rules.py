"""Simple rules of `organoid` land on their references, and no fold learns what it is asked about."""

from __future__ import annotations

import os

import numpy as np
import pytest

from biowm.core.errors import BadInput
from biowm.core.path import CENSORED
from biowm.data import catalogue
from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks._organoids import END, by_rule, path_of
from biowm.evaluate.tasks.organoid import Organoid, Problem, Said

FIGURES = {"persistence": (0.594, 0.379), "extrapolation": (-1.5, None), "ridge": (0.677, 0.797)}  # R2 of area, death
ERRORS = {"persistence": (0.510, 0.778), "extrapolation": (1.267, None), "ridge": (0.455, 0.445)}


@pytest.fixture(scope="module")
def problem() -> Problem:
    try:
        catalogue.find("organoid")
    except BadInput:
        if os.environ.get("BIOWM_DATA"):
            raise
        pytest.skip("needs the real data: set BIOWM_DATA to the folder that holds tissue/organoid_gemcitabine")
    return Organoid().make(0, Setting())


@pytest.mark.parametrize("rule", FIGURES)
def test_rules_land_on_the_references(problem: Problem, rule: str):
    said = Said(np.concatenate([by_rule(rule, problem.organoids, fold) for fold in problem.folds]))
    scores = Organoid().score(said, problem)
    for j, channel in enumerate(("area", "death")):
        for metric, figures in (("r2", FIGURES), ("rmse", ERRORS)):
            figure = figures[rule][j]
            if figure is not None:
                found = interval(scores[f"dose-out/{channel}", metric])
                assert found.value == pytest.approx(figure, abs=0.001)
                assert found.n == 633


def test_the_organoids_are_those_of_the_protocol(problem: Problem):
    organoids = problem.organoids
    assert len(organoids.well) == 814
    assert organoids.followed.sum() == 633
    assert len(set(organoids.well)) == 42
    lost = np.flatnonzero(np.isnan(organoids.y[:, END, 0]))
    assert all(int(path_of(organoids, i).event) == CENSORED for i in lost.tolist())


def test_a_dose_is_held_out_whole(problem: Problem):
    for fold in problem.folds:
        assert set(problem.organoids.dose[fold.test]) == {fold.dose}
        assert fold.dose not in problem.organoids.dose[fold.train]
    assert sorted(np.concatenate([f.test for f in problem.folds])) == list(range(814))
