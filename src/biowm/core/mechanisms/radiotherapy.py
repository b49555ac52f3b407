"""The response of a growing cell layer to fractionated radiotherapy: damage by fractions, arrest, and slow death.

Area is shared by healthy cells, cells with sub-lethal damage that cycle twice more (hurt, hurting) and then arrest,
doomed cells (doomed, dying: still cycling; spent: not) and debris that is cleared. A fraction of d Gy spares
exp(-damage (d + bend d^2)) of the healthy cells (linear-quadratic, doi:10.1259/0007-1285-62-740-679). Of those struck,
and of those hurt before, a share is doomed that grows in the same way with the dose and may depend on how dense the
layer is. Area does not jump at a fraction: cells that die stay until they are cleared. A wider form of the
two-compartment model of Liu et al. 2022, doi:10.3389/fonc.2022.811415.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from biowm.core.mechanism import Mechanism, Scalar, parameter
from biowm.core.registry import register

_FULLEST = 1.2  # of the capacity: growth never turns into a faster loss than this
_DENSITY = 0.25  # the density at which the lethal share is as written


@register("mechanisms", "radiotherapy")
class Radiotherapy(Mechanism):
    """Eight shares of the area under fractions of radiation; each batch has its own growth, killing and clearance."""

    clock = "h"
    states = dict.fromkeys(("healthy", "hurt", "hurting", "arrested", "doomed", "dying", "spent", "debris"), "1")
    channels: ClassVar[Mapping[str, str]] = {"area": "1"}
    actions: ClassVar[Mapping[str, str]] = {"radiation": "Gy"}
    substep = 6.0

    growth: Scalar = parameter("1/h", start=0.04, low=0.0, varies="batch")
    capacity: Scalar = parameter("1", start=0.95, low=0.0)
    damage: Scalar = parameter("1/Gy", start=0.15, low=0.0, varies="batch")
    damage_bend: Scalar = parameter("1/Gy", start=0.2, low=0.0)
    lethal: Scalar = parameter("1/Gy", start=0.02, low=0.0, varies="batch")
    lethal_bend: Scalar = parameter("1/Gy", start=0.5, low=0.0)
    crowding: Scalar = parameter("1", start=0.0)
    again: Scalar = parameter("1", start=1.0, low=0.0)
    hurt_growth: Scalar = parameter("1", start=0.7, low=0.0)
    arrest: Scalar = parameter("1/h", start=0.04, low=0.0)
    doomed_growth: Scalar = parameter("1", start=0.5, low=0.0)
    decay: Scalar = parameter("1/h", start=0.05, low=0.0)
    clearance: Scalar = parameter("1/h", start=0.02, low=0.0, varies="batch")
    recovery: Scalar = parameter("1/h", start=0.003, low=0.0)
    late_death: Scalar = parameter("1/h", start=0.002, low=0.0)
    arrested_growth: Scalar = parameter("1", start=0.05, low=0.0)

    def start(self, reading: Float[Array, " c"]) -> tuple[Float[Array, ""], ...]:
        (area,) = reading
        return area, *(jnp.zeros_like(area) for _ in range(7))

    def impulse(self, state: Float[Array, " s"], dose: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        (healthy, hurt, hurting, arrested, doomed, dying, spent, debris), (d,) = state, dose
        struck = -jnp.expm1(-self.damage * d * (1 + self.damage_bend * d)) * healthy
        density = jnp.exp(self.crowding * (jnp.sum(state) - _DENSITY))
        hits = self.lethal * d * (1 + self.lethal_bend * d) * density
        killed, killed_again = -jnp.expm1(-hits), -jnp.expm1(-self.again * hits)
        spared = 1 - killed_again
        more = killed * struck + killed_again * (hurt + hurting + arrested)
        left = (spared * hurt + (1 - killed) * struck, spared * hurting, spared * arrested)
        return healthy - struck, *left, doomed + more, dying, spent, debris

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        healthy, hurt, hurting, arrested, doomed, dying, spent, debris = state
        g = self.growth * (1 - jnp.minimum(jnp.sum(state) / self.capacity, _FULLEST))
        hurt_g, doomed_g = self.hurt_growth * g, self.doomed_growth * g
        return (
            g * healthy + self.recovery * arrested,
            (hurt_g - self.arrest) * hurt,
            hurt_g * hurting + self.arrest * (hurt - hurting),
            self.arrest * hurting + (self.arrested_growth * g - self.recovery - self.late_death) * arrested,
            (doomed_g - self.decay) * doomed,
            doomed_g * dying + self.decay * (doomed - dying),
            self.decay * (dying - spent),
            self.decay * spent + self.late_death * arrested - self.clearance * debris,
        )

    def read(self, state: Float[Array, " s"]) -> tuple[Float[Array, ""], ...]:
        return (jnp.sum(state),)
