"""A mechanism and a study must agree on units; whoever is wrong is named."""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.errors import BadInput
from biowm.core.mechanism import Mechanism, Scalar, parameter
from biowm.core.mechanism_units import Declared, factors, fingerprint, wire
from biowm.core.mechanisms.growth import Gompertz
from biowm.core.mechanisms.pharmacokinetics import OneCompartment
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec


class Growth(Mechanism):
    """Exponential growth with log-kill, in units of its own."""

    clock = "d"
    states: ClassVar = {"volume": "cm^3"}
    channels: ClassVar = {"volume": "cm^3"}
    actions: ClassVar = {"drug": "mg/d"}
    growth: Scalar = parameter("1/d", start=0.1, low=0.0, varies="subject")
    kill: Scalar = parameter("1/mg", start=0.01, low=0.0)

    def slope(self, state, action):
        return ((self.growth - self.kill * action[0]) * state[0],)


class WrongKill(Growth):
    """The kill needs 1/mg."""

    kill: Scalar = parameter("1/d", start=0.01, low=0.0)


class WrongSlope(Growth):
    """A length is no logarithm's argument."""

    def slope(self, state, action):
        return ((self.growth - self.kill * action[0]) * state[0] * jnp.log(state[0]),)


def study(volume: str = "mm^3", drug: str = "g/d", kind="rate", clock: str = "week", traits=()) -> WorldSpec:
    channels = (Channel("size", volume, link="log"),)
    return WorldSpec("s", clock, channels, (ActionCard("olaparib", drug, kind),), traits)


def test_units_that_differ_by_a_factor_are_converted():
    spec = study()
    wiring = wire(Declared(Growth()), spec)
    found = factors(Growth(), spec, wiring, np.array([500.0]), np.array([2.0]), 3.0)
    np.testing.assert_allclose(found.channel, [1e-3], rtol=1e-6)
    np.testing.assert_allclose(found.action, [1e3], rtol=1e-6)
    np.testing.assert_allclose(found.clock, 7.0, rtol=1e-6)


def test_any_counts_in_what_is_usual():
    spec = study("%", "uM")
    wiring = wire(Declared(Gompertz()), spec)
    found = factors(Gompertz(), spec, wiring, np.array([50.0]), np.array([2.0]), 4.0)
    np.testing.assert_allclose(found.channel, [0.02], rtol=1e-6)
    np.testing.assert_allclose(found.action, [0.5], rtol=1e-6)
    np.testing.assert_allclose(found.clock, 0.25, rtol=1e-6)


@pytest.mark.parametrize(
    ("mechanism", "spec", "message"),
    [
        (Growth(), study("mm"), r"channel 'volume': found 'mm' in the study, expected 'cm\^3'"),
        (Growth(), study(drug="mg/m^2/d"), r"action 'drug': found 'mg/m\^2/d' in the study, expected 'mg/d'"),
        (Growth(), study(clock="reading"), r"clock: found 'reading' in the study, expected 'd'"),
        (WrongKill(), study(), r"slope of state 'volume' that depends on the unit of (mass|time).*kill \(1/d\)"),
        (WrongSlope(), study(), r"slope of state 'volume' that depends on the unit of length"),
        (Growth(), study(drug="g", kind="bolus"), r"action 'drug': found 'g' in the study, expected 'mg/d'"),
        (OneCompartment(), study("mg/L", "mg", "bolus"), r"action 'dose': found no action 'dose'.*one of olaparib"),
        (Gompertz(), study(drug="g", kind="bolus"), r"found boluses in the study \(olaparib\).*impulse\(\) uses"),
    ],
)
def test_a_mismatch_is_named(mechanism: Mechanism, spec: WorldSpec, message: str):
    with pytest.raises(BadInput, match=message):
        wire(Declared(mechanism), spec)


def test_names_that_differ_are_declared():
    spec = study("mg/L", "mg", "bolus")
    wiring = wire(Declared(OneCompartment(), actions={"dose": "olaparib", "infusion": None}), spec)
    assert (wiring.channel, wiring.action) == ((0,), (0, -1))
    with pytest.raises(BadInput, match="found channel 'level', expected one of volume"):
        wire(Declared(Growth(), channels={"level": "size"}), study())


def test_the_batch_is_a_category():
    traits = (Trait("age", "yr"), Trait("line", kind="category", levels=("a", "b", "c")))
    assert wire(Declared(Growth(), batch="line"), study(traits=traits)).batch == (1, 4)
    with pytest.raises(BadInput, match="found batch 'age', expected a category: line"):
        wire(Declared(Growth(), batch="age"), study(traits=traits))


def test_other_equations_have_another_fingerprint():
    assert fingerprint(Declared(Growth())) == fingerprint(Declared(Growth()))
    others = (Declared(WrongSlope()), Declared(Growth(growth=0.2)), Declared(Growth(), batch="line"))
    assert len({fingerprint(d) for d in (Declared(Growth()), *others)}) == 4
