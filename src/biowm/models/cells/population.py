"""A population of cells as its genes are read on average: the world of its latent mean, seen through its loadings."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Observation, State, World


class PopulationBelief(Belief):
    """The inner world's belief, and the context whose controls the population started as."""

    t: Float[Array, ""]
    inner: Belief
    context: Int[Array, ""]


class PopulationState(State):
    """One draw of the above."""

    t: Float[Array, ""]
    inner: State
    context: Int[Array, ""]


class Population(World):
    """Mean log1p expression = controls of the context + loadings @ latent response, read with the spread `left`.

    `inner` moves the response, `loadings` are orthonormal, `controls` and `traits` belong to the contexts that have
    control cells; another context starts as the nearest of them. Readings of genes update the response by projection.
    """

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    inner: World
    loadings: Float[Array, "g k"]
    controls: Float[Array, "c g"]
    traits: Float[Array, "c s"]
    left: Float[Array, " g"]

    def begin(self, traits: Float[Array, " s"]) -> PopulationBelief:
        known = jnp.where(jnp.isnan(traits), 0.0, traits)
        apart = jnp.sum((known[None] - self.traits) ** 2, -1)
        return PopulationBelief(jnp.zeros(()), self.inner.begin(traits), jnp.argmin(apart).astype(jnp.int32))

    def update(
        self, belief: PopulationBelief, reading: Float[Array, " g"], mask: Bool[Array, " g"]
    ) -> PopulationBelief:
        whole = jnp.all(mask)  # a projection needs every gene
        response = jnp.where(
            whole, (jnp.where(mask, reading, 0.0) - self.controls[belief.context]) @ self.loadings, 0.0
        )
        inner = self.inner.update(belief.inner, response, jnp.broadcast_to(whole, response.shape))
        return PopulationBelief(belief.t, inner, belief.context)

    def predict(self, belief: PopulationBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> PopulationBelief:
        return PopulationBelief(belief.t + dt, self.inner.predict(belief.inner, action, dt), belief.context)

    def draw(self, belief: PopulationBelief, *, key: PRNGKeyArray) -> PopulationState:
        inner = eqx.tree_at(lambda b: b.t, belief.inner, belief.t)
        return PopulationState(belief.t, self.inner.draw(inner, key=key), belief.context)

    def step(
        self, state: PopulationState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> PopulationState:
        inner = self.inner.step(state.inner, action, dt, key=key)
        return PopulationState(state.t + dt, inner, state.context)

    def impulse(self, state, dose: Float[Array, " a"]):  # a belief or a state
        return eqx.tree_at(lambda s: s.inner, state, self.inner.impulse(state.inner, dose))

    def observe(self, state: PopulationState) -> Observation:
        inner = eqx.tree_at(lambda s: s.t, state.inner, state.t)
        seen = self.inner.observe(inner)
        mean = jnp.maximum(self.controls[state.context] + self.loadings @ seen.mean, 0.0)
        return Observation(mean, jnp.sqrt(self.left**2 + (self.loadings**2) @ (seen.sd**2)))
