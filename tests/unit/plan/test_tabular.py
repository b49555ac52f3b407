"""Dynamic programming in processes small enough to solve by hand or by trying every policy."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from biowm.core.tabular import Mdp
from biowm.plan.tabular import best, values, worth

# One state; gamble (ends well or badly), wait (ends well in the long run), or stay for ever.
ENDS_WELL, ENDS_BADLY = [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]
ONE = Mdp(
    state=np.zeros(3, int),
    action=np.arange(3),
    rows=np.array([[0.0, 0.5, 0.5], [0.9, 0.1, 0.0], [1.0, 0.0, 0.0]]),
    other=np.array([[0.0, 0.2, 0.8]]),
    start=np.array([1.0, 0.0, 0.0]),
    reward=np.array([0.0, 1.0, 0.0]),
    actions=4,
)


def test_the_patient_choice_wins_and_the_endless_one_earns_nothing():
    policy = best(ONE)
    np.testing.assert_array_equal(policy, [[0, 1, 0, 0]])
    assert worth(ONE, policy) == pytest.approx(1.0, abs=1e-6)
    assert worth(ONE, np.array([[0.0, 0.0, 1.0, 0.0]])) == pytest.approx(0.0, abs=1e-6)
    assert worth(ONE, np.array([[1.0, 0.0, 0.0, 0.0]])) == pytest.approx(0.5)
    assert worth(ONE, np.array([[0.5, 0.0, 0.0, 0.5]])) == pytest.approx(0.35)  # the last is not listed
    waits = values(ONE, np.array([[0.0, 1.0, 0.0, 0.0]]), cost=0.01)
    assert waits[0] == pytest.approx(1 - 0.01 * 10)
    np.testing.assert_array_equal(waits[1:], 0)


def test_what_is_fixed_stays_and_what_is_not_free_is_not_chosen():
    gamble, wait = np.eye(3, dtype=bool)[:2]
    np.testing.assert_array_equal(best(ONE, gamble), [[1, 0, 0, 0]])
    # With the bad action forced on three days of ten, waiting no longer pays.
    np.testing.assert_allclose(best(ONE, gamble | wait, np.array([[0.0, 0.0, 0.0, 0.3]])), [[0.7, 0, 0, 0.3]])
    np.testing.assert_array_equal(best(ONE, np.zeros(3, bool)), [[0.25] * 4])  # nothing is free: all alike


@pytest.mark.parametrize("seed", range(3))
def test_the_best_policy_is_the_best_of_all(seed: int):
    rng = np.random.default_rng(seed)
    state, action = np.divmod(np.arange(12), 3)
    rows = rng.dirichlet(np.full(6, 0.3), 12)
    mdp = replace(
        ONE, state=state, action=action, rows=rows, other=rows[::3], start=np.eye(6)[0], reward=np.eye(6)[4], actions=3
    )
    every = [worth(mdp, np.eye(3)[list(chosen)]) for chosen in itertools.product(range(3), repeat=4)]
    assert worth(mdp, best(mdp)) == pytest.approx(max(every), abs=1e-4)
