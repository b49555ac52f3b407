"""From a dose to its target: three compartments, drug that is not bound to protein, and a target that it engages.

Drug (mg) is taken by mouth, as a bolus into a vein (`iv`) or infused; the share `unbound` of what is in the blood is
free to bind. The target T is made at its `turnover` d, so that without drug it is 1, and C is drug on target:

    T' = d - (d + on) T + off C,    C' = on T - (e + off) C

with e the turnover of what is bound (above d: a drug that has its target degraded). `reversible-engagement`: on =
off (c / K)^hill, so that without turnover C / (T + C) comes to Hill's c^hill / (K^hill + c^hill); with hill 1, off / K
is the association rate. `covalent-engagement`: on = kinact c / (K + c) and off = 0 (Singh et al. 2011,
doi:10.1038/nrd3410; Strelow 2017, doi:10.1177/1087057116671509). c is the free concentration; the target takes up too
little drug to lower it. Turnover and occupancy: Tonge 2018, doi:10.1021/acschemneuro.7b00185.

Amounts of drug move exactly, by the exponential of their equations. At a constant concentration the target does, too;
between the ends of a step, c is taken as what it is at its start for one half and at its end for the other, an error
of second order that keeps everything positive, however fast drug binds.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from biowm.core.mechanism import Mechanism, Scalar, constant, parameter, vector
from biowm.core.registry import register

from .linear import propagator, two_states

_AMOUNTS: dict[str, str] = {"depot": "mg", "central": "mg", "tissue": "mg", "deep": "mg"}
_N = len(_AMOUNTS)
_LEAST = 1e-6  # of the affinity: below it a power of a concentration goes on by the first power


class _Disposed(Mechanism):
    """Parameters of three compartments and three routes; an exchange of 0 leaves its compartment out."""

    clock = "h"
    actions: ClassVar = {"oral": "mg", "iv": "mg", "infusion": "mg/h"}
    exact = True
    absorption: Scalar = parameter("1/h", start=1.0, low=0.0, varies="subject")
    bioavailability: Scalar = parameter("1", start=0.6, low=0.0, high=1.0)
    clearance: Scalar = parameter("L/h", start=8.0, low=0.0, varies="subject")
    volume: Scalar = parameter("L", start=40.0, low=0.0, varies="subject")
    exchange: Scalar = parameter("L/h", start=6.0, low=0.0)
    tissue_volume: Scalar = parameter("L", start=60.0, low=0.0)
    deep_exchange: Scalar = parameter("L/h", start=1.0, low=0.0)
    deep_volume: Scalar = parameter("L", start=100.0, low=0.0)

    def impulse(self, state: Float[Array, " s"], dose: Float[Array, " a"]) -> Float[Array, " s"]:
        return state.at[0].add(self.bioavailability * dose[0]).at[1].add(dose[1])


@register("mechanisms", "three-compartment")
class ThreeCompartment(_Disposed):
    """A depot, blood, tissue and a deep tissue; all empty at first. Source: Gabrielsson and Weiner (2016)."""

    states: ClassVar = _AMOUNTS
    channels: ClassVar = {"concentration": "mg/L"}

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        absorbed, blood = self.absorption * state[0], state[1] / self.volume
        tissue = self.exchange * (blood - state[2] / self.tissue_volume)
        deep = self.deep_exchange * (blood - state[3] / self.deep_volume)
        return -absorbed, action[2] + absorbed - self.clearance * blood - tissue - deep, tissue, deep

    def flow(self, state: Float[Array, " s"], action: Float[Array, " a"], dt: Scalar, steps: int) -> Float[Array, " s"]:
        return _carried(propagator(self, action, dt), state)

    def read(self, state: Float[Array, " s"]) -> Float[Array, " c"]:
        return state[1:2] / self.volume


class _Engagement(_Disposed):
    """Compartments and a target; all are empty of drug at first, and the target is at 1."""

    states: ClassVar = {**_AMOUNTS, "free": "1", "bound": "1"}
    channels: ClassVar = {"concentration": "mg/L", "free": "1"}
    substep = 0.25
    unbound: Scalar = parameter("1", start=0.05, low=0.0, high=1.0)
    affinity: Scalar = parameter("mg/L", start=0.02, low=0.0, varies="subject")
    turnover: Scalar = parameter("1/h", start=0.035, low=0.0, varies="subject")
    bound_turnover: Scalar = parameter("1/h", start=0.07, low=0.0)

    @abstractmethod
    def binding(self, concentration: Float[Array, ""]) -> tuple[Float[Array, ""], Scalar]:
        """Rates (1/h) at which free target is engaged and let go, at a free concentration (mg/L)."""

    def start(self, reading: Float[Array, " c"]) -> Float[Array, " s"]:
        return jnp.zeros(_N + 2, reading.dtype).at[_N].set(1.0)

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        free, bound = state[_N:]
        on, off = self.binding(self.free_concentration(state))
        taken = on * free - off * bound
        body = vector(self.disposition().slope(state[:_N], action))
        return *body, self.turnover * (1 - free) - taken, taken - self.bound_turnover * bound

    def flow(self, state: Float[Array, " s"], action: Float[Array, " a"], dt: Scalar, steps: int) -> Float[Array, " s"]:
        h = dt / steps
        matrix = propagator(self.disposition(), action, h)

        def body(x: Float[Array, " s"], _: None) -> tuple[Float[Array, " s"], None]:
            before = self.engage(x, h / 2)
            carried = jnp.concatenate([_carried(matrix, before[:_N]), before[_N:]])
            return self.engage(carried, h / 2), None

        return jax.lax.scan(body, state, None, length=steps)[0]

    def read(self, state: Float[Array, " s"]) -> tuple[Float[Array, ""], ...]:
        return state[1] / self.volume, state[_N]

    def engage(self, state: Float[Array, " s"], dt: Scalar) -> Float[Array, " s"]:
        """The states after `dt` (h) in which the drug stays where it is and binds: exactly."""
        on, off = self.binding(self.free_concentration(state))
        lost = (self.turnover, self.bound_turnover)
        target = two_states(on, off, self.turnover, lost, state[_N:], dt)
        return jnp.concatenate([state[:_N], target])

    def free_concentration(self, state: Float[Array, " s"]) -> Float[Array, ""]:
        """Drug that is free to bind (mg/L)."""
        return self.unbound * state[1] / self.volume

    def occupancy(self, state: Float[Array, " s"]) -> Float[Array, ""]:
        """Share of the present target that is bound."""
        return state[_N + 1] / (state[_N] + state[_N + 1])

    def disposition(self) -> ThreeCompartment:
        """The compartments alone."""
        return ThreeCompartment(
            self.absorption,
            self.bioavailability,
            self.clearance,
            self.volume,
            self.exchange,
            self.tissue_volume,
            self.deep_exchange,
            self.deep_volume,
        )


@register("mechanisms", "reversible-engagement")
class ReversibleEngagement(_Engagement):
    """Drug binds and leaves, at the rate `off`; half of the target is bound at a free concentration of `affinity`.

    Source: doi:10.1021/acschemneuro.7b00185.
    """

    off: Scalar = parameter("1/h", start=0.5, low=0.0, varies="subject")
    hill: Scalar = constant("1", 1.0)

    def binding(self, concentration: Float[Array, ""]) -> tuple[Float[Array, ""], Scalar]:
        ratio = concentration / self.affinity
        # The first power apart: at no drug, any other has no gradient.
        return self.off * ratio * jnp.maximum(ratio, _LEAST) ** (self.hill - 1), self.off


@register("mechanisms", "covalent-engagement")
class CovalentEngagement(_Engagement):
    """Drug stays on target for good: inactivated at up to `inactivation` (kinact), half of that at `affinity` (K_I).

    Source: doi:10.1177/1087057116671509.
    """

    inactivation: Scalar = parameter("1/h", start=5.0, low=0.0, varies="subject")

    def binding(self, concentration: Float[Array, ""]) -> tuple[Float[Array, ""], Scalar]:
        return self.inactivation * concentration / (self.affinity + concentration), 0.0


def _carried(matrix: Float[Array, "m m"], amounts: Float[Array, " n"]) -> Float[Array, " n"]:
    """Amounts moved by a propagator; what rounding makes less than none is none."""
    return jnp.maximum(matrix[:-1, :-1] @ amounts + matrix[:-1, -1], 0.0)
