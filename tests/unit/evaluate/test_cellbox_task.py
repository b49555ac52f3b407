"""Task cellbox on a small screen: what is held out for what is asked, conditions as paths, bands and scores."""

from __future__ import annotations

import numpy as np
import pytest

from biowm.evaluate.metrics import interval
from biowm.evaluate.tasks._screens import Said, conditions, unpromised
from biowm.evaluate.tasks.cellbox import CellBox, Fold, Problem, Screen, folds, paths_of, units

DRUGS = ("a", "b", "c")
DOSE = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 2], [0, 1, 1]], float)
NAMES = ("a", "b", "c", "a + b", "a + c", "b + c")
SCREEN = Screen(DOSE, np.random.default_rng(0).normal(size=(6, 4)), NAMES, DRUGS)


def of(split: str, drug: str) -> Fold:
    return next(f for f in folds(SCREEN, range(3), 1, 0) if (f.split, f.unit) == (split, drug))


def test_a_fold_holds_out_what_its_split_says():
    assert of("single-to-combo", "a").train.tolist() == [0, 1, 2]
    assert of("single-to-combo", "a").test.tolist() == [3, 4]
    assert of("drug-out-with-singles", "a").train.tolist() == [0, 1, 2, 5]
    assert of("drug-out", "a").train.tolist() == [1, 2, 5]
    assert of("drug-out", "a").test.tolist() == [0, 3, 4]


def test_the_race_holds_out_what_is_new_in_the_question():
    assert units(SCREEN, of("drug-out", "a")) == (("b",), ("c",), ("b", "c"))  # drugs, with all their conditions
    assert units(SCREEN, of("drug-out-with-singles", "a")) == ((), (), (), ("b", "c"))  # every single is known
    assert units(SCREEN, of("single-to-combo", "a")) == (("a",), ("b",), ("c",))  # other sets of the same drugs


def test_conditions_are_read_once_and_their_sets_are_there_from_the_start():
    paths = conditions([{0: 2.0, 2: 1.0}, {}], np.array([[1.0, 2.0], [3.0, 4.0]]), 24.0)
    assert np.isnan(paths.x[:, 0]).all()
    np.testing.assert_array_equal(paths.x[:, 1], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(paths.t[:, :2], [[0, 24], [0, 24]])
    np.testing.assert_array_equal(np.asarray(paths.plan.card)[:, :2], [[0, 2], [-1, -1]])
    np.testing.assert_array_equal(np.asarray(paths.plan.dose)[0, :2], [2, 1])
    assert len(paths_of(SCREEN).t) == 6


def test_hits_are_counted_where_a_band_is_promised():
    said = Said(np.zeros((2, 1)), np.array([[-1.0], [-1.0]]), np.array([[1.0], [1.0]]))
    np.testing.assert_array_equal(said.hits(np.array([[0.5], [2.0]])), [[1], [0]])
    assert np.isnan(unpromised(np.zeros((2, 1))).hits(np.zeros((2, 1)))).all()
    assert said.among(np.array([1])).mean.shape == (1, 1)


def test_a_perfect_answer_scores_one_by_drug():
    fold = of("drug-out", "a")
    problem = Problem(SCREEN, (fold,), 0, 1, False)
    truth = SCREEN.response[fold.test]
    found = CellBox().score((Said(truth, truth - 1, truth - 0.5),), problem)
    assert interval(found["drug-out", "pearson"]).value == pytest.approx(1.0)
    assert interval(found["drug-out", "coverage90"]).value == 0.0
