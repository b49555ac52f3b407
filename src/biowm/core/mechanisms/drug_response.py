"""The response of growing cells to a drug that is given and withdrawn: arrest, repair, delayed death, resistance.

Sensitive cells grow towards a capacity that all share. What a drug does follows its level with a memory: exposure E
obeys E' = (drug / (half + drug) - E) / memory, so that the effect comes and goes later than the drug. Exposed cells
are struck (log-kill: at a rate proportional to their number, Skipper et al. 1964) and stop growing; struck cells take
up growth again as far as exposure is over, or are lost while it lasts, and what is lost stays in sight until it is
cleared. A small share of cells feels nothing and grows more slowly. The chain from damage to arrest and death is that
of Strobl et al. 2024 for olaparib (doi:10.1016/j.cels.2024.04.003) with one damaged stage; growth as in `growth`.
"""

from __future__ import annotations

from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from biowm.core.mechanism import ANY, Mechanism, Scalar, parameter
from biowm.core.registry import register

_FULLEST = 1.2  # of the capacity: growth never turns into a faster loss than this


@register("mechanisms", "drug-response")
class DrugResponse(Mechanism):
    """Sensitive, struck, dying and resistant cells under an exposure with memory; the reading is their sum."""

    clock = ANY
    states: ClassVar = {
        "sensitive": "{size}", "struck": "{size}", "dying": "{size}", "resistant": "{size}", "exposure": "1",
    }  # fmt: skip
    channels: ClassVar = {"size": ANY}
    actions: ClassVar = {"drug": ANY}

    growth: Scalar = parameter("1/{clock}", start=0.4, low=0.0, varies="batch")
    capacity: Scalar = parameter("{size}", start=1.5, low=0.0)
    half: Scalar = parameter("{drug}", start=0.3, low=0.0)
    memory: Scalar = parameter("{clock}", start=1.0, low=0.0)
    striking: Scalar = parameter("1/{clock}", start=0.5, low=0.0, varies="batch")
    repair: Scalar = parameter("1/{clock}", start=0.3, low=0.0, varies="batch")
    death: Scalar = parameter("1/{clock}", start=0.05, low=0.0, varies="batch")
    clearance: Scalar = parameter("1/{clock}", start=0.2, low=0.0)
    spared: Scalar = parameter("1", start=0.02, low=0.0, high=1.0)
    resistant_growth: Scalar = parameter("1", start=0.5, low=0.0)

    def start(self, reading: Float[Array, " c"]) -> tuple[Float[Array, ""], ...]:
        (size,) = reading
        none = jnp.zeros_like(size)
        return (1 - self.spared) * size, none, none, self.spared * size, none

    def slope(self, state: Float[Array, " s"], action: Float[Array, " a"]) -> tuple[Float[Array, ""], ...]:
        (sensitive, struck, dying, resistant, exposure), (drug,) = state, action
        cells = sensitive + struck + dying + resistant
        grown = self.growth * (1 - jnp.minimum(cells / self.capacity, _FULLEST))
        hit, lost = self.striking * exposure * sensitive, self.death * exposure * struck
        mended = self.repair * (1 - exposure) * struck
        return (
            grown * sensitive - hit + mended,
            hit - mended - lost,
            lost - self.clearance * dying,
            self.resistant_growth * grown * resistant,
            (drug / (self.half + drug) - exposure) / self.memory,
        )

    def read(self, state: Float[Array, " s"]) -> tuple[Float[Array, ""], ...]:
        sensitive, struck, dying, resistant, _ = state
        return (sensitive + struck + dying + resistant,)
