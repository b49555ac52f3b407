"""ICU-Sepsis: the published values, the law of its steps, whole episodes, and what is said without the tables."""

from __future__ import annotations

import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.errors import BadInput
from biowm.plan.tabular import best, values, worth
from biowm.worlds.patient import sepsis_tables
from biowm.worlds.patient.sepsis import Sepsis, log
from biowm.worlds.patient.sepsis_tables import ACTIONS, DEATH, LIVE, STATES, SURVIVAL, tables

pytestmark = pytest.mark.slow  # the tables are 100 MB once they are read


def test_policies_are_worth_what_was_published():
    mdp = tables().mdp
    assert worth(mdp, np.full((LIVE, ACTIONS), 1 / ACTIONS)) == pytest.approx(0.7801, abs=5e-5)
    assert worth(mdp, tables().clinician) == pytest.approx(0.7818, abs=5e-5)
    assert worth(mdp, best(mdp)) == pytest.approx(0.8751, abs=5e-5)


def test_an_action_that_is_not_admissible_leads_where_the_others_lead_on_average():
    rows, known = tables().mdp.rows.reshape(LIVE, ACTIONS, STATES), tables().admissible
    assert known.any(1).all()
    for state in range(0, LIVE, 50):
        np.testing.assert_allclose(rows[state, ~known[state]] - rows[state, known[state]].mean(0), 0, atol=1e-6)


def test_steps_follow_the_tables_and_ends_are_for_good():
    world, n, state, action = Sepsis(), 20_000, 17, 3
    keys = jax.random.split(jax.random.key(0), n)
    go = jax.jit(jax.vmap(lambda s, k: world.step(s, jnp.int32(action), key=k), (None, 0)))
    found = np.bincount(go(jnp.int32(state), keys), minlength=STATES)
    p = tables().mdp.rows[state * ACTIONS + action]
    assert found[p == 0].sum() == 0
    assert np.sum((found - n * p)[p > 0] ** 2 / (n * p[p > 0])) < (p > 0).sum() + 5 * np.sqrt(2 * (p > 0).sum())
    for end in (DEATH, SURVIVAL):
        assert (np.asarray(go(jnp.int32(end), keys[:10])) == end).all()


def test_logs_are_whole_episodes_of_the_policy():
    n = 3000
    found = log(tables().clinician, n, key=jax.random.key(1))
    new = np.flatnonzero(np.diff(found.episode, prepend=-1))
    np.testing.assert_array_equal(found.episode[new], np.arange(n))
    np.testing.assert_array_equal(found.state[new], found.first)
    inside = np.setdiff1d(np.arange(len(found.state)), new)
    np.testing.assert_array_equal(found.state[inside], found.after[inside - 1])
    ends = found.after[np.append(new[1:] - 1, -1)]
    assert (ends >= LIVE).all()
    assert np.mean(ends == SURVIVAL) == pytest.approx(0.7818, abs=4 * np.sqrt(0.7818 * 0.2182 / n))
    length = tables().mdp.start @ -values(tables().mdp, tables().clinician, cost=1.0) + 0.7818
    lengths = np.bincount(found.episode)
    assert lengths.mean() == pytest.approx(length, abs=4 * lengths.std() / np.sqrt(n))
    again = log(tables().clinician, n, key=jax.random.key(1))
    np.testing.assert_array_equal(again.after, found.after)


def test_missing_tables_are_said_with_the_command_that_gets_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match="pip install --no-deps icu-sepsis"):
        sepsis_tables.tables.__wrapped__()
