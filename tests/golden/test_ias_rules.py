"""The reference rules of `ias` land on the published protocol's figures."""

import os

import numpy as np
import pytest

from biowm.core.errors import BadInput
from biowm.data import catalogue
from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks import _ar
from biowm.evaluate.tasks.ias import Ias, _reference

FIGURES = {
    "persistence": (0.611, 1.272, 1.824, 1.970),
    "ar": (0.554, 1.065, 1.338, 1.311),
    "ridge": (0.466, 0.799, 0.992, 1.104),
    "ridge-previous": (0.428, 0.744, 0.938, 1.071),
}
SCORED = (3275, 3131, 2915, 2483)


@pytest.fixture(scope="module")
def problem():
    try:
        catalogue.find("ias")
    except BadInput:
        if os.environ.get("BIOWM_DATA"):
            raise
        pytest.skip("needs the real data: set BIOWM_DATA to the folder that holds patient/bruchovsky_ias")
    return Ias().make(0, Setting())


@pytest.mark.parametrize("rule", _ar.RULES)
def test_rmse_is_within_two_percent_and_bands_hold(problem, rule):
    scores = Ias().score(tuple(_reference(rule, problem, fold) for fold in problem.folds), problem)
    for split, figure, n in zip(("next", "h3", "h6", "h12"), FIGURES[rule], SCORED, strict=True):
        found = interval(scores[split, "rmse"])
        assert found.n == n
        assert found.value == pytest.approx(figure, rel=0.02)
        for metric in ("coverage90", "joint90"):
            held = interval(scores[split, metric])
            assert held.low <= 0.9 <= held.high


def test_the_cohort_is_the_one_of_the_protocol(problem):
    assert len(problem.visits) == 72
    assert sum(len(v.y) for v in problem.visits) == 3419
    assert sorted(i for fold in problem.folds for i in fold.test) == list(range(72))
    assert problem.folds[0].test == tuple(np.random.default_rng(0).permutation(72)[::5].tolist())
    assert max(v.on.max() for v in problem.visits) <= 1.0
