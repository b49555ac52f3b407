"""Ranks are uniform for the right posterior and tell of a broken one what is wrong with it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.decay import Decay, DecayState

from biowm.evaluate.sbc import Ranks, ranks, simulation_based_calibration


class Crooked(Decay):
    """Decay whose noise has another size, or whose drift has a push."""

    wide: float = 1.0
    push: float = 0.0

    def step(self, state, action, dt, *, key):
        calm = super().step(state, action, dt, key=key)
        still = Decay(sigma=0.0).step(state, action, dt, key=key)
        return DecayState(calm.t, still.x + self.wide * (calm.x - still.x) + self.push * dt)


def test_the_right_posterior_gives_uniform_ranks():
    found = simulation_based_calibration(Decay(), Decay())
    assert len(found.ranks) == 500
    assert found.p_value() > 0.01
    assert found.counts().sum() == 500


@pytest.mark.parametrize(
    ("world", "fault"),
    [
        (Crooked(wide=0.5), "too narrow"),
        pytest.param(Crooked(wide=2.0), "too wide", marks=pytest.mark.slow),
        pytest.param(Crooked(push=0.05), "too high", marks=pytest.mark.slow),
        (Crooked(push=-0.05), "too low"),
    ],
    ids=["narrow", "wide", "high", "low"],
)
def test_a_broken_posterior_fails_and_is_told_how(world: Crooked, fault: str):
    found = simulation_based_calibration(world, Decay())
    assert found.p_value() < 1e-4
    assert found.fault() == fault


def test_few_simulations_are_refused():
    with pytest.raises(ValueError, match="found 100 simulations, expected at least 500"):
        simulation_based_calibration(Decay(), Decay(), simulations=100)


def test_ranks_count_what_lies_below_and_ties_are_drawn():
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(
        ranks(np.array([0.5, 9.0, -1.0]), np.array([[0.0, 1.0, 2.0]] * 3), rng).ranks, [1, 3, 0]
    )
    same = ranks(np.zeros(4000), np.zeros((4000, 3)), rng)
    np.testing.assert_allclose(same.counts(4) / 4000, 0.25, atol=0.03)
    assert Ranks(np.arange(128), 127).p_value() == pytest.approx(1.0)
