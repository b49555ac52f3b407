"""Ridge on which drugs are there lands on the references of `cellbox`, on all four splits."""

from __future__ import annotations

import os

import numpy as np
import pytest

from biowm.core.errors import BadInput
from biowm.data import catalogue
from biowm.evaluate.metrics import interval
from biowm.evaluate.tasks import cellbox

FIGURES = {"single-to-combo": 0.9345, "drug-out-with-singles": 0.9470, "drug-out": 0.7652, "random": 0.9490}


@pytest.fixture(scope="module")
def screen():
    try:
        folder = catalogue.find("cellbox")
    except BadInput:
        if os.environ.get("BIOWM_DATA"):
            raise
        pytest.skip("needs the real data: set BIOWM_DATA to the folder that holds cell/cellbox_korkut2015")
    return cellbox.read(folder)


def test_one_hot_ridge_lands_on_the_published_protocol(screen):
    folds = tuple(cellbox.folds(screen, range(cellbox.DRUGS), 300, 0))
    problem = cellbox.Problem(screen, folds, 0, 1, False)
    said = tuple(cellbox._one_hot(screen, fold) for fold in folds)
    scores = cellbox.CellBox().score(said, problem)
    for split, figure in FIGURES.items():
        assert interval(scores[split, "pearson"]).value == pytest.approx(figure, abs=5e-4)


def test_no_condition_is_learned_from_and_foretold_and_the_drug_is_held_out(screen):
    on = screen.dose != 0
    for fold in cellbox.folds(screen, range(cellbox.DRUGS), 2, 0):
        assert not set(fold.train) & set(fold.test)
        if fold.split == "single-to-combo":
            assert (on[fold.train].sum(1) == 1).all()
        elif fold.split != "random":
            drug = screen.drugs.index(fold.unit)
            assert on[fold.test, drug].all()
            learned = on[fold.train]
            assert not learned[:, drug][
                learned.sum(1) > 1 if fold.split == "drug-out-with-singles" else slice(None)
            ].any()


def test_correlations_at_random_are_those_of_mean_predictions(screen):
    rng = np.random.default_rng(0)
    folds = tuple(f for f in cellbox.folds(screen, (), 3, 0))
    means = [rng.normal(size=(len(f.test), screen.response.shape[1])) + screen.response[f.test] for f in folds]
    shares, names = cellbox._pooled([(f.test, m) for f, m in zip(folds, means, strict=True)], screen)
    total, count = np.zeros_like(screen.response), np.zeros(len(screen.response))
    for fold, mean in zip(folds, means, strict=True):
        total[fold.test] += mean
        count[fold.test] += 1
    held = count > 0
    truth = np.corrcoef((total[held] / count[held, None]).ravel(), screen.response[held].ravel())[0, 1]
    assert shares.mean() == pytest.approx(truth)
    assert len(names) == held.sum()
