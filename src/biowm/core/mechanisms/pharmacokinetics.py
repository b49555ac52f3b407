"""What the body does to a drug: one and two compartments, first-order elimination, doses into the blood.

Equations and analytic solutions: Gabrielsson and Weiner, Pharmacokinetic and Pharmacodynamic Data Analysis (2016).
Boluses (mg) and infusions (mg/h) enter the central compartment; an absorbed dose is an infusion, or a mechanism of
your own with a depot.
"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from biowm.core.mechanism import Mechanism, Scalar, parameter
from biowm.core.registry import register


@register("mechanisms", "one-compartment")
class OneCompartment(Mechanism):
    """amount' = infusion - clearance concentration, with concentration = amount / volume."""

    clock = "h"
    states: ClassVar = {"amount": "mg"}
    channels: ClassVar = {"concentration": "mg/L"}
    actions: ClassVar = {"dose": "mg", "infusion": "mg/h"}
    clearance: Scalar = parameter("L/h", start=5.0, low=0.0, varies="subject")
    volume: Scalar = parameter("L", start=40.0, low=0.0, varies="subject")

    def start(self, reading: Float[Array, " c"]) -> Float[Array, " s"]:
        return reading * self.volume

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        return (action[1] - self.clearance / self.volume * state[0],)

    def impulse(self, state: Float[Array, " s"], dose: Float[Array, " a"]) -> Float[Array, " s"]:
        return state + dose[:1]

    def read(self, state: Float[Array, " s"]) -> Float[Array, " c"]:
        return state / self.volume


@register("mechanisms", "two-compartment")
class TwoCompartment(Mechanism):
    """The same with tissue that takes up the drug and gives it back, at `exchange` in both directions."""

    clock = "h"
    states: ClassVar = {"central": "mg", "tissue": "mg"}
    channels: ClassVar = {"concentration": "mg/L"}
    actions: ClassVar = {"dose": "mg", "infusion": "mg/h"}
    clearance: Scalar = parameter("L/h", start=5.0, low=0.0, varies="subject")
    volume: Scalar = parameter("L", start=20.0, low=0.0, varies="subject")
    exchange: Scalar = parameter("L/h", start=5.0, low=0.0)
    tissue_volume: Scalar = parameter("L", start=40.0, low=0.0)

    def start(self, reading: Float[Array, " c"]) -> Float[Array, " s"]:
        """The first reading in the blood, and tissue in balance with it."""
        return jnp.stack([reading[0] * self.volume, reading[0] * self.tissue_volume])

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        blood, tissue = state[0] / self.volume, state[1] / self.tissue_volume
        flow = self.exchange * (blood - tissue)
        return action[1] - self.clearance * blood - flow, flow

    def impulse(self, state: Float[Array, " s"], dose: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        return state[0] + dose[0], state[1]

    def read(self, state: Float[Array, " s"]) -> Float[Array, " c"]:
        return state[:1] / self.volume
