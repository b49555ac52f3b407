"""The cross-entropy planner on dynamics whose best schedule is known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.decay import SPEC, Decay, DecayBelief

from biowm.core.registry import get
from biowm.core.schedule import Entry, schedule
from biowm.plan.goals import cost, margin, parse_goal, parse_limit
from biowm.plan.problem import follow, pose, references, tidy
from biowm.plan.score import aim, cvar

WORLD = Decay()
BELIEF = DecayBelief(jnp.zeros(()), jnp.full(1, 2.0))
HELD = schedule([Entry(0, 1.0, 0, 12)])


def problem(goal, *limits, severity="hard"):
    read = [parse_limit(text, SPEC, severity=severity) for text in limits]
    return pose(SPEC, parse_goal(goal, SPEC), read, now=0.0, horizon=12.0, spacing=2.0, segments=6, held=HELD)


def find(posed, seed=3):
    return get("planners", "cem")(WORLD, BELIEF, posed, key=jax.random.key(seed))


def follow_all(posed, plans, draws=1000):
    """The course of every schedule: their goal costs and the share of draws in which they keep the first limit."""

    def one(plan):
        course = follow(WORLD, BELIEF, posed, plan, key=jax.random.key(5), draws=draws)
        return cvar(cost(posed.goal, course)), jnp.mean(margin(posed.limits[0], course) <= 0)

    return [np.asarray(part) for part in jax.jit(jax.vmap(one))(plans)]


def test_a_budget_is_spent_where_it_counts():
    posed = problem("maximise final x", "total u <= 10")  # the effect of u fades: all of it belongs at the end
    (last,) = tidy(posed, find(posed))
    assert (last.onset, last.stop) == (10.0, 12.0)
    assert last.dose == pytest.approx(5.0, rel=0.02)


def test_a_chance_limit_is_kept_at_about_the_least_dose_and_the_key_decides():
    """u in the last interval alone gives x(T) = x0 e^{-kT} + u/k (1 - e^{-2k}); the noise must clear the bound too."""
    posed = problem("minimise total u", "P(final x >= 4) >= 0.9")
    plan, again, other = find(posed), find(posed), find(posed, seed=4)
    np.testing.assert_array_equal(plan.dose, again.dose)
    assert not np.array_equal(plan.dose, other.dose)
    (dose,), (share,) = follow_all(posed, jax.tree.map(lambda a: a[None], plan))
    assert 0.9 < share < 1.0
    assert aim(posed.limits[0]) == pytest.approx(0.95)
    sd = WORLD.sigma * np.sqrt((1 - np.exp(-24 * WORLD.k)) / (2 * WORLD.k))
    level = 4 + 1.645 * sd - 2 * np.exp(-12 * WORLD.k)
    assert dose == pytest.approx(2 * level * WORLD.k / (1 - np.exp(-2 * WORLD.k)), rel=0.1)


def test_limits_come_before_the_goal_and_no_simple_schedule_is_better():
    posed = problem("maximise mean x", "P(max x <= 3) >= 0.9")
    everything = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), find(posed), references(posed))
    costs, shares = follow_all(posed, everything)
    assert shares[0] >= 0.9
    assert all(costs[0] < c for c, share in zip(costs[1:], shares[1:], strict=True) if share >= 0.9)
    assert costs[0] < -2.2
    assert costs[-1] < costs[0], "the most allowed is better and breaks the limit"


def test_time_off_is_all_that_the_limit_named_by_the_goal_leaves():
    posed = problem("maximise time off u while P(final x >= 4) >= 0.9")
    plan = find(posed)
    (only,) = tidy(posed, plan)
    assert only.stop - only.onset == 2.0  # one interval of six is enough, if it is late enough
    _, (share,) = follow_all(posed, jax.tree.map(lambda a: a[None], plan))
    assert share >= 0.9


def test_where_a_simple_schedule_is_best_it_is_the_plan():
    posed = problem("minimise mean x", "u <= 2")
    assert tidy(posed, find(posed)) == ()


def test_a_soft_limit_costs():
    posed = problem("maximise final x", "P(max x <= 3) >= 0.9", severity="soft")
    _, (share,) = follow_all(posed, jax.tree.map(lambda a: a[None], find(posed)))
    assert share >= 0.9


def test_cvar_is_the_mean_of_the_worst():
    assert float(cvar(jnp.array([0.0, 1, 2, 3, 4]), 0.8)) == 2.5
