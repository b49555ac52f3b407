"""Plans with a promise: optimism shown, abstentions with their reasons, flags, text and JSON."""

import json
import re
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.decay import SPEC, Decay, DecayBelief

from biowm.core.errors import Abstention
from biowm.core.futures import Support
from biowm.core.path import Path, stack
from biowm.core.schedule import Entry, schedule
from biowm.plan.goals import parse_goal, parse_limit
from biowm.plan.plans import Ground, plan, plan_crossfit
from biowm.plan.problem import pose
from biowm.plan.promise import disagreement, interval
from biowm.plan.result import Plan, describe
from biowm.plan.unlikely import unlikely


class Hopeful(Decay):
    """A decay world that takes `gain` times the effect of u for granted."""

    gain: jax.Array = eqx.field(default_factory=lambda: jnp.array(1.0))

    def step(self, state, action, dt, *, key):
        return super().step(state, self.gain * action, dt, key=key)


def world(gain=1.0, sigma=0.3):
    return Hopeful(sigma=sigma, gain=jnp.array(gain))


def record(entries, until=12.0):
    t = np.linspace(0, until, 7, dtype=np.float32)
    return Path(t, np.full((7, 1), 3.0, np.float32), schedule(entries), np.zeros(0, np.float32), np.int32(0))


PATH = record([Entry(0, 0.5, 0, 12)])
TRUE = world()


def ask(goal, *limits, planner=TRUE, halves=(TRUE, TRUE), horizon=12.0, **more):
    read = [parse_limit(text, SPEC) for text in limits]
    more = {"segments": 4, "controls": ("u",), "key": jax.random.key(0), **more}
    return plan_crossfit(planner, halves, PATH, parse_goal(goal, SPEC), read, horizon, **more)


def test_an_optimistic_model_is_seen_through():
    """Final x = x0 e^{-kT} + gain u/k (1 - e^{-kT}) at the highest dose: the judges know that the gain is 1."""
    heard: list[tuple[str, float]] = []
    result = ask(
        "maximise final x", "u <= 2", planner=world(gain=2.0), progress=lambda text, share: heard.append((text, share))
    )
    assert isinstance(result, Plan)
    assert [text for text, _ in heard][::3] == ["a plan by the world", "plans judged by the world"]
    np.testing.assert_allclose([share for _, share in heard], np.arange(6) / 6)
    left = np.exp(-12 * 0.2)
    claimed, true = (3 * left + gain * 2 / 0.2 * (1 - left) for gain in (2.0, 1.0))
    assert result.own.value == pytest.approx(claimed, rel=0.02)
    assert result.promise is not None
    assert result.promise.value == pytest.approx(true, rel=0.02)
    assert result.promise.low < true < result.promise.high < result.own.low
    assert result.overpromise == pytest.approx(claimed - true, rel=0.05)
    assert result.entries == (Entry(0, 2.0, 12.0, 24.0, True),)
    assert result == ask("maximise final x", "u <= 2", planner=world(gain=2.0)), "same key, same plan"
    text, body = describe(result), json.loads(json.dumps(result.to_json()))
    assert "u 2 mg/d from 0 to 12 d" in text
    assert "no guarantee" in text.lower()
    assert body["schedule"][0] | {"dose": 2.0} == {
        "action": "u", "dose": 2.0, "unit": "mg/d", "onset": 0.0, "stop": 12.0, "planned": True,
    }  # fmt: skip
    assert body["overpromise"] == pytest.approx(result.overpromise)
    assert [x["name"] for x in body["alternatives"]] == ["nothing", "hold", "most allowed"]


def test_each_half_judges_the_plan_of_the_other():
    """By its own account each half keeps the limit; half B sees that the plan of A, which hopes too much, does not."""
    result = ask("minimise total u", "P(final x >= 3) >= 0.9", halves=(world(gain=2.0), TRUE))
    assert isinstance(result, Abstention)
    found = re.search(r"P\(final x >= 3 mg/L\) >= 0.9 holds with probability (\S+) by models", result.reasons[0])
    assert found
    assert 0.45 < float(found.group(1)) < 0.55, "never by B, always by A"


HOLD_2 = schedule([Entry(0, 2.0, 12, 24)])


