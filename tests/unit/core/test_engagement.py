"""Drug and target against closed forms: compartments, binding at a constant concentration, turnover, balances."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from biowm.core.mechanism import Mechanism, solve, vector, with_parameters
from biowm.core.mechanisms.engagement import CovalentEngagement, ReversibleEngagement, ThreeCompartment
from biowm.core.mechanisms.linear import two_states
from biowm.core.mechanisms.pharmacokinetics import (
    OneCompartmentNaive,
    OneCompartmentOral,
    TwoCompartmentNaive,
    TwoCompartmentOral,
)

BODY = {"absorption": 0.9, "bioavailability": 0.6, "clearance": 4.0, "volume": 20.0, "exchange": 6.0}
BODY |= {"tissue_volume": 30.0, "deep_exchange": 1.5, "deep_volume": 80.0}
NO_DOSE = jnp.zeros(3)
_solve = eqx.filter_jit(solve)


def compartments(**changed: float) -> ThreeCompartment:
    return ThreeCompartment(**(BODY | changed))


def given(m: Mechanism, dose: list[float], state: jax.Array | None = None) -> jax.Array:
    start = jnp.zeros(len(m.states)) if state is None else state
    return vector(m.impulse(start, jnp.asarray(dose)))


def still(m: Mechanism, level: float, target: tuple[float, float] = (1.0, 0.0)) -> jax.Array:
    """A state whose free concentration is `level` (mg/L)."""
    return jnp.array([0.0, level * 40.0 / 0.05, 0.0, 0.0, *target])


def test_three_compartments_move_by_the_matrix_exponential_of_their_rates():
    a, cl, v, q, w, r, u = (BODY[k] for k in BODY if k != "bioavailability")
    rates = np.zeros((4, 4))
    rates[0, 0], rates[1, 0] = -a, a
    rates[1, 1:] = -(cl + q + r) / v, q / w, r / u
    rates[2, 1:3] = q / v, -q / w
    rates[3, 1], rates[3, 3] = r / v, -r / u
    rate, start = np.array([0.0, 12.0, 0.0, 0.0]), np.array([60.0, 50.0, 0.0, 0.0])
    m = compartments()
    state = given(m, [100.0, 50.0, 0.0])
    np.testing.assert_allclose(state, start, rtol=1e-6)
    for dt in (0.25, 4.0, 24.0):
        expected = expm(rates * dt) @ start + np.linalg.solve(rates, (expm(rates * dt) - np.eye(4)) @ rate)
        end = _solve(m, state, jnp.array([0.0, 0.0, 12.0]), jnp.asarray(dt), 1)
        np.testing.assert_allclose(end, expected, rtol=2e-5, atol=1e-4)


@pytest.mark.parametrize("dt", [0.5, 6.0, 24.0])
def test_fewer_compartments_are_the_shipped_ones(dt: float):
    one = {k: BODY[k] for k in ("clearance", "volume")}
    two = one | {k: BODY[k] for k in ("exchange", "tissue_volume")}
    oral, rate = {"absorption": 0.9}, jnp.array([0.0, 0.0, 12.0])
    less = compartments(deep_exchange=0.0)
    least = compartments(deep_exchange=0.0, exchange=0.0)
    for m, vein, mouth in (
        (least, OneCompartmentNaive(**one), OneCompartmentOral(**oral, **one)),
        (less, TwoCompartmentNaive(**two), TwoCompartmentOral(**oral, **two)),
    ):
        n = len(vein.states)
        ours = _solve(m, given(m, [0.0, 50.0, 0.0]), rate, jnp.asarray(dt), 1)
        theirs = _solve(vein, given(vein, [50.0, 0.0]), rate[1:], jnp.asarray(dt), 1)
        np.testing.assert_allclose(ours[1 : 1 + n], theirs, rtol=2e-5, atol=1e-5)
        np.testing.assert_allclose(ours[1 + n :], 0.0)
        ours = _solve(m, given(m, [50.0, 0.0, 0.0]), NO_DOSE, jnp.asarray(dt), 1)
        theirs = _solve(mouth, given(mouth, [0.6 * 50.0]), jnp.zeros(1), jnp.asarray(dt), 1)
        np.testing.assert_allclose(ours[: 1 + n], theirs, rtol=2e-5, atol=1e-5)


def test_doses_superpose_and_steps_compose():
    m, dt = compartments(), jnp.asarray(3.0)
    first, second = [100.0, 0.0, 0.0], [0.0, 30.0, 0.0]
    alone = [_solve(m, _solve(m, given(m, first), NO_DOSE, dt, 1), NO_DOSE, dt, 1)]
    alone.append(_solve(m, given(m, second), NO_DOSE, dt, 1))
    both = _solve(m, given(m, second, _solve(m, given(m, first), NO_DOSE, dt, 1)), NO_DOSE, dt, 1)
    np.testing.assert_allclose(both, alone[0] + alone[1], rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(alone[0], _solve(m, given(m, first), NO_DOSE, 2 * dt, 1), rtol=1e-5, atol=1e-5)


def test_no_drug_is_lost_but_by_clearance_and_an_infusion_comes_to_its_steady_state():
    closed = compartments(clearance=0.0)
    end = _solve(closed, given(closed, [100.0, 40.0, 0.0]), jnp.array([0.0, 0.0, 5.0]), jnp.asarray(10.0), 1)
    assert float(end.sum()) == pytest.approx(60.0 + 40.0 + 50.0, rel=1e-5)
    m = compartments()
    end = m.read(_solve(m, jnp.zeros(4), jnp.array([0.0, 0.0, 5.0]), jnp.asarray(2000.0), 1))
    np.testing.assert_allclose(end, 5.0 / 4.0, rtol=1e-3)  # rate by clearance


@pytest.mark.parametrize(
    ("on", "off", "free_lost", "bound_lost"),
    [
        (0.0, 0.0, 0.035, 0.035),
        (3.0, 0.5, 0.035, 0.07),
        (900.0, 60.0, 0.1, 0.02),
        (1e-4, 1e-4, 1e-3, 1e-3),
        (5.0, 0, 1, 9),
    ],
)
def test_two_states_are_their_matrix_exponential_also_where_rates_are_fast_or_equal(
    on: float, off: float, free_lost: float, bound_lost: float
):
    rates = np.array([[-on - free_lost, off, 0.3], [on, -off - bound_lost, 0], [0, 0, 0]])
    for dt in (1e-3, 0.1, 2.0, 50.0):
        expected = (expm(rates * dt) @ [0.7, 0.4, 1.0])[:2]
        found = two_states(on, off, 0.3, (free_lost, bound_lost), jnp.array([0.7, 0.4]), dt)
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-6)


def test_reversible_binding_at_a_constant_concentration():
    """Turnover out of the way: C / (T + C) rises to c / (c + K) at the rate off (1 + c / K)."""
    m = ReversibleEngagement(affinity=0.02, off=0.5, turnover=1e-5, bound_turnover=1e-5)
    for c in (0.002, 0.02, 0.5):
        for dt in (0.1, 1.0, 6.0):
            found = m.occupancy(m.engage(still(m, c), dt))
            expected = c / (c + 0.02) * -np.expm1(-0.5 * (1 + c / 0.02) * dt)
            np.testing.assert_allclose(found, expected, rtol=1e-3)


@pytest.mark.parametrize("hill", [0.5, 1.0, 2.0])
def test_without_turnover_binding_comes_to_hill(hill: float):
    m = ReversibleEngagement(affinity=0.02, off=5.0, hill=hill, turnover=1e-6, bound_turnover=1e-6)
    for c in (0.004, 0.02, 0.1):
        expected = c**hill / (c**hill + 0.02**hill)
        np.testing.assert_allclose(m.occupancy(m.engage(still(m, c), 200.0)), expected, rtol=2e-3)
    slope = jax.grad(lambda c: jnp.asarray(m.binding(c)[0]))(jnp.asarray(0.0))
    assert np.isfinite(slope)
    assert float(slope) == pytest.approx(5.0 / 0.02, rel=1e-4) or hill != 1.0


def test_covalent_binding_at_a_constant_concentration():
    """Turnover out of the way: occupancy is 1 - exp(-kinact c / (K + c) t), and half of kinact at K."""
    m = CovalentEngagement(affinity=0.1, inactivation=0.6, turnover=1e-5, bound_turnover=1e-5)
    assert float(jnp.asarray(m.binding(jnp.asarray(0.1))[0])) == pytest.approx(0.3)
    for c in (0.01, 0.1, 3.0):
        for dt in (0.2, 2.0, 10.0):
            found = m.occupancy(m.engage(still(m, c), dt))
            np.testing.assert_allclose(found, -np.expm1(-0.6 * c / (0.1 + c) * dt), rtol=1e-3)


@pytest.mark.parametrize("m", [ReversibleEngagement(), CovalentEngagement()])
def test_steady_state_under_a_constant_concentration(m: ReversibleEngagement | CovalentEngagement):
    state = still(m, 0.03)
    on, off = (float(jnp.asarray(x)) for x in m.binding(m.free_concentration(state)))
    d, e = float(m.turnover), float(m.bound_turnover)
    free = d * (off + e) / ((d + on) * (off + e) - on * off)
    end = m.engage(state, 1000.0)[4:]
    np.testing.assert_allclose(end, [free, free * on / (off + e)], rtol=1e-4)
    assert float(end.sum()) < 1.0  # bound target goes faster: the drug degrades


def test_target_grows_back_at_its_turnover_and_is_balanced():
    m = CovalentEngagement(turnover=0.035, bound_turnover=0.035)
    end = m.engage(still(m, 0.0, (0.1, 0.9)), 20.0)[4:]
    np.testing.assert_allclose(end[0], 1 - 0.9 * np.exp(-0.035 * 20), rtol=1e-5)
    np.testing.assert_allclose(end.sum(), 1.0, rtol=1e-6)  # what is bound goes as what is free: the sum stays
    untouched = m.engage(still(m, 0.0), 20.0)[4:]
    np.testing.assert_allclose(untouched, [1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize("m", [ReversibleEngagement(), CovalentEngagement(), ReversibleEngagement(off=20.0)])
def test_the_flow_is_what_a_stiff_solver_finds(m: ReversibleEngagement | CovalentEngagement):
    """A day after a dose by mouth, in six steps of 4 h, against the equations as `slope` says them."""
    slope = jax.jit(lambda x: vector(m.slope(x, NO_DOSE)))
    start = given(m, [200.0, 0.0, 0.0], vector(m.start(jnp.zeros(2))))
    reference = solve_ivp(
        lambda t, x: np.asarray(slope(jnp.asarray(x, jnp.float32)), float),
        (0.0, 24.0), np.asarray(start, float), method="LSODA", rtol=1e-5, atol=1e-6, t_eval=4.0 * np.arange(1, 7),
    ).y.T  # fmt: skip
    state = start
    for expected in reference:
        state = _solve(m, state, NO_DOSE, jnp.asarray(4.0), 16)
        np.testing.assert_allclose(state[:4], expected[:4], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(state[4:], expected[4:], atol=4e-3)


def test_halving_the_steps_quarters_the_error():
    m = with_parameters(ReversibleEngagement(), {"off": 0.5, "absorption": 0.7})
    start = given(m, [200.0, 0.0, 0.0], vector(m.start(jnp.zeros(2))))
    fine = _solve(m, start, NO_DOSE, jnp.asarray(4.0), 256)
    errors = [float(jnp.abs(_solve(m, start, NO_DOSE, jnp.asarray(4.0), n) - fine)[5]) for n in (16, 32)]
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.25)
