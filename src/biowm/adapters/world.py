"""A world made of three NumPy functions: encode a history, step a latent, decode what is read."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Moment, Observation, State, World

from .functions import Decode, Encode, Functions, Step
from .histories import given


class Told(Belief):
    """The last rows of a history (at the end, `kept` of them), and what was given since the last of them.

    `rate` is the mean over `since`, `bolus` the total in it, `pending` is given at this very instant.
    """

    t: Float[Array, ""]
    times: Float[Array, " m"]
    readings: Float[Array, "m d"]
    seen: Bool[Array, "m d"]
    actions: Float[Array, "m a"]
    traits: Float[Array, " s"]
    since: Float[Array, ""]
    rate: Float[Array, " a"]
    bolus: Float[Array, " a"]
    pending: Float[Array, " a"]


class Latent(State):
    """A latent of the foreign model, and the boluses given at this very instant."""

    t: Float[Array, ""]
    latent: Float[Array, " w"]
    pending: Float[Array, " a"]


@final
class Foreign(World):
    """Any model that encodes, steps and decodes; its chances come from the keys of the rollout.

    Futures have no gradient by dose: nobody knows what happens inside the functions.
    """

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    functions: Functions = eqx.field(static=True)
    noise: int = eqx.field(static=True)
    memory: int = eqx.field(static=True)

    def begin(self, traits: Float[Array, " s"]) -> Told:
        m, d, a = self.memory, len(self.spec.channels), len(self.spec.actions)
        none = jnp.zeros(a)
        rows = (jnp.zeros(m), jnp.zeros((m, d)), jnp.zeros((m, d), bool), jnp.zeros((m, a)))
        return Told(jnp.zeros(()), *rows, jnp.asarray(traits, jnp.float32), jnp.zeros(()), none, none, none)

    def update(self, belief: Told, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> Told:
        def push(rows: Array, row: Array) -> Array:
            return jnp.concatenate([rows[1:], row[None]])

        nothing = jnp.zeros_like(belief.rate)
        return Told(
            belief.t,
            push(belief.times, belief.t),
            push(belief.readings, jnp.where(mask, reading, 0.0)),
            push(belief.seen, mask),
            push(belief.actions, given(self.spec, belief.rate, belief.bolus, belief.since)),
            belief.traits, jnp.zeros(()), nothing, nothing, belief.pending,
        )  # fmt: skip

    def predict(self, belief: Told, action: Float[Array, " a"], dt: Float[Array, ""]) -> Told:
        since = belief.since + dt
        share = jnp.where(since > 0, dt / jnp.where(since > 0, since, 1.0), 0.0)
        return eqx.tree_at(
            lambda b: (b.t, b.since, b.rate, b.bolus, b.pending),
            belief,
            (
                belief.t + dt, since, belief.rate + (action - belief.rate) * share, belief.bolus + belief.pending,
                jnp.zeros_like(belief.pending),
            ),
        )  # fmt: skip

    def draw(self, belief: Told, *, key: PRNGKeyArray) -> Latent:
        readings = jnp.where(belief.seen, belief.readings, jnp.nan)
        first = belief.times[jnp.argmax(belief.seen.any(1))]
        times = jnp.where(belief.seen.any(1), belief.times, first)
        latent = self._call(self.functions.encoded, times, readings, belief.actions, belief.traits)
        action = given(self.spec, belief.rate, belief.bolus, belief.since)
        return Latent(belief.t, self._stepped(latent, action, belief.since, key), belief.pending)

    def step(self, state: Latent, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray) -> Latent:
        action = given(self.spec, action, state.pending, dt)
        return Latent(state.t + dt, self._stepped(state.latent, action, dt, key), jnp.zeros_like(state.pending))

    def impulse(self, state: Moment, dose: Float[Array, " a"]) -> Moment:
        return eqx.tree_at(lambda s: s.pending, state, replace_fn=lambda pending: pending + dose)

    def observe(self, state: Latent) -> Observation:
        reading = jax.ShapeDtypeStruct((len(self.spec.channels),), jnp.float32)
        mean, sd = jax.pure_callback(
            self.functions.decoded, (reading, reading), state.latent, vmap_method="broadcast_all"
        )
        return Observation(mean, sd)

    def _stepped(self, latent: Array, action: Array, dt: Array, key: PRNGKeyArray) -> Float[Array, " w"]:
        return self._call(self.functions.stepped, latent, action, dt, jax.random.normal(key, (self.noise,)))

    def _call(self, function, *rows: Array) -> Float[Array, " w"]:
        shape = jax.ShapeDtypeStruct((self.functions.latent,), jnp.float32)
        return jax.pure_callback(function, shape, *rows, vmap_method="broadcast_all")


def wrap(
    spec: WorldSpec,
    spacing: float,
    *,
    encode: Encode,
    step: Step,
    decode: Decode,
    noise: int = 0,
    memory: int = 64,
    name: str = "foreign",
) -> World:
    """A world from three functions on batches of NumPy rows (float32), written in whatever framework.

    Args:
        spec: what the model is about; the world bears `name` in reports.
        spacing: the longest step that the model was made for, in the spec's clock.
        encode: (times [B, T], readings [B, T, D], actions [B, T, A], traits [B, S]) -> latent [B, W]; rows as in
            `Histories`, with T = `memory`: older rows are forgotten, a subject that nothing was read of is all NaN.
        step: (latent [B, W], action [B, A], dt [B], noise [B, N]) -> latent [B, W]; `action` is what is given in the
            next `dt` (mean rate, or the total of boluses), `noise` standard normal: all the chance there is.
        decode: latent [B, W] -> mean [B, D] of a reading, or (mean, sd), in the channels' units.
        noise: N.
        memory: rows of the history that are kept.
        name: what the model is called.

    Rows must not depend on each other, nor on anything but the arguments. Raises: BadInput where a function raises or
    does not return what it should on two made-up histories; the same later, inside `plain_errors`.
    """
    spec = replace(spec, name=name)
    trial = Functions(name, encode, step, decode, -1, len(spec.channels), float(spacing))
    latent = trial.encoded(*_made_up(spec, spacing, memory))
    functions = replace(trial, latent=latent.shape[1])
    dt = np.full(2, spacing, np.float32)
    after = functions.stepped(latent, np.zeros((2, len(spec.actions))), dt, np.zeros((2, noise)))
    functions.decoded(after)
    return Foreign(spec, float(spacing), functions, noise, memory)


def _made_up(spec: WorldSpec, spacing: float, memory: int) -> tuple[np.ndarray, ...]:
    """Two histories without treatment: one of two rows, and one of a single row."""
    middle = [
        min(max(1.0, -np.inf if c.low is None else c.low), np.inf if c.high is None else c.high) for c in spec.channels
    ]
    readings = np.full((2, memory, len(spec.channels)), np.nan)
    readings[:, -1], readings[0, -2:] = middle, middle
    times = np.zeros((2, memory))
    times[0, -1] = spacing
    return times, readings, np.zeros((2, memory, len(spec.actions))), np.zeros((2, spec.trait_width))
