"""Equations solved: order of the solver, gradients, and analytic solutions."""

from __future__ import annotations

import subprocess
import sys
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core import registry
from biowm.core.mechanism import Mechanism, Scalar, parameter, parameters, runge_kutta, solve, vector
from biowm.core.mechanisms.growth import Gompertz, Logistic
from biowm.core.mechanisms.pharmacokinetics import OneCompartment, TwoCompartment

# In a process of its own, because double precision is chosen before anything is compiled.
DOUBLE = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from biowm.core.mechanism import parameters, solve, with_parameters
from biowm.core.mechanisms.growth import Gompertz

m, x0, drug = Gompertz(growth=0.3), jnp.array([0.5]), jnp.array([0.7])

@jax.jit
def ends(g, c, k):
    moved = with_parameters(m, {"growth": g, "capacity": c, "kill": k})
    return jnp.stack([solve(moved, x0, drug, jnp.asarray(6.0), n)[0] for n in (16, 32, 64)])

at = np.array([0.3, 4.0, 0.1])
level = np.log(4.0) - 0.1 * 0.7 / 0.3
exact = np.exp(level + (np.log(0.5) - level) * np.exp(-0.3 * 6.0))
errors = np.abs(np.asarray(ends(*at)) - exact)
print(*np.log2(errors[:-1] / errors[1:]))
slope = np.stack(jax.jacobian(ends, (0, 1, 2))(*at))[:, -1]
h = 1e-6
steps = np.eye(3) * h
finite = [(ends(*(at + s))[-1] - ends(*(at - s))[-1]) / (2 * h) for s in steps]
print(np.abs(slope / np.array(finite) - 1).max())
"""


def test_order_four_and_gradients_equal_finite_differences():
    done = subprocess.run([sys.executable, "-c", DOUBLE], capture_output=True, text=True, check=True)
    orders, error = done.stdout.splitlines()
    np.testing.assert_allclose([float(o) for o in orders.split()], 4.0, atol=0.1)
    assert float(error) < 1e-5


def test_more_steps_compile_to_no_more_code():
    def code(steps: int) -> int:
        def end(x):
            return solve(Gompertz(), x, jnp.zeros(1), jnp.asarray(5.0), steps)

        return jax.jit(jax.jacrev(end)).lower(jnp.ones(1)).as_text().count("\n")

    assert code(4) == code(64)


def test_logistic_growth_is_the_sigmoid():
    m = Logistic(growth=0.4, capacity=2.0)
    end = solve(m, jnp.array([0.1]), jnp.zeros(1), jnp.asarray(5.0), 8)
    np.testing.assert_allclose(end, 2.0 / (1 + (2.0 / 0.1 - 1) * np.exp(-0.4 * 5.0)), rtol=1e-4)


def test_infusion_into_one_compartment():
    m = OneCompartment(clearance=4.0, volume=20.0)
    rate = 4.0 / 20.0
    after = jnp.asarray(m.impulse(jnp.array([10.0]), jnp.array([100.0, 0.0])))
    end = solve(m, after, jnp.array([0.0, 12.0]), jnp.asarray(6.0), 8)
    expected = 110.0 * np.exp(-rate * 6) + 12.0 / rate * (1 - np.exp(-rate * 6))
    np.testing.assert_allclose(end, expected, rtol=1e-4)
    np.testing.assert_allclose(m.read(end), expected / 20.0, rtol=1e-4)


def test_bolus_into_two_compartments_falls_by_two_exponentials():
    cl, v, q, v2 = 4.0, 20.0, 6.0, 30.0
    m = TwoCompartment(clearance=cl, volume=v, exchange=q, tissue_volume=v2)
    end = solve(m, jnp.array([100.0, 0.0]), jnp.zeros(2), jnp.asarray(5.0), 32)
    total, product = cl / v + q / v + q / v2, cl / v * q / v2
    fast, slow = (total + s * np.sqrt(total**2 - 4 * product) for s in (1, -1))
    fast, slow = fast / 2, slow / 2
    a, b = (fast - q / v2) / (fast - slow), (q / v2 - slow) / (fast - slow)
    np.testing.assert_allclose(end[0], 100 * (a * np.exp(-fast * 5) + b * np.exp(-slow * 5)), rtol=1e-4)


LINEAR = {
    "one-compartment-naive": {},
    "two-compartment-naive": {},
    "one-compartment-oral": {},
    "two-compartment-oral": {},
    "one-compartment-oral of one rate": {"absorption": 0.125, "clearance": 5.0, "volume": 40.0},
    "two-compartment-oral of nearly one rate": {"absorption": 0.61, "exchange": 6.0},
}


@pytest.mark.parametrize("name", LINEAR)
def test_pharmacokinetics_flow_as_their_equations_say(name: str):
    """The solutions in closed form against steps of the solver, under an infusion where there is one."""
    m = registry.get("mechanisms", name.split(" ")[0])(**LINEAR[name])
    state = 40.0 * jnp.arange(1.0, len(m.states) + 1)
    action = jnp.array([0.0, 20.0])[: len(m.actions)]
    for dt in (0.0, 0.1, 12.0):
        stepped = runge_kutta(lambda x: vector(m.slope(x, action)), state, jnp.asarray(dt), 200)
        np.testing.assert_allclose(solve(m, state, action, jnp.asarray(dt), 1), stepped, rtol=2e-5)


EMPTY = {"one-compartment-naive", "two-compartment-naive", "one-compartment-oral", "two-compartment-oral"}


@pytest.mark.parametrize("name", registry.names("mechanisms"))
def test_starting_from_a_reading_reads_it_back_unless_it_begins_empty(name: str):
    m = registry.get("mechanisms", name)()
    reading = jnp.full(len(m.channels), 0.0 if name in EMPTY else 0.6)
    state = m.start(reading)
    state = jnp.stack([jnp.asarray(s) for s in state])
    np.testing.assert_allclose(jnp.stack([jnp.asarray(r) for r in m.read(state)]), reading, rtol=1e-5)


def test_bounds_hold_for_any_unbounded_value():
    both = parameters(Two)["share"]
    for free in (-30.0, -1.0, 0.0, 2.0, 30.0):
        assert 0.0 <= float(both.value(jnp.asarray(free))) <= 1.0
    for p in parameters(Two).values():
        np.testing.assert_allclose(p.value(p.free(p.start)), p.start, rtol=1e-6)
    gompertz = parameters(Gompertz)["growth"]
    assert float(gompertz.value(jnp.asarray(-50.0))) >= 0.0


def test_a_start_outside_its_bounds_is_refused():
    with pytest.raises(ValueError, match="starts at 0, expected a value between 0"):
        parameter("1/d", start=0.0, low=0.0)


def test_a_field_without_a_unit_is_refused():
    class Loose(Gompertz):
        extra: float = 1.0

    with pytest.raises(ValueError, match="'extra' of a mechanism: found no declaration"):
        parameters(Loose)


class Two(Mechanism):
    """One parameter of each kind of bounds."""

    clock = "d"
    states: ClassVar = {"x": "mg"}
    channels: ClassVar = {"x": "mg"}
    actions: ClassVar = {}
    share: Scalar = parameter("", start=0.2, low=0.0, high=1.0)
    debt: Scalar = parameter("mg/d", start=-2.0, high=0.0)
    net: Scalar = parameter("mg/d", start=-0.3)

    def slope(self, state: jax.Array, action: jax.Array) -> tuple[jax.Array, ...]:
        return (self.share * self.debt + self.net + 0 * state[0],)
