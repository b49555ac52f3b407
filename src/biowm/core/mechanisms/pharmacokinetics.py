"""What the body does to a drug: one and two compartments, first-order absorption and elimination.

Equations and analytic solutions: Gabrielsson and Weiner, Pharmacokinetic and Pharmacodynamic Data Analysis (2016).
Boluses (mg) and infusions (mg/h) enter the central compartment, an oral dose a depot. `one-compartment` and
`two-compartment` begin with what is read first, for records that open amid a treatment; the naive ones and the oral one
begin empty, for records that hold every dose from the first (as NONMEM tables do).
"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from biowm.core.mechanism import Mechanism, Scalar, parameter
from biowm.core.registry import register


class _One(Mechanism):
    """amount' = infusion - clearance concentration, with concentration = amount / volume."""

    clock = "h"
    states: ClassVar = {"amount": "mg"}
    channels: ClassVar = {"concentration": "mg/L"}
    actions: ClassVar = {"dose": "mg", "infusion": "mg/h"}
    clearance: Scalar = parameter("L/h", start=5.0, low=0.0, varies="subject")
    volume: Scalar = parameter("L", start=40.0, low=0.0, varies="subject")

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        return (action[1] - self.clearance / self.volume * state[0],)

    def impulse(self, state: Float[Array, " s"], dose: Float[Array, " a"]) -> Float[Array, " s"]:
        return state + dose[:1]

    def read(self, state: Float[Array, " s"]) -> Float[Array, " c"]:
        return state / self.volume


class _Two(Mechanism):
    """The same with tissue that takes up the drug and gives it back, at `exchange` in both directions."""

    clock = "h"
    states: ClassVar = {"central": "mg", "tissue": "mg"}
    channels: ClassVar = {"concentration": "mg/L"}
    actions: ClassVar = {"dose": "mg", "infusion": "mg/h"}
    clearance: Scalar = parameter("L/h", start=5.0, low=0.0, varies="subject")
    volume: Scalar = parameter("L", start=20.0, low=0.0, varies="subject")
    exchange: Scalar = parameter("L/h", start=5.0, low=0.0)
    tissue_volume: Scalar = parameter("L", start=40.0, low=0.0)

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        blood, tissue = state[0] / self.volume, state[1] / self.tissue_volume
        flow = self.exchange * (blood - tissue)
        return action[1] - self.clearance * blood - flow, flow

    def impulse(self, state: Float[Array, " s"], dose: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        return state[0] + dose[0], state[1]

    def read(self, state: Float[Array, " s"]) -> Float[Array, " c"]:
        return state[:1] / self.volume


@register("mechanisms", "one-compartment")
class OneCompartment(_One):
    """One compartment that holds, at first, what its first reading says."""

    def start(self, reading: Float[Array, " c"]) -> Float[Array, " s"]:
        return reading * self.volume


@register("mechanisms", "two-compartment")
class TwoCompartment(_Two):
    """Two compartments, at first with the first reading in the blood, and tissue in balance with it."""

    def start(self, reading: Float[Array, " c"]) -> Float[Array, " s"]:
        return jnp.stack([reading[0] * self.volume, reading[0] * self.tissue_volume])


@register("mechanisms", "one-compartment-naive")
class OneCompartmentNaive(_One):
    """One compartment that is empty before the first dose."""


@register("mechanisms", "two-compartment-naive")
class TwoCompartmentNaive(_Two):
    """Two compartments that are empty before the first dose."""


@register("mechanisms", "one-compartment-oral")
class OneCompartmentOral(Mechanism):
    """depot' = -absorption depot; amount' = absorption depot - clearance amount / volume; both empty at first."""

    clock = "h"
    states: ClassVar = {"depot": "mg", "amount": "mg"}
    channels: ClassVar = {"concentration": "mg/L"}
    actions: ClassVar = {"dose": "mg"}
    substep = 0.25
    absorption: Scalar = parameter("1/h", start=1.0, low=0.0, varies="subject")
    clearance: Scalar = parameter("L/h", start=5.0, low=0.0, varies="subject")
    volume: Scalar = parameter("L", start=40.0, low=0.0, varies="subject")

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        absorbed = self.absorption * state[0]
        return -absorbed, absorbed - self.clearance / self.volume * state[1]

    def impulse(self, state: Float[Array, " s"], dose: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        return state[0] + dose[0], state[1]

    def read(self, state: Float[Array, " s"]) -> Float[Array, " c"]:
        return state[1:] / self.volume
