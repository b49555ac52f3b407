"""The radiotherapy mechanism: area is conserved at a fraction, doses are linear-quadratic, and limits are known."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.mechanism import solve, vector, with_parameters
from biowm.core.mechanisms.radiotherapy import Radiotherapy

LAYER = Radiotherapy()
MIXED = jnp.asarray([0.2, 0.05, 0.03, 0.04, 0.02, 0.02, 0.01, 0.01], jnp.float32)


def fraction(layer: Radiotherapy, state, dose: float):
    return vector(layer.impulse(state, jnp.asarray([dose], jnp.float32)))


def later(layer: Radiotherapy, state, hours: float, steps: int = 64):
    return solve(layer, state, jnp.zeros(1), jnp.asarray(hours, jnp.float32), steps)


def area(layer: Radiotherapy, state) -> float:
    return float(vector(layer.read(state))[0])


@pytest.mark.parametrize("dose", [0.0, 4.0, 10.0])
def test_a_fraction_moves_area_between_kinds_of_cells_and_makes_none(dose: float):
    after = fraction(LAYER, MIXED, dose)
    np.testing.assert_allclose(area(LAYER, after), area(LAYER, MIXED), rtol=1e-6)
    assert np.all(np.asarray(after) >= 0)
    if dose == 0:
        np.testing.assert_allclose(after, MIXED, rtol=1e-6)
    else:
        assert after[0] < MIXED[0]
        assert after[4] > MIXED[4]


def test_survival_of_healthy_cells_is_linear_quadratic():
    spared = [float(fraction(LAYER, MIXED, d)[0] / MIXED[0]) for d in (2.0, 6.0)]
    expected = [np.exp(-0.15 * d * (1 + 0.2 * d)) for d in (2.0, 6.0)]
    np.testing.assert_allclose(spared, expected, rtol=1e-5)


def test_two_fractions_spare_more_than_one_of_the_same_total():
    once = fraction(LAYER, MIXED, 8.0)
    twice = fraction(LAYER, fraction(LAYER, MIXED, 4.0), 4.0)
    assert twice[0] > once[0]


def test_crowding_changes_the_lethal_share_and_not_the_survival():
    crowded = with_parameters(LAYER, {"crowding": jnp.asarray(4.0)})
    plain, dense = fraction(LAYER, MIXED, 4.0), fraction(crowded, MIXED, 4.0)
    np.testing.assert_allclose(plain[0], dense[0])
    assert dense[4] > plain[4]  # the layer is denser than the reference density of 0.25


def test_untreated_cells_grow_logistically():
    start = vector(LAYER.start(jnp.asarray([0.1], jnp.float32)))
    t, r, k = 60.0, 0.04, 0.95
    expected = k / (1 + (k / 0.1 - 1) * np.exp(-r * t))
    np.testing.assert_allclose(area(LAYER, later(LAYER, start, t)), expected, rtol=1e-5)


def test_without_growth_area_only_leaves_through_debris():
    still = with_parameters(LAYER, {"growth": jnp.asarray(1e-9), "clearance": jnp.asarray(1e-9)})
    struck = fraction(still, MIXED, 8.0)
    np.testing.assert_allclose(area(still, later(still, struck, 200.0)), area(still, struck), rtol=1e-4)
    cleared = with_parameters(still, {"clearance": jnp.asarray(0.02)})
    assert area(cleared, later(cleared, struck, 200.0)) < 0.5 * area(still, struck)


def test_a_larger_dose_leaves_less_after_four_days():
    start = vector(LAYER.start(jnp.asarray([0.2], jnp.float32)))
    areas = [area(LAYER, later(LAYER, fraction(LAYER, start, d), 96.0)) for d in (0.0, 4.0, 8.0, 10.0)]
    assert areas == sorted(areas, reverse=True)
    assert areas[-1] < 0.7 * areas[0], areas
