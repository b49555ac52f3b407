"""Residuals: what is learned on top of a trunk, shrunk to zero away from the data; and the world that adds the two.

The trunk runs as it is. The residual says, before every reading to come, by how much the standardised link-space
reading will rise besides, and how far that is to be trusted; what it has said since the last real reading is added to
what the trunk would read. A residual alone is a residual on a trunk that says little, such as persistence.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Observation, State, World

from .tracker import Frame, Tracker, advance, fresh, give, read

Latent = PyTree[Array]


class Change(NamedTuple):
    """By how much the reading rises besides (standardised link units), and the share of it that is believed."""

    delta: Float[Array, " d"]
    shrink: Float[Array, " d"]


class Residual(eqx.Module):
    """What a residual must offer; all methods are pure and for one subject.

    `encode` takes in a real reading, the call answers for the gap that `ahead` (the tracker just before a reading, real
    or simulated) has behind it: its `age` is the gap, `given` and `felt` what was given over it, `total` all doses.
    `shrink` lies in [0, 1] and goes to 0 away from the training data.
    """

    @abstractmethod
    def blank(self) -> Latent:
        """The latent of a subject of whom nothing has been read."""

    @abstractmethod
    def encode(self, latent: Latent, ahead: Tracker, z: Float[Array, " d"], mask: Bool[Array, " d"]) -> Latent:
        """The latent after the real readings `z` (standardised link space) of the channels in `mask`."""

    @abstractmethod
    def __call__(self, latent: Latent, ahead: Tracker) -> Change:
        """The extra rise over the gap behind `ahead`, per channel."""

    def draw(self, latent: Latent, *, key: PRNGKeyArray) -> Latent:
        """One draw of what the latent leaves open; unless a residual says more, nothing."""
        return latent


class CorrectedBelief(Belief):
    """The trunk's belief, the tracker of the history and the residual's latent."""

    t: Float[Array, ""]
    trunk: Belief
    tracker: Tracker
    latent: Latent


class CorrectedState(State):
    """The trunk's state, the tracker of the corrected readings, the latent, and the correction so far."""

    t: Float[Array, ""]
    trunk: State
    tracker: Tracker
    latent: Latent
    offset: Float[Array, " d"]


@register("models", "Corrected")
class Corrected(World):
    """A trunk whose readings are shifted, in link space, by what a residual learned on top of it."""

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    frame: Frame
    trunk: World
    residual: Residual

    def begin(self, traits: Float[Array, " s"]) -> CorrectedBelief:
        start = self.trunk.begin(traits)
        return CorrectedBelief(start.t, start, fresh(self.frame, traits), self.residual.blank())

    def update(self, belief: CorrectedBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> CorrectedBelief:
        trunk = self.trunk.update(_now(belief), reading, mask)
        z = self.frame.scale.to_z(jnp.where(mask, reading, 1.0))
        latent = self.residual.encode(belief.latent, belief.tracker, z, mask)
        return CorrectedBelief(belief.t, trunk, read(belief.tracker, z, mask), latent)

    def predict(self, belief: CorrectedBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> CorrectedBelief:
        trunk = self.trunk.predict(_now(belief), action, dt)
        return CorrectedBelief(belief.t + dt, trunk, advance(belief.tracker, self.frame, action, dt), belief.latent)

    def strides(self, belief: CorrectedBelief, dt: Float[Array, ""]) -> Int[Array, ""]:
        return self.trunk.strides(_now(belief), dt)

    def draw(self, belief: CorrectedBelief, *, key: PRNGKeyArray) -> CorrectedState:
        trunk = self.trunk.draw(_now(belief), key=key)
        latent = self.residual.draw(belief.latent, key=jax.random.fold_in(key, 1))
        tracker = belief.tracker
        z = jnp.where(tracker.seen > 0, tracker.z, self.frame.scale.to_z(self.trunk.observe(trunk).mean))
        prev = jnp.where(tracker.seen > 0, tracker.prev, z)
        tracker = eqx.tree_at(lambda s: (s.z, s.prev), tracker, (z, prev))
        return CorrectedState(belief.t, trunk, tracker, latent, jnp.zeros_like(z))

    def step(
        self, state: CorrectedState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> CorrectedState:
        trunk = self.trunk.step(_now(state), action, dt, key=key)
        ahead = advance(state.tracker, self.frame, action, dt)
        change = self.residual(state.latent, ahead)
        offset = state.offset + change.shrink * change.delta
        z = self._shifted(self.trunk.observe(trunk).mean, offset)
        tracker = read(ahead, z, jnp.ones_like(z, bool))
        return CorrectedState(state.t + dt, trunk, tracker, state.latent, offset)

    def impulse(self, state, dose: Float[Array, " a"]):
        parts = (self.trunk.impulse(_now(state), dose), give(state.tracker, self.frame, dose))
        return eqx.tree_at(lambda s: (s.trunk, s.tracker), state, parts)

    def observe(self, state: CorrectedState) -> Observation:
        seen = self.trunk.observe(state.trunk)

        def shift(x: Float[Array, " d"]) -> Float[Array, " d"]:
            return self.frame.scale.to_x(self._shifted(x, state.offset))

        return Observation(*jax.jvp(shift, (seen.mean,), (seen.sd,)))  # a small error grows as the shift does

    def _shifted(self, x: Float[Array, " d"], offset: Float[Array, " d"]) -> Float[Array, " d"]:
        scale = self.frame.scale
        return jnp.clip(scale.to_z(x) + offset, scale.lowest, scale.highest)


def _now(moment: CorrectedBelief | CorrectedState):
    """The trunk's part with the clock of the whole (the filter sets that alone)."""
    return eqx.tree_at(lambda p: p.t, moment.trunk, moment.t)
