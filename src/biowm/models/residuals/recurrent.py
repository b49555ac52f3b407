"""A recurrent network: a subject's history in a hidden state, and futures driven by what that says of the subject.

At every reading a gated recurrent unit (doi:10.3115/v1/D14-1179) takes in the reading, its rise since the last one and
what the tracker knew before. A draw is a trait of the subject, normal about what the hidden state says; from tracker
and trait a perceptron gives each channel's rate and the sd of its noise. Several members are trained apart, and every
draw follows one of them. There is no trunk below it: where an input leaves the range it was trained on, the learned
rate shrinks to zero (the reading persists) and the noise to what is usual.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Observation, State, World

from ..tracker import Frame, Tracker, advance, fresh, give, read

_BOUND = 3.0  # of a rate, in sd of the readings a spacing, and of the log of the factor on its noise
_PACE, _RISE = 3.0, 4.0
_TRAIT_SD = (-5.0, 1.0)  # limits of the log


@register("models", "Span")
class Span(eqx.Module):
    """What standardises the inputs, and the range that they were trained in."""

    mean: Float[Array, " x"]
    sd: Float[Array, " x"]
    low: Float[Array, " x"]
    high: Float[Array, " x"]

    def __call__(self, x: Float[Array, " x"]) -> tuple[Float[Array, " x"], Float[Array, ""]]:
        """Inputs standardised and moved into their range, and exp(-excess^2 / 2)."""
        x = (x - self.mean) / self.sd
        inside = jnp.clip(x, self.low, self.high)
        return inside, jnp.exp(-0.5 * jnp.sum((x - inside) ** 2))


@register("models", "Cell")
class Cell(eqx.Module):
    """One member: the recurrent unit, what its hidden state says of the trait, and the perceptron of the rates.

    Members are stacked along a leading axis M; the methods are of one.
    """

    hear: Float[Array, "*m v g"]
    keep: Float[Array, "*m n g"]
    bias: Float[Array, "*m g"]
    tell: Float[Array, "*m n p"]
    tell_bias: Float[Array, "*m p"]
    weights: tuple[Float[Array, "*m _ _"], ...]
    biases: tuple[Float[Array, "*m _"], ...]
    skip: Float[Array, "*m x o"]
    log_sd: Float[Array, "*m d"]

    def heard(self, v: Float[Array, " v"]) -> Float[Array, " g"]:
        """What the gates are told by the inputs at a reading."""
        return v @ self.hear + self.bias

    def listen(self, h: Float[Array, " n"], heard: Float[Array, " g"]) -> Float[Array, " n"]:
        """The hidden state after a reading."""
        forget, hold, new = jnp.split(heard, 3)
        f, k, n = jnp.split(h @ self.keep, 3)
        hold = jax.nn.sigmoid(hold + k)
        return hold * h + (1 - hold) * jnp.tanh(new + jax.nn.sigmoid(forget + f) * n)

    def trait(self, h: Float[Array, " n"], noise: Float[Array, " q"]) -> Float[Array, " q"]:
        """A trait that the history allows, by standard normal `noise`."""
        mean, log_sd = jnp.split(h @ self.tell + self.tell_bias, 2)
        return mean + jnp.exp(jnp.clip(log_sd, *_TRAIT_SD)) * noise

    def rates(
        self, span: Span, tracker: Tracker, theta: Float[Array, " q"]
    ) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """Rate a spacing and sd of the noise over one spacing, per channel (standardised link space)."""
        inside, near = span(inputs(tracker))
        out = jnp.concatenate([inside, theta])
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            out = jax.nn.silu(out @ weight + bias)
        out = out @ self.weights[-1] + self.biases[-1] + inside @ self.skip
        rate, widen = jnp.split(near * _BOUND * jnp.tanh(out / _BOUND), 2)
        return rate, jnp.exp(self.log_sd + widen)


class RecurrentBelief(Belief):
    """Tracker, and the hidden state of every member."""

    t: Float[Array, ""]
    tracker: Tracker
    h: Float[Array, "m n"]


class RecurrentState(State):
    """Tracker, the member that is followed, and the trait of the subject as it sees it."""

    t: Float[Array, ""]
    tracker: Tracker
    member: Int[Array, ""]
    theta: Float[Array, " q"]


@register("models", "Recurrent")
class Recurrent(World):
    """Members stacked along the leading axis of `cells`; readings are taken as exact."""

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    frame: Frame
    span: Span
    cells: Cell

    def begin(self, traits: Float[Array, " s"]) -> RecurrentBelief:
        members, width = self.cells.keep.shape[:2]
        return RecurrentBelief(jnp.zeros(()), fresh(self.frame, traits), jnp.zeros((members, width)))

    def predict(self, belief: RecurrentBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> RecurrentBelief:
        return RecurrentBelief(belief.t + dt, advance(belief.tracker, self.frame, action, dt), belief.h)

    def impulse(self, state, dose: Float[Array, " a"]):
        return eqx.tree_at(lambda s: s.tracker, state, give(state.tracker, self.frame, dose))

    def update(self, belief: RecurrentBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> RecurrentBelief:
        z = self.frame.scale.to_z(jnp.where(mask, reading, 1.0))
        v = news(self.frame, self.span, belief.tracker, z, mask)
        h = eqx.filter_vmap(lambda cell, h: cell.listen(h, cell.heard(v)))(self.cells, belief.h)
        return RecurrentBelief(belief.t, read(belief.tracker, z, mask), jnp.where(jnp.any(mask), h, belief.h))

    def draw(self, belief: RecurrentBelief, *, key: PRNGKeyArray) -> RecurrentState:
        """One state, now: time that passed since a channel's last reading is stepped over, as `step` would."""
        k_member, k_trait, k_start, k_late = jax.random.split(key, 4)
        member = jax.random.randint(k_member, (), 0, belief.h.shape[0], jnp.int32)
        noise = jax.random.normal(k_trait, (self.cells.tell.shape[-1] // 2,))
        theta = eqx.filter_vmap(lambda cell, h: cell.trait(h, noise))(self.cells, belief.h)[member]
        width = belief.tracker.z.shape
        tracker = entered(self.frame, belief.tracker, jax.random.normal(k_start, width))
        z = self._after(tracker, member, theta, jax.random.normal(k_late, width))
        return RecurrentState(belief.t, read(tracker, z, tracker.age > 0), member, theta)

    def step(
        self, state: RecurrentState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> RecurrentState:
        tracker = advance(state.tracker, self.frame, action, dt)
        z = self._after(tracker, state.member, state.theta, jax.random.normal(key, tracker.z.shape))
        return RecurrentState(state.t + dt, read(tracker, z, jnp.ones_like(z, bool)), state.member, state.theta)

    def observe(self, state: RecurrentState) -> Observation:
        x = self.frame.scale.to_x(state.tracker.z)
        return Observation(x, jnp.zeros_like(x))

    def _after(
        self, tracker: Tracker, member: Int[Array, ""], theta: Float[Array, " q"], noise: Float[Array, " d"]
    ) -> Float[Array, " d"]:
        """Where the channels are now. All members answer: products that draws share beat a look-up of weights each."""
        rate, sd = eqx.filter_vmap(lambda cell: cell.rates(self.span, tracker, theta))(self.cells)
        return landing(self.frame, tracker, rate[member], sd[member], noise)


def inputs(tracker: Tracker) -> Float[Array, " x"]:
    """What a member sees just before a reading: all channels, their gaps, doses over the gap, and traits."""
    gap = jnp.maximum(tracker.age, 1e-3)
    pace = jnp.where(tracker.lag > 0, (tracker.z - tracker.prev) / jnp.maximum(tracker.lag, 1e-3), 0.0)
    parts = (
        tracker.z, jnp.clip(pace, -_PACE, _PACE), jnp.log(jnp.maximum(gap, 0.05)), tracker.z[:, None] - tracker.mean,
        tracker.given / gap[:, None], tracker.felt / gap[:, None, None], tracker.traits,
    )  # fmt: skip
    return jnp.concatenate([part.reshape(-1) for part in parts])


def news(
    frame: Frame, span: Span, before: Tracker, z: Float[Array, " d"], mask: Bool[Array, " d"]
) -> Float[Array, " v"]:
    """What the recurrent unit sees of a reading: values, which there are, their rise, and the inputs just before."""
    z = jnp.clip(z, frame.scale.lowest, frame.scale.highest)
    rise = jnp.clip((z - before.z) / jnp.maximum(before.age, 0.3), -_RISE, _RISE)
    again = mask & (before.seen > 0)
    seen = jnp.where(mask, z, 0.0), mask.astype(jnp.float32), jnp.where(again, rise, 0.0)
    return jnp.concatenate([*seen, span(inputs(before))[0]])


def entered(frame: Frame, tracker: Tracker, noise: Float[Array, " d"]) -> Tracker:
    """The tracker with channels that were never read somewhere among the first readings of the training subjects."""
    z = jnp.clip(frame.start_mean + frame.start_sd * noise, frame.scale.lowest, frame.scale.highest)
    return read(tracker, z, tracker.seen == 0)


def landing(
    frame: Frame, tracker: Tracker, rate: Float[Array, " d"], sd: Float[Array, " d"], noise: Float[Array, " d"]
) -> Float[Array, " d"]:
    """Where every channel is after the gap behind `tracker`."""
    gap = jnp.maximum(tracker.age, 1e-3)
    rise = jnp.clip(gap * rate + jnp.sqrt(gap) * sd * noise, -_RISE, _RISE)
    return jnp.clip(tracker.z + rise, frame.scale.lowest, frame.scale.highest)
