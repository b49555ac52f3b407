"""From a dose to its target in virtual subjects: concentration of a drug, and target that it leaves free.

Drug and target follow the equations of `core/mechanisms/engagement.py`, the same that fits use; how subjects differ is
in `subjects.py`. Readings err by a factor.

A world of cells is driven through its outlets (`coupled.py`; `Engagement.ports` by name): what a state shows to the
scale above it is the free concentration (mg/L), the share of target that is occupied and how much target there is,
all as of the state's time `t` (h). They hold until the next step: who couples scales takes steps as short as what it
couples asks for.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from biowm.core.mechanism import parameters, with_parameters
from biowm.core.mechanisms.engagement import CovalentEngagement, ReversibleEngagement
from biowm.core.registry import register
from biowm.core.spec import ActionCard, Channel, WorldSpec

from ..virtual import Virtual, VirtualState
from .subjects import COVALENT, REVERSIBLE, virtual_subjects

NOISE = (0.15, 0.1)  # sd of the logarithm of a reading about the true concentration and free target: assumed
_STEPS = 16  # in a step of the world
_DIM = (1e-3, 1e-2)  # no reading (mg/L, share) is taken as less

SPEC = WorldSpec(
    name="molecule/engagement",
    clock="h",
    channels=(
        Channel("concentration", "mg/L", link="log", low=0.0, floor=_DIM[0]),
        Channel("free", "", link="log", low=0.0, floor=_DIM[1]),
    ),
    actions=(
        ActionCard("oral", "mg", "bolus", 0.0, 400.0),
        ActionCard("iv", "mg", "bolus", 0.0, 200.0),
        ActionCard("infusion", "mg/h", "rate", 0.0, 40.0),
    ),
)


class Ports(NamedTuple):
    """What drives a scale above: free drug (mg/L), share of target occupied, and target there is (1: untreated)."""

    free_concentration: Float[Array, ""]
    occupancy: Float[Array, ""]
    target: Float[Array, ""]


@register("worlds", "molecule/engagement")
class Engagement(Virtual):
    """Concentration and free target while drug is taken by mouth, injected or infused.

    A new subject is one of `subjects`, each equally likely, without drug and with its target at 1. Bodies follow
    `equations`, and each reading errs anew by a log-normal factor of sd `noise`, so the belief is exact: Bayes' rule
    over subjects. Without arguments a drug that binds reversibly; `covalent()` makes one that stays.
    Sources: doi:10.1021/acschemneuro.7b00185, doi:10.1177/1087057116671509.
    """

    spec: WorldSpec = eqx.field(static=True, default=SPEC)
    spacing: float = eqx.field(static=True, default=4.0)
    noise: tuple[float, ...] = eqx.field(static=True, default=NOISE)
    dim: tuple[float, ...] = eqx.field(static=True, default=_DIM)
    steps: int = eqx.field(static=True, default=_STEPS)
    outlets: tuple[tuple[str, str], ...] = eqx.field(
        static=True, default=(("free_concentration", "mg/L"), ("occupancy", ""), ("target", ""))
    )
    equations: ReversibleEngagement | CovalentEngagement = eqx.field(default_factory=ReversibleEngagement)
    subjects: Float[Array, "k p"] = eqx.field(
        default_factory=lambda: jnp.asarray(virtual_subjects(ReversibleEngagement(), REVERSIBLE))
    )

    def ports(self, state: VirtualState) -> Ports:
        """What a scale above this one may be driven by, now and without error."""
        return Ports(*self.outlet(state.own, state.body))

    def outlet(self, own: Float[Array, " p"], body: Float[Array, " s"]) -> Float[Array, "3"]:
        mine = self.of(own)
        return jnp.stack([mine.free_concentration(body), mine.occupancy(body), jnp.sum(body[4:])])

    def of(self, own: Float[Array, " p"]) -> ReversibleEngagement | CovalentEngagement:
        """The equations with one subject's parameters."""
        mine = with_parameters(self.equations, dict(zip(parameters(self.equations), own, strict=True)))
        assert isinstance(mine, ReversibleEngagement | CovalentEngagement)
        return mine

    def born(self, own: Float[Array, " p"]) -> Float[Array, "6"]:
        return self.of(own).start(jnp.zeros(2))


def covalent() -> Engagement:
    """The same for a drug that stays on its target for good."""
    equations = CovalentEngagement()
    return Engagement(equations=equations, subjects=jnp.asarray(virtual_subjects(equations, COVALENT)))
