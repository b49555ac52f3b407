"""Processes learned from logs: counts by hand, and a choice that does something told from one that does nothing."""

from __future__ import annotations

import numpy as np
import pytest

from biowm.core.tabular import Log
from biowm.models.tabular import Counts, behaviour, count, dirichlet, likeliest, pooled, shrunk

STATES, LIVE, ACTIONS = 32, 30, 6
REWARD = np.eye(STATES)[-1]


def test_counts_and_frequencies_of_a_log():
    log = Log(
        episode=np.array([0, 0, 1, 2]),
        state=np.array([0, 1, 0, 0]),
        action=np.array([1, 0, 1, 0]),
        after=np.array([1, 3, 3, 3]),
        first=np.array([0, 0, 0]),
    )
    found = count(log, states=5, live=3, actions=2)
    assert list(zip(found.state, found.action, strict=True)) == [(0, 0), (0, 1), (1, 0)]
    np.testing.assert_array_equal(found.after[1], [0, 1, 0, 1, 0])
    np.testing.assert_array_equal(found.visits, [1, 2, 1])
    np.testing.assert_array_equal(found.first, [3, 0, 0, 0, 0])
    np.testing.assert_allclose(behaviour(found), [[1 / 3, 2 / 3], [1, 0], [0.5, 0.5]])
    np.testing.assert_allclose(likeliest(found, np.zeros(5)).rows[1], [0, 0.5, 0, 0.5, 0])
    everywhere = np.array([0, 1, 0, 3, 0]) / 4
    np.testing.assert_allclose(pooled(found)[0], (np.array([0, 1, 0, 2, 0]) + everywhere) / 4)
    np.testing.assert_allclose(pooled(found)[2], everywhere)  # nobody was there
    half = dirichlet(found, np.zeros(5), 2.0).rows[1]
    np.testing.assert_allclose(half, (np.array([0, 0.5, 0, 0.5, 0]) + pooled(found)[0]) / 2)


def simulated(visits: int, actions: int = ACTIONS) -> tuple[Counts, np.ndarray]:
    """In each state action 0 is usual, 1 leads elsewhere, the rest where the usual one leads; counts and true rows."""
    rng = np.random.default_rng(0)
    usual, odd = (rng.dirichlet(np.full(STATES, 0.3), LIVE) for _ in range(2))
    state, action = np.divmod(np.arange(LIVE * actions), actions)
    n = np.where(action == 0, 10 * visits, visits)
    rows = np.where((action == 1)[:, None], odd[state], usual[state])
    after = np.array([rng.multinomial(k, row) for k, row in zip(n, rows, strict=True)], float)
    return Counts(state, action, after, np.ones(STATES), LIVE, actions), rows


def kept(counts: Counts) -> np.ndarray:
    """How much of a choice's own frequencies is left: 0 where it is the mean of its state, 1 where it is itself."""
    own, mean = counts.after / counts.visits[:, None], pooled(counts)[counts.state]
    return ((shrunk(counts, REWARD).rows - mean) * (own - mean)).sum(1) / ((own - mean) ** 2).sum(1)


def test_a_choice_that_does_nothing_is_shrunk_and_one_that_does_something_is_not():
    counts, rows = simulated(60)
    own, idle = counts.after / counts.visits[:, None], counts.action > 1
    assert kept(counts)[counts.action == 1].min() > 0.6
    assert np.median(kept(counts)[idle]) < 0.05
    error = np.abs(shrunk(counts, REWARD).rows - rows).sum(1)
    assert error[idle].mean() < 0.6 * np.abs(own - rows).sum(1)[idle].mean()


def test_the_usual_choice_is_not_tested_against_itself():
    """It makes most of the mean: with its own visits in there it would always seem to do nothing."""
    counts, _ = simulated(60, actions=2)
    assert kept(counts)[counts.action == 0].min() > 0.7


@pytest.mark.parametrize("make", [likeliest, shrunk])
def test_rows_are_distributions(make):
    found = make(simulated(3)[0], REWARD)
    np.testing.assert_allclose(found.rows.sum(1), 1)
    np.testing.assert_allclose(found.other.sum(1), 1)
    assert found.rows.min() >= 0
    assert found.start.sum() == pytest.approx(1)
