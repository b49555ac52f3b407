"""A mechanism of the tiny cohort: its first channel grows and both actions slow it; the second it does not read."""

from __future__ import annotations

import functools
from typing import ClassVar

import jax.numpy as jnp

from biowm.core.mechanism import Mechanism, Scalar, parameter
from biowm.core.mechanism_units import Declared, wire
from biowm.core.registry import register
from biowm.models.trunks.mechanism import Mechanistic
from biowm.models.trunks.mechanism_fit import fit_mechanism

from .tiny import SPEC, tiny_material


@register("mechanisms", "test-burden")
class Burden(Mechanism):
    """burden' = (growth - effect drug) burden; a shot divides it at once."""

    clock = "d"
    states: ClassVar = {"burden": "g/L"}
    channels: ClassVar = {"burden": "g/L"}
    actions: ClassVar = {"drug": "mg/d", "shot": "mg"}
    growth: Scalar = parameter("1/d", start=0.2, varies="subject")
    effect: Scalar = parameter("1/mg", start=0.1, low=0.0, varies="subject")
    kick: Scalar = parameter("1/mg", start=0.2, low=0.0)

    def slope(self, state, action):
        return ((self.growth - self.effect * action[0]) * state[0],)

    def impulse(self, state, dose):
        return state * jnp.exp(-self.kick * dose[1])


@functools.cache
def burden_world() -> Mechanistic:
    """The mechanism fitted to the tiny cohort."""
    ready = tiny_material()
    return fit_mechanism(SPEC, ready.frame, ready.paths, Burden(), wire(Declared(Burden()), SPEC))
