"""The gate `counterfactual`: effects of schedules that nobody was given, told by worlds whose faults are known."""

from dataclasses import replace

import equinox as eqx
import jax
import numpy as np
import pytest
from tests.support.cohort import Deaf
from tests.support.decay import SPEC, Decay
from tests.support.sitting import sit, training

from biowm.core.schedule import Entry, schedule
from biowm.evaluate.gates import counterfactual


class Timid(Decay):
    """Half of what every action does."""

    def step(self, state, action, dt, *, key):
        return super().step(state, 0.5 * action, dt, key=key)

    def impulse(self, state, dose):
        return super().impulse(state, 0.5 * dose)


class Contrary(Decay):
    """Actions take away what they should give."""

    def step(self, state, action, dt, *, key):
        return super().step(state, -action, dt, key=key)


def check(world, **given):
    return counterfactual.check(replace(sit(world), truth=Decay(), **given))


def test_the_true_world_tells_effects_right():
    verdict = check(Decay())
    assert verdict.status == "passed", verdict.detail
    assert verdict.value is not None
    assert verdict.value.high < 0.01
    for found in verdict.evidence.metrics["effects"].values():
        assert found["right_sign"]["value"] == 1
        assert found["coverage90"]["value"] == 1
        # A rate u held from a state with nothing else leads to u (1 - exp(-k t)) / k more: the closed form.
        sd = np.nanstd(np.asarray(sit(Decay()).paths.x, np.float64))
        for days, label in ((1, "1 d"), (6, "6 d")):
            by_hand = 10 * (1 - np.exp(-0.2 * days)) / 0.2 / sd
            assert found["average_effects"][f"u: x at {label}"]["true"] == pytest.approx(by_hand, rel=1e-3)


@pytest.mark.parametrize("world", [Deaf(), Contrary()])
def test_a_world_whose_effects_are_none_or_wrong_fails(world):
    verdict = check(world)
    assert verdict.status == "failed"
    assert "no better than none (confounding off)" in verdict.detail
    assert "no better than none (confounding on)" in verdict.detail


def test_effects_of_half_the_size_are_better_than_none_and_still_fail():
    verdict = check(Timid())
    assert verdict.status == "failed"
    assert verdict.value is not None
    assert verdict.value.value == pytest.approx(0.5, abs=0.01)
    assert "biased average effects" in verdict.detail
    assert "no better than none" not in verdict.detail
    assert all(e["right_sign"]["value"] == 1 for e in verdict.evidence.metrics["effects"].values())


def test_schedules_found_in_the_logs_are_left_out():
    fresh = check(Decay()).evidence.metrics
    assert set(fresh["schedules_against_nothing"]) == {"u", "shot", "all together", "in turn"}
    assert min(fresh["nearest_log"].values()) > 0.01
    known, plan = training(), schedule([Entry(0, 10.0, 0.0, 40.0)])
    plans = jax.tree.map(lambda leaf: np.stack([leaf] * len(known.units)), plan)
    logged = replace(known, paths=eqx.tree_at(lambda p: p.plan, known.paths, plans))
    found = check(Decay(), training=logged).evidence.metrics
    assert set(found["schedules_against_nothing"]) == {"shot", "all together", "in turn"}
    assert found["nearest_log"]["u"] < 1e-5


def test_where_true_effects_are_not_known_or_there_are_none_it_does_not_apply():
    unknown = counterfactual.check(sit(Decay()))
    assert (unknown.status, unknown.value) == ("not_applicable", None)
    assert "no simulator" in unknown.detail

    class Immune(Deaf):
        """Nothing that is done does anything."""

    none = counterfactual.check(replace(sit(Decay()), truth=Immune()))
    assert none.status == "not_applicable"
    assert "changes anything" in none.detail


def test_schedules_give_full_doses_alone_together_and_in_turn():
    found = counterfactual.schedules(SPEC, 3)
    by_hand = {
        "u": [[10, 0], [10, 0], [10, 0]],
        "shot": [[0, 10], [0, 10], [0, 10]],
        "all together": [[10, 10], [10, 10], [10, 10]],
        "in turn": [[10, 0], [0, 10], [10, 0]],
    }
    assert {name: doses.tolist() for name, doses in found.items()} == by_hand


def test_one_action_alone_is_given_every_other_step():
    found = counterfactual.schedules(replace(SPEC, actions=SPEC.actions[:1]), 3)
    assert {name: doses.tolist() for name, doses in found.items()} == {"u": [[10]] * 3, "in turn": [[10], [0], [10]]}
