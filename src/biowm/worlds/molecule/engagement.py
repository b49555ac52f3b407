"""From a dose to its target in virtual subjects: concentration of a drug, and target that it leaves free.

Drug and target follow the equations of `core/mechanisms/engagement.py`, the same that fits use; how subjects differ is
in `subjects.py`. Readings err by a factor.

A world of cells is driven through `Engagement.ports`: what a state shows to the scale above it is the free
concentration (mg/L), the share of target that is occupied and how much target there is, all as of the state's time `t`
(h). They hold until the next step: who couples scales takes steps as short as what it couples asks for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.mechanism import parameters, vector, with_parameters
from biowm.core.mechanisms.engagement import CovalentEngagement, ReversibleEngagement
from biowm.core.registry import register
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.core.world import Belief, Moment, Observation, State, World

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


class EngagementState(State):
    """One subject: parameters `own`; drug (mg) in four places and target free and bound; errors of a reading (log)."""

    t: Float[Array, ""]
    own: Float[Array, " p"]
    body: Float[Array, "6"]
    error: Float[Array, "2"]


class EngagementBelief(Belief):
    """Which of k subjects this is (log `weight`); of each drug, target and errors of a reading (`doubt`: their sd)."""

    t: Float[Array, ""]
    own: Float[Array, "k p"]
    body: Float[Array, "k 6"]
    weight: Float[Array, " k"]
    error: Float[Array, "k 2"]
    doubt: Float[Array, "2"]


@register("worlds", "molecule/engagement")
class Engagement(World):
    """Concentration and free target while drug is taken by mouth, injected or infused.

    A new subject is one of `subjects`, each equally likely, without drug and with its target at 1. Bodies follow
    `equations`, and each reading errs anew by a log-normal factor of sd `noise`, so the belief is exact: Bayes' rule
    over subjects. Without arguments a drug that binds reversibly; `covalent()` makes one that stays.
    Sources: doi:10.1021/acschemneuro.7b00185, doi:10.1177/1087057116671509.
    """

    spec: WorldSpec = eqx.field(static=True, default=SPEC)
    spacing: float = eqx.field(static=True, default=4.0)
    noise: tuple[float, float] = eqx.field(static=True, default=NOISE)
    equations: ReversibleEngagement | CovalentEngagement = eqx.field(default_factory=ReversibleEngagement)
    subjects: Float[Array, "k p"] = eqx.field(
        default_factory=lambda: jnp.asarray(virtual_subjects(ReversibleEngagement(), REVERSIBLE))
    )

    def begin(self, traits: Float[Array, " 0"]) -> EngagementBelief:
        k = len(self.subjects)
        body = jnp.zeros((k, 6)).at[:, 4].set(1.0)
        even = jnp.full(k, -math.log(k), jnp.float32)
        return EngagementBelief(jnp.zeros(()), self.subjects, body, even, jnp.zeros((k, 2)), jnp.asarray(self.noise))

    def update(self, belief: EngagementBelief, reading: Float[Array, "2"], mask: Bool[Array, "2"]) -> EngagementBelief:
        """Weigh the subjects by how likely they are read so; a second reading at one time is the first."""
        dim, doubt = jnp.asarray(_DIM), jnp.maximum(belief.doubt, 1e-3)

        def one(
            own: Float[Array, " p"], body: Float[Array, "6"], error: Float[Array, "2"]
        ) -> tuple[Float[Array, "2"], Float[Array, ""]]:
            found = jnp.log(jnp.maximum(reading, dim)) - jnp.log(jnp.maximum(self.levels(own, body), dim))
            likely = jnp.where(mask, norm.logpdf(found, error, doubt), 0.0)
            return jnp.where(mask, found, error), jnp.sum(likely)

        error, likely = jax.vmap(one)(belief.own, belief.body, belief.error)
        weight = belief.weight + likely
        left = jnp.where(mask, 0.0, belief.doubt)
        return EngagementBelief(belief.t, belief.own, belief.body, weight - logsumexp(weight), error, left)

    def predict(self, belief: EngagementBelief, action: Float[Array, "3"], dt: Float[Array, ""]) -> EngagementBelief:
        body = jax.vmap(lambda own, x: self.carry(own, x, action, dt))(belief.own, belief.body)
        calm = jnp.zeros_like(belief.error)
        return EngagementBelief(belief.t + dt, belief.own, body, belief.weight, calm, jnp.asarray(self.noise))

    def draw(self, belief: EngagementBelief, *, key: PRNGKeyArray) -> EngagementState:
        who, luck = jax.random.split(key)
        k = jax.random.categorical(who, belief.weight)
        error = belief.error[k] + belief.doubt * jax.random.normal(luck, (2,))
        return EngagementState(belief.t, belief.own[k], belief.body[k], error)

    def step(
        self, state: EngagementState, action: Float[Array, "3"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> EngagementState:
        error = jnp.asarray(self.noise) * jax.random.normal(key, (2,))
        return EngagementState(state.t + dt, state.own, self.carry(state.own, state.body, action, dt), error)

    def impulse(self, state: Moment, dose: Float[Array, "3"]) -> Moment:
        """Drug by mouth into the depot, drug into a vein into the blood."""
        if isinstance(state, EngagementBelief):
            body = jax.vmap(lambda own, x: self.of(own).impulse(x, dose))(state.own, state.body)
        else:
            assert isinstance(state, EngagementState)
            body = self.of(state.own).impulse(state.body, dose)
        return eqx.tree_at(lambda s: s.body, state, body)

    def observe(self, state: EngagementState) -> Observation:
        """Concentration and free target with their errors."""
        return Observation(self.levels(state.own, state.body) * jnp.exp(state.error), jnp.zeros(2))

    def ports(self, state: EngagementState) -> Ports:
        """What a scale above this one may be driven by, now and without error."""
        own = self.of(state.own)
        return Ports(own.free_concentration(state.body), own.occupancy(state.body), jnp.sum(state.body[4:]))

    def of(self, own: Float[Array, " p"]) -> ReversibleEngagement | CovalentEngagement:
        """The equations with one subject's parameters."""
        mine = with_parameters(self.equations, dict(zip(parameters(self.equations), own, strict=True)))
        assert isinstance(mine, ReversibleEngagement | CovalentEngagement)
        return mine

    def levels(self, own: Float[Array, " p"], body: Float[Array, "6"]) -> Float[Array, "2"]:
        """True concentration (mg/L) and free target of a subject."""
        return vector(self.of(own).read(body))

    def carry(
        self, own: Float[Array, " p"], body: Float[Array, "6"], action: Float[Array, "3"], dt: Float[Array, ""]
    ) -> Float[Array, "6"]:
        """Drug and target of a subject after `dt` (h) under constant rates."""
        return vector(self.of(own).flow(body, action, dt, _STEPS))


def covalent() -> Engagement:
    """The same for a drug that stays on its target for good."""
    equations = CovalentEngagement()
    return Engagement(equations=equations, subjects=jnp.asarray(virtual_subjects(equations, COVALENT)))
