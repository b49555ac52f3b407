"""Androgen suppression against closed forms: cells in a steady ratio, cells that only die, balance of PSA, units."""

from __future__ import annotations

import math
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from biowm.core.errors import BadInput
from biowm.core.mechanism import Scalar, constant, constants, parameters, runge_kutta, solve, vector
from biowm.core.mechanism_units import Declared, factors, fingerprint, wire
from biowm.core.mechanisms.androgen import Androgen
from biowm.core.spec import ActionCard, Channel, WorldSpec

RATE = math.log(2)
M = Androgen(renewal=0.1, kill=0.05, decay=0.2, stem=0.01)
ON, OFF = jnp.ones(1), jnp.zeros(1)
SPEC = WorldSpec(
    "ias", "d", (Channel("psa", "ng/mL", link="log", floor=0.1),), (ActionCard("on", "", "switch", 0.0, 1.0),)
)


def after(mechanism: Androgen, state, on, days: float, steps: int = 4) -> np.ndarray:
    return np.asarray(solve(mechanism, jnp.asarray(state, jnp.float32), on, jnp.float32(days), steps))


@pytest.mark.parametrize("days", [1.0, 28.0, 200.0])
def test_in_a_steady_ratio_all_cells_grow_alike_and_psa_follows(days: float):
    ratio = RATE * 0.9 / 0.05  # born and killed balance: r' = 0
    growth = 0.1 * RATE / (1 + ratio)
    stem, cells, psa = after(M, [0.2, 0.2 * ratio, 5.0], ON, days, 16)
    rise = np.exp(growth * days)
    lag = (rise - np.exp(-0.2 * days)) * 0.2 / (0.2 + growth)
    np.testing.assert_allclose([stem, cells], [0.2 * rise, 0.2 * ratio * rise], rtol=1e-4)
    np.testing.assert_allclose(psa, 5.0 * np.exp(-0.2 * days) + 0.2 * ratio * lag, rtol=1e-4)


def test_without_stem_cells_the_others_die_on_treatment_and_stay_off_it():
    stem, cells, psa = after(M, [0.0, 4.0, 4.0], ON, 40.0)
    np.testing.assert_allclose(cells, 4.0 * np.exp(-0.05 * 40), rtol=1e-4)
    both = (0.2 * np.exp(-0.05 * 40) - 0.05 * np.exp(-0.2 * 40)) / (0.2 - 0.05)
    np.testing.assert_allclose(psa, 4.0 * both, rtol=1e-4)
    assert stem < 1e-9
    np.testing.assert_allclose(after(M, [0.0, 4.0, 4.0], OFF, 40.0)[1:], 4.0, rtol=1e-4)
    np.testing.assert_allclose(after(M, [0.0, 4.0, 1.0], OFF, 5.0)[2], 4.0 - 3.0 * np.exp(-0.2 * 5.0), rtol=1e-4)


def test_off_treatment_without_renewal_cells_are_added_at_one_rate_and_psa_lags_behind():
    never = Androgen(renewal=1e-7, kill=0.05, decay=0.2, stem=0.01)
    stem, cells, psa = after(never, [0.05, 1.0, 1.0], OFF, 100.0)
    np.testing.assert_allclose([stem, cells], [0.05, 1.0 + RATE * 0.05 * 100], rtol=1e-4)
    np.testing.assert_allclose(psa, cells - RATE * 0.05 / 0.2, rtol=1e-4)  # e^-20 of the start is left


@pytest.mark.parametrize("on", [0.0, 0.3, 1.0])
def test_the_flow_solves_the_equations_as_printed(on: float):
    start, given = np.array([0.3, 2.0, 6.0]), np.array([on])

    def slope(_: float, x: np.ndarray) -> list[float]:
        s, d, p = x
        share = 0.1 * s / (s + d)
        return [share * RATE * s, (1 - share) * RATE * s - 0.05 * on * d, 0.2 * (d - p)]

    exact = solve_ivp(slope, (0, 90), start, rtol=1e-8, atol=1e-10).y[:, -1]
    np.testing.assert_allclose(after(M, start, jnp.asarray(given), 90.0), exact, rtol=2e-4)
    halves = after(M, after(M, start, jnp.asarray(given), 45.0), jnp.asarray(given), 45.0)
    np.testing.assert_allclose(halves, exact, rtol=2e-4)
    solved = runge_kutta(lambda x: vector(M.slope(x, jnp.asarray(given))), jnp.asarray(start), jnp.float32(90.0), 64)
    np.testing.assert_allclose(solved, exact, rtol=1e-3)


def test_gradients_are_numbers_also_without_treatment_cells_or_time():
    def end(kill, state, on, days):
        return jnp.sum(vector(Androgen(kill=kill).flow(state, on, days, 1)))

    gradient = jax.jit(jax.grad(end, (0, 1, 2, 3)))
    for state in ([0.3, 2.0, 6.0], [0.0, 2.0, 6.0], [0.0, 0.0, 0.0]):
        for on in (0.0, 1.0):
            for days in (0.0, 28.0):
                slopes = gradient(jnp.float32(0.05), jnp.asarray(state), jnp.asarray([on]), jnp.float32(days))
                assert all(bool(jnp.isfinite(s).all()) for s in slopes), (state, on, days)


def test_it_begins_in_balance_and_units_are_those_of_the_study():
    np.testing.assert_allclose(np.asarray(M.start(jnp.asarray([8.0]))), [0.08, 8.0, 8.0], rtol=1e-6)
    wire(Declared(M), SPEC)
    weekly = WorldSpec("w", "wk", (Channel("psa", "ug/L", link="log", floor=0.1),), SPEC.actions)
    wiring = wire(Declared(M), weekly)
    found = factors(M, weekly, wiring, np.ones(1), np.ones(1), 4.0)
    np.testing.assert_allclose([found.clock, found.channel[0], found.action[0]], [7.0, 1.0, 1.0], rtol=1e-6)
    with pytest.raises(BadInput, match="nmol"):
        wire(Declared(M), WorldSpec("w", "d", (Channel("psa", "nmol/L", link="log", floor=0.1),), SPEC.actions))


class Timeless(Androgen):
    """The same with a rate of division that is no rate."""

    division: Scalar = constant("1", math.log(2))


class Twice(Androgen):
    """The same with cells that divide twice as often."""

    signed: ClassVar[tuple[str, ...]] = ()
    division: Scalar = constant("1/d", 2 * math.log(2))


def test_a_constant_is_never_fitted_and_its_unit_is_checked():
    assert list(parameters(Androgen)) == ["renewal", "kill", "decay", "stem"]
    assert constants(M)["division"].unit == "1/d"
    with pytest.raises(BadInput, match=r"depends on the unit of time.*division \(1\)"):
        wire(Declared(Timeless()), SPEC)
    assert fingerprint(Declared(Twice())).partition("\n")[2] != fingerprint(Declared(Androgen())).partition("\n")[2]
    assert after(Twice(), [0.1, 1.0, 1.0], OFF, 10.0)[1] > after(Androgen(), [0.1, 1.0, 1.0], OFF, 10.0)[1] + 0.5
