"""Cohorts: subjects keep their chances whatever they are given, and the policy sees what it may see."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from tests.support.decay import Decay

from biowm.core.schedule import entries, schedule
from biowm.engine.cohort import confounded_policy, had_been, random_policy, simulate

TIMES = np.arange(6.0)


@pytest.fixture(scope="module")
def world() -> Decay:
    return Decay()


@pytest.fixture(scope="module")
def drawn(world: Decay):
    return simulate(world, 12, TIMES, random_policy(world.spec), seed=3)


def test_the_own_schedule_gives_the_own_path(drawn):
    again = had_been(drawn, np.arange(12), drawn.paths.plan, TIMES)
    np.testing.assert_allclose(again, drawn.paths.x, rtol=1e-5)


def test_another_schedule_differs_only_from_where_it_differs(drawn):
    size = drawn.paths.plan.card.shape[1]
    plans = []
    for i in range(12):
        own = entries(jax.tree.map(lambda leaf, i=i: leaf[i], drawn.paths.plan))
        plans.append(schedule([e._replace(stop=min(e.stop, 3.0)) for e in own if e.onset < 3.0], size))
    stopped = had_been(drawn, np.arange(12), jax.tree.map(lambda *rows: np.stack(rows), *plans), TIMES)
    np.testing.assert_allclose(stopped[:, :4], drawn.paths.x[:, :4], rtol=1e-5)
    treated = np.array([any(e.onset >= 3.0 for e in entries(jax.tree.map(lambda leaf, i=i: leaf[i], drawn.paths.plan)))
                        for i in range(12)])  # fmt: skip
    moved = np.abs(stopped[:, 4:] - drawn.paths.x[:, 4:]).max((1, 2)) > 1e-4
    np.testing.assert_array_equal(moved, treated)
    assert treated.any()


def test_two_policies_meet_the_same_subjects(world: Decay, drawn):
    other = simulate(world, 12, TIMES, lambda readings, rng: np.zeros((12, 1)), seed=3)
    np.testing.assert_array_equal(other.paths.x[:, 0], drawn.paths.x[:, 0])
    np.testing.assert_array_equal(other.paths.traits, drawn.paths.traits)
    assert not np.allclose(other.paths.x[:, -1], drawn.paths.x[:, -1])


def test_a_confounded_policy_treats_who_is_high(world: Decay):
    seen: list[tuple[np.ndarray, np.ndarray]] = []
    choose = confounded_policy(world.spec)

    def watched(readings: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        doses = choose(readings, rng)
        seen.append((readings[:, -1, 0], doses[:, 0] > 0))
        return doses

    simulate(world, 64, TIMES, watched)
    high = np.concatenate([last > np.median(last) for last, _ in seen])
    given = np.concatenate([given for _, given in seen])
    assert given[high].mean() > given[~high].mean() + 0.3
