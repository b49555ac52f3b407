"""The blend: a mixture of worlds; every draw follows one member, so each future is coherent."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Observation, State, World


class BlendBelief(Belief):
    """One belief a member."""

    t: Float[Array, ""]
    parts: tuple[Belief, ...]


class BlendState(State):
    """One state a member, and which of them this draw is."""

    t: Float[Array, ""]
    member: Int[Array, ""]
    parts: tuple[State, ...]


@register("models", "Blend")
class Blend(World):
    """Members with weights that sum to one; a linear pool of their predictive distributions."""

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)
    members: tuple[World, ...]
    weights: Float[Array, " m"]

    def begin(self, traits: Float[Array, " s"]) -> BlendBelief:
        return BlendBelief(jnp.zeros(()), tuple(w.begin(traits) for w in self.members))

    def update(self, belief: BlendBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> BlendBelief:
        parts = tuple(w.update(b, reading, mask) for w, b in zip(self.members, self._now(belief), strict=True))
        return BlendBelief(belief.t, parts)

    def predict(self, belief: BlendBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> BlendBelief:
        parts = tuple(w.predict(b, action, dt) for w, b in zip(self.members, self._now(belief), strict=True))
        return BlendBelief(belief.t + dt, parts)

    def draw(self, belief: BlendBelief, *, key: PRNGKeyArray) -> BlendState:
        k_member, k_draw = jax.random.split(key)
        member = jax.random.categorical(k_member, jnp.log(self.weights)).astype(jnp.int32)
        parts = tuple(w.draw(b, key=k_draw) for w, b in zip(self.members, self._now(belief), strict=True))
        return BlendState(belief.t, member, parts)

    def step(
        self, state: BlendState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> BlendState:
        parts = tuple(w.step(s, action, dt, key=key) for w, s in zip(self.members, self._now(state), strict=True))
        return BlendState(state.t + dt, state.member, parts)

    def impulse(self, state, dose: Float[Array, " a"]):
        parts = tuple(w.impulse(s, dose) for w, s in zip(self.members, self._now(state), strict=True))
        return eqx.tree_at(lambda s: s.parts, state, parts)

    def observe(self, state: BlendState) -> Observation:
        seen = [w.observe(s) for w, s in zip(self.members, state.parts, strict=True)]
        return Observation(
            jnp.stack([o.mean for o in seen])[state.member], jnp.stack([o.sd for o in seen])[state.member]
        )

    def _now(self, moment: BlendBelief | BlendState) -> tuple:
        """The members' parts with the blend's own clock (the filter sets the clock of the whole)."""
        return tuple(eqx.tree_at(lambda p: p.t, part, moment.t) for part in moment.parts)
