"""Receding horizon on dynamics with known answers: a question at another time, and a loop that stays on target."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.decay import SPEC, Decay, DecayBelief

from biowm.core.schedule import Entry, schedule
from biowm.plan.goals import parse_goal, parse_limit
from biowm.plan.problem import pose
from biowm.plan.receding import decide, move, shifted

WORLD = Decay(sigma=0.01)
NONE = schedule([], 1)
LIMITS = [parse_limit(text, SPEC) for text in ("P(min x >= 3) >= 0.9", "u <= 2")]
POSED = pose(
    SPEC, parse_goal("minimise total u", SPEC), LIMITS, now=0.0, horizon=4.0, spacing=1.0, segments=4, controls=("u",)
)  # fmt: skip
_decide = eqx.filter_jit(decide)


def at(t: float, x: float) -> DecayBelief:
    return DecayBelief(jnp.asarray(t, jnp.float32), jnp.full(1, x))


def asked(belief: DecayBelief, held=NONE) -> tuple[np.ndarray, np.ndarray]:
    held = jax.tree.map(jnp.asarray, held)
    rate, bolus = _decide(WORLD, belief, POSED, held, key=jax.random.key(0), draws=8)
    return np.asarray(rate), np.asarray(bolus)


def test_a_question_is_shifted_with_all_its_times():
    later = shifted(POSED, jnp.asarray(7.0), NONE)
    np.testing.assert_allclose(later.edges, 7.0 + np.arange(5))
    np.testing.assert_allclose(later.times - 7.0, POSED.times)


@pytest.mark.slow
def test_the_same_question_at_another_time_has_the_same_answer():
    early, late = asked(at(0.0, 3.0))[0], asked(at(7.0, 3.0))[0]
    assert early[0] == pytest.approx(late[0], abs=0.05)  # other times, other noise: nearly the same


@pytest.mark.slow
def test_the_loop_holds_its_limit_at_about_the_least_dose():
    """x must not fall below 3: u = 3 k holds it there, and the loop finds that from above as from below."""
    belief, rates = at(0.0, 6.0), []
    for k in range(14):
        rate, bolus = asked(belief)
        belief = move(WORLD, belief, jnp.asarray(rate), jnp.asarray(bolus), jnp.asarray(k + 1.0))
        assert isinstance(belief, DecayBelief)
        assert float(belief.t) == k + 1.0
        assert float(belief.x[0]) >= 3.0 - 0.03
        rates.append(float(rate[0]))
    assert rates[0] < 0.15  # there is room
    assert np.mean(rates[8:]) == pytest.approx(3 * WORLD.k, rel=0.2)
    assert float(belief.x[0]) < 3.6


@pytest.mark.slow
def test_what_is_announced_counts():
    """A shot of 2 that is known to come now leaves nothing to do for a while."""
    shot = schedule([Entry(1, 2.0, 0.0, 0.0)], 1)
    alone, announced = asked(at(0.0, 3.0)), asked(at(0.0, 3.0), shot)
    assert alone[0][0] > 0.4
    assert announced[0][0] < 0.1
    assert announced[1][1] == pytest.approx(2.0)  # what is held is given too
