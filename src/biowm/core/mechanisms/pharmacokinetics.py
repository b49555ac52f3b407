"""What the body does to a drug: one and two compartments, into a vein or by mouth, elimination of first order.

Equations and analytic solutions: Gabrielsson and Weiner, Pharmacokinetic and Pharmacodynamic Data Analysis (2016).
Boluses (mg) and infusions (mg/h) enter the central compartment, an oral dose a depot. `one-compartment` and
`two-compartment` begin with what is read first, for records that open amid a treatment. The naive and the oral ones
begin empty, for records that hold every dose from the first (as NONMEM tables do), and are exact: readings miss them by
their own noise and by what is the subject's own. The equations are linear, so all of them flow by their solution.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from biowm.core.mechanism import Mechanism, Scalar, parameter
from biowm.core.registry import register

from .linear import through


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

    def flow(
        self, state: Float[Array, " s"], action: Float[Array, " a"], dt: Scalar, steps: int
    ) -> tuple[Float[Array, ""], ...]:
        rate = self.clearance / self.volume
        return (state[0] * jnp.exp(-rate * dt) - action[1] * jnp.expm1(-rate * dt) / rate,)

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

    def flow(
        self, state: Float[Array, " s"], action: Float[Array, " a"], dt: Scalar, steps: int
    ) -> tuple[Float[Array, ""], ...]:
        m = _modes(self.clearance, self.volume, self.exchange, self.tissue_volume)
        kept = [state[0] * j + state[1] * k for j, k in zip(m.blood(dt), m.tissue(dt), strict=True)]
        given = (-action[1] * jnp.expm1(-rate * dt) / rate for rate in (m.fast, m.slow))
        central, tissue = m.entered(*given)
        return kept[0] + central, kept[1] + tissue

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

    exact = True


@register("mechanisms", "two-compartment-naive")
class TwoCompartmentNaive(_Two):
    """Two compartments that are empty before the first dose."""

    exact = True


@register("mechanisms", "one-compartment-oral")
class OneCompartmentOral(Mechanism):
    """depot' = -absorption depot; amount' = absorption depot - clearance amount / volume; both empty at first."""

    clock = "h"
    states: ClassVar = {"depot": "mg", "amount": "mg"}
    channels: ClassVar = {"concentration": "mg/L"}
    actions: ClassVar = {"dose": "mg"}
    exact = True
    absorption: Scalar = parameter("1/h", start=1.0, low=0.0, varies="subject")
    clearance: Scalar = parameter("L/h", start=5.0, low=0.0, varies="subject")
    volume: Scalar = parameter("L", start=40.0, low=0.0, varies="subject")

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        absorbed = self.absorption * state[0]
        return -absorbed, absorbed - self.clearance / self.volume * state[1]

    def flow(
        self, state: Float[Array, " s"], action: Float[Array, " a"], dt: Scalar, steps: int
    ) -> tuple[Float[Array, ""], ...]:
        ka, rate = self.absorption, self.clearance / self.volume
        absorbed = ka * state[0] * through(ka, rate, dt)
        return state[0] * jnp.exp(-ka * dt), state[1] * jnp.exp(-rate * dt) + absorbed

    def impulse(self, state: Float[Array, " s"], dose: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        return state[0] + dose[0], state[1]

    def read(self, state: Float[Array, " s"]) -> Float[Array, " c"]:
        return state[1:] / self.volume


@register("mechanisms", "two-compartment-oral")
class TwoCompartmentOral(Mechanism):
    """A depot that empties into the blood of two compartments; all empty at first."""

    clock = "h"
    states: ClassVar = {"depot": "mg", "central": "mg", "tissue": "mg"}
    channels: ClassVar = {"concentration": "mg/L"}
    actions: ClassVar = {"dose": "mg"}
    exact = True
    absorption: Scalar = parameter("1/h", start=1.0, low=0.0, varies="subject")
    clearance: Scalar = parameter("L/h", start=5.0, low=0.0, varies="subject")
    volume: Scalar = parameter("L", start=20.0, low=0.0, varies="subject")
    exchange: Scalar = parameter("L/h", start=5.0, low=0.0)
    tissue_volume: Scalar = parameter("L", start=40.0, low=0.0)

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        absorbed, blood = self.absorption * state[0], state[1] / self.volume
        flow = self.exchange * (blood - state[2] / self.tissue_volume)
        return -absorbed, absorbed - self.clearance * blood - flow, flow

    def flow(
        self, state: Float[Array, " s"], action: Float[Array, " a"], dt: Scalar, steps: int
    ) -> tuple[Float[Array, ""], ...]:
        ka, m = self.absorption, _modes(self.clearance, self.volume, self.exchange, self.tissue_volume)
        kept = [state[1] * j + state[2] * k for j, k in zip(m.blood(dt), m.tissue(dt), strict=True)]
        central, tissue = m.entered(*(ka * state[0] * through(ka, rate, dt) for rate in (m.fast, m.slow)))
        return state[0] * jnp.exp(-ka * dt), kept[0] + central, kept[1] + tissue

    def impulse(self, state: Float[Array, " s"], dose: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        return state[0] + dose[0], state[1], state[2]

    def read(self, state: Float[Array, " s"]) -> Float[Array, " c"]:
        return state[1:2] / self.volume


class _Modes(NamedTuple):
    """Two compartments fall by two exponentials, `fast` and `slow` (1/h); out, back: from blood to tissue and back.

    `share` is what of an amount in the blood falls fast.
    """

    fast: Scalar
    slow: Scalar
    share: Scalar
    out: Scalar
    back: Scalar

    def blood(self, dt: Scalar) -> tuple[Scalar, Scalar]:
        """What is in blood and tissue `dt` after a unit was in the blood."""
        return self.entered(jnp.exp(-self.fast * dt), jnp.exp(-self.slow * dt))

    def tissue(self, dt: Scalar) -> tuple[Scalar, Scalar]:
        """What is in blood and tissue `dt` after a unit was in the tissue."""
        fast, slow = jnp.exp(-self.fast * dt), jnp.exp(-self.slow * dt)
        central = self.back * (slow - fast) / (self.fast - self.slow)
        return central, (1 - self.share) * fast + self.share * slow

    def entered(self, fast: Scalar, slow: Scalar) -> tuple[Scalar, Scalar]:
        """What is in blood and tissue, of what each mode keeps of all that entered the blood."""
        return self.share * fast + (1 - self.share) * slow, self.out * (slow - fast) / (self.fast - self.slow)


def _modes(clearance: Scalar, volume: Scalar, exchange: Scalar, tissue_volume: Scalar) -> _Modes:
    gone, out, back = clearance / volume, exchange / volume, exchange / tissue_volume
    total = gone + out + back
    fast = 0.5 * (total + jnp.sqrt(jnp.square(gone + out - back) + 4 * out * back))
    slow = gone * back / fast
    return _Modes(fast, slow, (fast - back) / (fast - slow), out, back)
