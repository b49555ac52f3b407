"""A mixed trunk refined by a small network, which learned from the trunk's own free-running futures.

At every step the network looks at the tracker and at what the trunk expects of this subject, and answers by how much
the mean of the increment moves and by what factor its noise grows. Unlike a `Residual` it acts inside the step: the
trunk goes on from the corrected reading, and the spread of its futures is corrected too. Where an input leaves the
range it was trained on, both answers shrink to zero and the trunk is left alone.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Observation, World

from ..tracker import Tracker, advance
from ..trunks.mixed import Due, Mixed, MixedBelief, MixedState, draw_luck

_BOUND = 3.0  # of a correction, in sd of the trunk's noise over one spacing, and of the log of the factor
_RATE = 3.0


@register("models", "Net")
class Net(eqx.Module):
    """A perceptron on inputs standardised by `mean` and `sd`, trained where they lie within `low` and `high`."""

    mean: Float[Array, " q"]
    sd: Float[Array, " q"]
    low: Float[Array, " q"]
    high: Float[Array, " q"]
    weights: tuple[Float[Array, "_ _"], ...]
    biases: tuple[Float[Array, " _"], ...]

    def __call__(self, x: Float[Array, " q"]) -> Float[Array, " o"]:
        """The bounded answer, times exp(-excess^2 / 2) for inputs out of range."""
        x = (x - self.mean) / self.sd
        inside = jnp.clip(x, self.low, self.high)
        shrink = jnp.exp(-0.5 * jnp.sum((x - inside) ** 2))
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            inside = jax.nn.silu(inside @ weight + bias)
        return shrink * _BOUND * jnp.tanh((inside @ self.weights[-1] + self.biases[-1]) / _BOUND)


@register("models", "Refined")
class Refined(World):
    """A mixed trunk whose steps are corrected by a network; its belief is the trunk's."""

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    trunk: Mixed
    net: Net

    def begin(self, traits: Float[Array, " s"]) -> MixedBelief:
        return self.trunk.begin(traits)

    def update(self, belief: MixedBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> MixedBelief:
        return self.trunk.update(belief, reading, mask)

    def predict(self, belief: MixedBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> MixedBelief:
        return self.trunk.predict(belief, action, dt)

    def strides(self, belief: MixedBelief, dt: Float[Array, ""]) -> Int[Array, ""]:
        return self.trunk.strides(belief, dt)

    def draw(self, belief: MixedBelief, *, key: PRNGKeyArray) -> MixedState:
        return self.trunk.draw(belief, key=key)

    def step(
        self, state: MixedState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> MixedState:
        noise = jax.random.normal(key, state.tracker.z.shape)
        return self.move(state, action, dt, noise, draw_luck(key, noise))

    def move(
        self, state: MixedState, action: Float[Array, " a"], dt: Float[Array, ""], noise: Float[Array, " d"],
        luck: Float[Array, " d"],
    ) -> MixedState:  # fmt: skip
        """The step under given standard normal `noise` and uniform `luck`, independent between channels."""
        tracker = advance(state.tracker, self.trunk.frame, action, dt)
        due = self.trunk.expect(tracker, state.theta)
        unit = jnp.sqrt(self.trunk.s2)
        shift, widen = jnp.split(self.net(inputs(tracker, due, unit)), 2)
        y = due.scale * (due.fixed + due.own + unit * shift + due.sd * jnp.exp(widen) * self.trunk.together(noise))
        return MixedState(state.t + dt, self.trunk.land(tracker, y, luck), state.theta)

    def impulse(self, state, dose: Float[Array, " a"]):
        return self.trunk.impulse(state, dose)

    def observe(self, state: MixedState) -> Observation:
        return self.trunk.observe(state)


def inputs(tracker: Tracker, due: Due, unit: Float[Array, " d"]) -> Float[Array, " q"]:
    """What the network sees just before a reading: all channels, doses over the gap, and what the trunk expects.

    `unit` is the sd of the trunk's noise over one spacing, in which its expectations are counted.
    """
    gap = jnp.maximum(tracker.age, 1e-3)
    rate = jnp.where(tracker.lag > 0, (tracker.z - tracker.prev) / jnp.maximum(tracker.lag, 1e-3), 0.0)
    parts = (
        tracker.z, jnp.clip(rate, -_RATE, _RATE), jnp.log(gap), tracker.z[:, None] - tracker.mean,
        tracker.given / gap[:, None], tracker.felt / gap[:, None, None], tracker.traits,
        due.fixed / unit, due.own / unit,
    )  # fmt: skip
    return jnp.concatenate([part.reshape(-1) for part in parts])
