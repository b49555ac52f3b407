"""A world whose answers are known in closed form: dx = (-k x + u) dt + noise, with an unknown k per subject."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.core.world import Belief, Observation, State, World


class DecayBelief(Belief):
    t: Float[Array, ""]
    x: Float[Array, " d"]


class DecayState(State):
    t: Float[Array, ""]
    x: Float[Array, " d"]


SPEC = WorldSpec(
    name="decay",
    clock="d",
    channels=(Channel("x", "mg/L", link="real"),),
    actions=(ActionCard("u", "mg/d", "rate", 0.0, 10.0), ActionCard("shot", "mg", "bolus", 0.0, 10.0)),
)


class Decay(World):
    spec: WorldSpec = eqx.field(static=True, default=SPEC)
    spacing: float = eqx.field(static=True, default=1.0)
    k: float = 0.2
    sigma: float = 0.1

    def begin(self, traits):
        return DecayBelief(jnp.zeros(()), jnp.ones(1))

    def update(self, belief, reading, mask):
        return DecayBelief(belief.t, jnp.where(mask, reading, belief.x))

    def predict(self, belief, action, dt):
        gone = jnp.exp(-self.k * dt)
        return DecayBelief(belief.t + dt, belief.x * gone + action[:1] / self.k * (1 - gone))

    def draw(self, belief, *, key):
        return DecayState(belief.t, belief.x)

    def step(self, state, action, dt, *, key):
        gone = jnp.exp(-self.k * dt)
        mean = state.x * gone + action[:1] / self.k * (1 - gone)
        sd = self.sigma * jnp.sqrt((1 - gone**2) / (2 * self.k))
        return DecayState(state.t + dt, mean + sd * jax.random.normal(key, (1,)))

    def impulse(self, state, dose):
        return eqx.tree_at(lambda s: s.x, state, state.x + dose[1:])

    def observe(self, state):
        return Observation(state.x, jnp.zeros(1))
