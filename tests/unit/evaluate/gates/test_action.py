"""The gate `action`: who is asked about late actions."""

import equinox as eqx
import numpy as np
import pytest
from tests.support.decay import Decay
from tests.support.sitting import sit, sitters

from biowm.core.interval import Interval
from biowm.core.schedule import Entry
from biowm.evaluate.gates import action
from biowm.evaluate.tamper import pack


@pytest.mark.slow
def test_a_shot_that_comes_late_is_seen_however_long_the_horizon_is():
    """Every question with the one shot ahead has it late too, though the delay is a twentieth of the horizon."""
    paths, names = sitters()
    shots = pack([[Entry(1, 1.0 + i / 10, 6.2, 6.2)] for i in range(len(names))])
    given = eqx.tree_at(lambda p: p.plan, paths, shots)
    verdict = action.check(sit(Decay(spacing=0.3), (given, names)))
    asked = {name: effect["questions"] for name, effect in verdict.evidence.metrics.items()}
    assert asked["late"] == asked["mask"] > 20, asked
    assert "could not be tested" not in verdict.detail


def test_what_is_given_is_looked_at_up_to_the_last_reading():
    sat = sit(Decay())
    last = sat.asked.queries.times[:, -1].tolist()
    given = action._amounts(sat, pack([[Entry(1, 1.0, t - 0.1, t - 0.1)] for t in last]))
    np.testing.assert_allclose(given.sum(1), np.tile([0.0, 1.0], (len(last), 1)))


@pytest.mark.parametrize(
    ("state", "forecast", "passed"),
    [(True, True, True), (True, False, False), (False, True, False), (None, True, True)],
)
def test_an_action_must_move_state_and_forecast(state: bool | None, forecast: bool, passed: bool):
    """One that is noted in the state and never read off it acts as little as one that is not noted."""
    worse = Interval(0.5, 0.4, 0.6, 40)
    effects = {name: action.Effect(20, True, True, worse) for name in ("mask", "shuffle")}
    effects["late"] = action.Effect(20, state, forecast, worse)
    verdict = action._judge(sit(Decay()), effects)
    assert (verdict.status == "passed") is passed
    assert ("ignores them (late)" in verdict.detail) is not passed
    assert ("late actions move state and forecast" in verdict.detail) is passed
