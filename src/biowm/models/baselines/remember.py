"""Worlds whose belief is the history itself: what the rules that jump to a horizon share."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from biowm.core.world import Belief, World

from ..tracker import Frame, Tracker, advance, fresh, give, read


class History(Belief):
    """The tracker of the history."""

    t: Float[Array, ""]
    tracker: Tracker


class Remembering(World):
    """A world that remembers and infers nothing: its belief is carried by the tracker alone."""

    frame: eqx.AbstractVar[Frame]

    def begin(self, traits: Float[Array, " s"]) -> History:
        return History(jnp.zeros(()), fresh(self.frame, traits))

    def predict(self, belief: History, action: Float[Array, " a"], dt: Float[Array, ""]) -> History:
        return History(belief.t + dt, advance(belief.tracker, self.frame, action, dt))

    def impulse(self, state, dose: Float[Array, " a"]):  # a History, or a state with a tracker
        return eqx.tree_at(lambda s: s.tracker, state, give(state.tracker, self.frame, dose))

    def update(self, belief: History, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> History:
        z = self.frame.scale.to_z(jnp.where(mask, reading, 1.0))
        return History(belief.t, read(belief.tracker, z, mask))


def at_origin(tracker: Tracker) -> Tracker:
    """The tracker as a forecast starts: doses count from now on."""
    nothing = (jnp.zeros_like(tracker.given), jnp.zeros_like(tracker.felt))
    return eqx.tree_at(lambda s: (s.given, s.felt), tracker, nothing)