@pytest.mark.parametrize(
    ("goal", "limit", "more", "reason"),
    [
        (
            "minimise total u", "P(final x >= 3) >= 0.9", {"planner": world(0.0), "halves": (world(0.0), world(0.0))},
            "no feasible schedule was found: P(final x >= 3 mg/L) >= 0.9 holds with probability 0.00",
        ),
        (
            "maximise final x", "u <= 2", {"planner": world(-1.0), "halves": (world(-1.0), world(-1.0))},
            "does not beat 'nothing'",
        ),
        ("maximise final x", "u <= 2", {"held": HOLD_2}, "does not beat 'hold'"),
        (
            "maximise final x", "u <= 2", {"halves": (world(0.5), world(2.0))},
            "half-widths of their 80 % bands apart",
        ),
    ],
)  # fmt: skip
def test_abstains_after_planning(goal, limit, more, reason):
    result = ask(goal, limit, **more)
    assert isinstance(result, Abstention), describe(result)
    assert reason in str(result)


def test_refuses_before_planning_with_every_reason():
    ground = Ground(Support("outside", ("3 of 5 readings missing",)), horizons=(5.0, 10.0), calibration_subjects=8)
    result = ask("maximise final x", "x <= 9", "P(x <= 9) >= 0.8", "u <= 2", ground=ground)
    assert result == Abstention(
        (
            "outside the data: 3 of 5 readings missing",
            "the horizon, 12 d, is beyond what was validated, 10 d",
            "P(max x <= 9 mg/L) >= 0.9 takes 9 calibration subjects, there are 8",
        )
    )


def test_one_model_alone_makes_no_promise():
    read = [parse_limit("u <= 2", SPEC)]
    posed = pose(SPEC, parse_goal("maximise final x", SPEC), read, now=0.0, horizon=12.0, spacing=1.0, segments=4)
    result = plan(TRUE, DecayBelief(jnp.zeros(()), jnp.ones(1)), posed, key=jax.random.key(0))
    assert isinstance(result, Plan)
    assert (result.promise, result.overpromise, result.disagreement) == (None, None, None)
    assert "no promise" in describe(result)


COHORT = stack([record([Entry(0, 0.2 * i, 0, 6), Entry(0, 0.3 * i, 6, 12)]) for i in range(1, 11)])


@pytest.mark.parametrize(
    ("entries", "horizon", "flags"),
    [
        ([Entry(0, 1.0, 0, 6), Entry(0, 1.5, 6, 12)], 12.0, []),
        ([Entry(0, 4.0, 0, 12)], 12.0, ["u goes up to 4 mg/d; the highest in training was 3", "nearest training"]),
        ([Entry(1, 4.0, 0, 0)], 12.0, ["shot was never given in training"]),
        ([Entry(0, 1.0, 2 * i, 2 * i + 1) for i in range(6)], 12.0, ["given 50% of the time; in training 100%"]),
        ([Entry(0, 1.0, 0, 6)], 40.0, ["no training subject was followed for 40 d"]),
    ],
)  # fmt: skip
def test_unlike_schedules_are_flagged_with_numbers(entries, horizon, flags):
    reasons = unlikely(schedule(entries), COHORT, SPEC, (0, 1), 0.0, horizon)
    assert all(any(flag in reason for reason in reasons) for flag in flags), reasons
    assert bool(reasons) == bool(flags), reasons


def test_a_flag_does_not_change_the_plan():
    timid = stack([record([Entry(0, 0.1 * i, 0, 12)]) for i in range(1, 6)])
    result = ask("maximise final x", "u <= 2", ground=Ground(cohort=timid))
    assert isinstance(result, Plan)
    assert "Unlike the training data: u goes up to 2 mg/d; the highest in training was 0.5" in describe(result)
    assert replace(result, unlikely=()) == ask("maximise final x", "u <= 2")


def test_disagreement_counts_half_widths():
    draws = np.linspace(-1, 1, 101)[:, None, None] * np.ones((1, 5, 2))
    shifted = draws + np.array([0.0, 1.6])
    assert disagreement(draws, shifted, [0]) == pytest.approx(0.0)
    assert disagreement(draws, shifted, [0, 1]) == pytest.approx(2.0, rel=1e-3)
    assert disagreement(draws, shifted, []) == 0.0


def test_intervals_use_finite_sample_ranks():
    found = interval(np.arange(1.0, 80.0))
    assert (found.low, found.high, found.n) == (2.0, 78.0, 79)
