"""Posing a problem: bounds that hold by construction, schedules, what goes on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.support.decay import SPEC, Decay, DecayBelief

from biowm.core.errors import BadInput
from biowm.core.schedule import Entry, entries, schedule
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.plan.goals import margin, parse_goal, parse_limit
from biowm.plan.held import hold
from biowm.plan.problem import doses, follow, planned, pose, references, tidy

TWO = WorldSpec(
    "two",
    "d",
    (Channel("x", "mg/L"),),
    (ActionCard("u", "mg/d", "rate", 1.0, 10.0), ActionCard("lamp", "", "switch"), ActionCard("free", "mg/d")),
)
BELIEF = DecayBelief(jnp.zeros(()), jnp.ones(1))


def problem(limits=(), goal="minimise final x", spec=SPEC, horizon=12.0, **more):
    read = [parse_limit(text, spec) for text in limits]
    return pose(spec, parse_goal(goal, spec), read, now=0.0, horizon=horizon, spacing=1.0, segments=6, **more)


LIMITS = (
    "u <= 4",
    "total u <= 20",
    "mean u over 5 d <= 1.5",
    "total shot <= 7",
    "shot <= 3",
    "total shot over 4 d <= 2",
)
POSED = problem(LIMITS)


@jax.jit
def margins(share):
    plan = planned(POSED, doses(POSED, share))
    course = follow(Decay(), BELIEF, POSED, plan, key=jax.random.key(0), draws=1)
    return jnp.stack([margin(limit, course)[0] for limit in POSED.limits])


@settings(max_examples=200, deadline=None)
@given(arrays.arrays(np.float32, (6, 2), elements=st.floats(-2, 3, width=32)))
def test_dose_limits_hold_whatever_is_asked_for(share):
    past = np.asarray(margins(jnp.asarray(share)))
    assert (past <= 0).all(), dict(zip(LIMITS, past, strict=True))


def test_doses_within_their_limits_are_left_alone():
    share = jnp.zeros((6, 2)).at[0].set(0.25)
    np.testing.assert_allclose(doses(POSED, share)[0], [1.0, 0.75], rtol=1e-6)


def test_lower_limits_push_doses_up():
    posed = problem(["u >= 2", "mean u >= 5"])
    np.testing.assert_allclose(doses(posed, jnp.zeros((6, 1)))[:, 0], [10, 10, 4, 2, 2, 2], rtol=1e-5)
    np.testing.assert_allclose(doses(posed, jnp.ones((6, 1)))[:, 0], 10.0, rtol=1e-5)


def test_a_budget_cuts_the_smallest_shares_first_and_of_equal_ones_the_latest():
    share = jnp.array([0.5, 0.9, 0.5, 0.1, 0.5, 0.6])[:, None]
    cut = doses(problem(["total u <= 33"]), share)[:, 0]  # 62 mg are asked for, over intervals of 2 d
    np.testing.assert_allclose(cut, [1.5, 9.0, 0.0, 0.0, 0.0, 6.0], rtol=1e-5)
    lamp = doses(problem(["total lamp <= 5 d"], spec=TWO, controls=("lamp",)), jnp.full((6, 1), 0.7))[:, 0]
    np.testing.assert_array_equal(lamp, [1, 1, 0, 0, 0, 0])


def test_contradicting_limits_leave_one_dose_and_switches_round():
    assert float(doses(problem(["u >= 6", "u <= 4"]), jnp.ones((6, 1))).max()) == 6.0
    lamp = problem(spec=TWO, controls=("lamp",))
    np.testing.assert_array_equal(doses(lamp, jnp.linspace(0, 1, 6)[:, None])[:, 0], [0, 0, 0, 1, 1, 1])


def test_schedule_controls_its_cards_and_lets_the_others_go_on():
    posed = problem(
        controls=("u",), held=schedule([Entry(0, 9.0, -5, 20), Entry(1, 2.0, 3.5, 3.5), Entry(1, 2.0, -1, -1)])
    )
    assert 3.5 in np.asarray(posed.times)  # a bolus is given in its own time
    plan = tidy(posed, planned(posed, jnp.array([[1.0], [1], [0], [2], [2], [3]])))
    assert plan == (
        Entry(0, 1.0, 0.0, 4.0, True),
        Entry(1, 2.0, 3.5, 3.5, False),
        Entry(0, 2.0, 6.0, 10.0, True),
        Entry(0, 3.0, 10.0, 12.0, True),
    )
    nothing, going_on, most = (jax.tree.map(lambda leaf, i=i: leaf[i], references(posed)) for i in range(3))
    assert [e.card for e in tidy(posed, nothing)] == [1]
    assert [e[:2] for e in tidy(posed, going_on)] == [(0, 9.0), (1, 2.0)]
    assert (0, 10.0) in [e[:2] for e in tidy(posed, most)]


def test_what_is_held_between_decisions_is_given_in_its_own_time():
    """A bolus has its own step, a rate counts by its mean over the step in which it changes."""
    held = schedule([Entry(1, 2.0, 3.7, 3.7), Entry(0, 4.0, 9.25, 20.0)])
    posed = problem(controls=("u",), held=held)
    assert 9.25 not in np.asarray(posed.times)
    plan = planned(posed, jnp.zeros((6, 1)))
    course = follow(Decay(sigma=0.0), BELIEF, posed, plan, key=jax.random.key(0), draws=1)
    expected = np.exp(-0.2 * 12.0) + 2.0 * np.exp(-0.2 * (12.0 - 3.7))
    np.testing.assert_allclose(course.x[0, -1, 0], expected, rtol=1e-5)
    np.testing.assert_allclose(np.asarray(course.dose)[:, 1].sum(), 2.0)


def test_controls_are_what_is_named_or_everything():
    assert problem().controls == (0, 1)
    assert problem(["shot <= 3"]).controls == (1,)
    assert problem(["shot <= 3"], controls=("u", "shot")).controls == (0, 1)


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ({"goal": "minimise mean x over 20 d"}, ["horizon", "at least the 20 d"]),
        ({"horizon": -1.0}, ["horizon", "above 0 d"]),
        ({"controls": ("v",)}, ["'v'", "u, shot"]),
        ({"spec": TWO, "controls": ("free",)}, ["free", "no upper bound", "free <= 10"]),
    ],
)
def test_senseless_problems_are_refused(more, parts):
    with pytest.raises(BadInput) as error:
        problem(**more)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_hold_continues_rates_and_the_rhythm_of_boluses():
    given = [
        Entry(0, 1.0, 0, 5),
        Entry(0, 2.0, 5, 10),
        Entry(0, 7.0, 10, 12),
        *(Entry(1, 3.0, t, t) for t in (1, 4, 7)),
    ]
    assert entries(hold(schedule(given), SPEC, 10.0, 7.0)) == [
        Entry(0, 2.0, 10, 17),
        Entry(1, 3.0, 10, 10),
        Entry(1, 3.0, 13, 13),
        Entry(1, 3.0, 16, 16),
    ]
    later = entries(hold(schedule(given), SPEC, 12.0, 7.0))
    assert later == [Entry(0, 7.0, 12, 19)], "shots are overdue, so they were stopped"
    assert entries(hold(schedule([Entry(0, 1.0, 0, 5), Entry(1, 3.0, 1, 1)]), SPEC, 10.0, 7.0)) == []
