"""Growth that slows towards a capacity, with log-kill by a drug: logistic and Gompertz.

Sources: Verhulst 1838; Gompertz 1825, as used for tumours by Laird 1964 (doi:10.1038/bjc.1964.55); log-kill: the rate
of killing is proportional to the number of cells (Skipper et al. 1964). Compared by Benzekry et al. 2014,
doi:10.1371/journal.pcbi.1003800.
"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from biowm.core.mechanism import ANY, Mechanism, Scalar, parameter
from biowm.core.registry import register

_LEAST = 1e-9  # of the typical size: the logarithm of nothing is not asked for


@register("mechanisms", "gompertz")
class Gompertz(Mechanism):
    """size' = growth size ln(capacity / size) - kill drug size, each subject with its own rates and capacity."""

    clock = ANY
    states: ClassVar = {"size": "{size}"}
    channels: ClassVar = {"size": ANY}
    actions: ClassVar = {"drug": ANY}
    growth: Scalar = parameter("1/{clock}", start=0.05, low=0.0, varies="subject")
    capacity: Scalar = parameter("{size}", start=4.0, low=0.0, varies="batch")
    kill: Scalar = parameter("1/({drug}*{clock})", start=0.1, low=0.0, varies="subject")

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        (size,), (drug,) = state, action
        rise = self.growth * jnp.log(self.capacity / jnp.maximum(size, _LEAST))
        return ((rise - self.kill * drug) * size,)


@register("mechanisms", "logistic")
class Logistic(Mechanism):
    """size' = growth size (1 - size / capacity) - kill drug size, each subject with its own rates and capacity."""

    clock = ANY
    states: ClassVar = {"size": "{size}"}
    channels: ClassVar = {"size": ANY}
    actions: ClassVar = {"drug": ANY}
    growth: Scalar = parameter("1/{clock}", start=0.1, low=0.0, varies="subject")
    capacity: Scalar = parameter("{size}", start=4.0, low=0.0, varies="batch")
    kill: Scalar = parameter("1/({drug}*{clock})", start=0.1, low=0.0, varies="subject")

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        (size,), (drug,) = state, action
        return ((self.growth * (1 - size / self.capacity) - self.kill * drug) * size,)
