"""What simulators of virtual subjects share: equations with parameters of each subject's own, read with an error.

A new subject is one of many, each equally likely. Bodies follow the equations, and each reading errs anew by a
log-normal factor, so that the belief is exact: Bayes' rule over subjects.
"""

from __future__ import annotations

import math
from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.mechanism import Mechanism, vector
from biowm.core.world import Belief, Moment, Observation, State

from .open import Open


class VirtualState(State):
    """One subject: what is its `own` (parameters first), the states of the equations, and errors of a reading (log)."""

    t: Float[Array, ""]
    own: Float[Array, " p"]
    body: Float[Array, " s"]
    error: Float[Array, " d"]


class VirtualBelief(Belief):
    """Which of k subjects this is (log `weight`); of each its states and errors of a reading (`doubt`: their sd)."""

    t: Float[Array, ""]
    own: Float[Array, "k p"]
    body: Float[Array, "k s"]
    weight: Float[Array, " k"]
    error: Float[Array, "k d"]
    doubt: Float[Array, " d"]


class Virtual(Open):
    """Virtual `subjects`; readings err by a factor of sd `noise` (log) and are never taken as less than `dim`.

    A step of the world takes `steps` of the equations' flow.
    """

    noise: eqx.AbstractVar[tuple[float, ...]]
    dim: eqx.AbstractVar[tuple[float, ...]]
    steps: eqx.AbstractVar[int]
    subjects: eqx.AbstractVar[Float[Array, "k p"]]

    @abstractmethod
    def of(self, own: Float[Array, " p"]) -> Mechanism:
        """The equations with one subject's parameters."""

    @abstractmethod
    def outlet(self, own: Float[Array, " p"], body: Float[Array, " s"]) -> Float[Array, " o"]:
        """What a subject shows at the outlets."""

    @abstractmethod
    def born(self, own: Float[Array, " p"]) -> Float[Array, " s"]:
        """The states of a subject at time 0."""

    def begin(self, traits: Float[Array, " 0"]) -> VirtualBelief:
        k = len(self.subjects)
        even, calm = jnp.full(k, -math.log(k), jnp.float32), jnp.zeros((k, len(self.noise)))
        return VirtualBelief(
            jnp.zeros(()), self.subjects, jax.vmap(self.born)(self.subjects), even, calm, jnp.asarray(self.noise)
        )

    def update(self, belief: VirtualBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> VirtualBelief:
        """Weigh the subjects by how likely they are read so; a second reading at one time is the first."""
        error, likely = self._read(belief, reading, mask)
        weight = belief.weight + likely
        left = jnp.where(mask, 0.0, belief.doubt)
        return VirtualBelief(belief.t, belief.own, belief.body, weight - logsumexp(weight), error, left)

    def predict(self, belief: VirtualBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> VirtualBelief:
        body = jax.vmap(lambda own, x: self.carry(own, x, action, dt))(belief.own, belief.body)
        calm = jnp.zeros_like(belief.error)
        return VirtualBelief(belief.t + dt, belief.own, body, belief.weight, calm, jnp.asarray(self.noise))

    def draw(self, belief: VirtualBelief, *, key: PRNGKeyArray) -> VirtualState:
        who, luck = jax.random.split(key)
        k = jax.random.categorical(who, belief.weight)
        error = belief.error[k] + belief.doubt * jax.random.normal(luck, belief.doubt.shape)
        return VirtualState(belief.t, belief.own[k], belief.body[k], error)

    def step(
        self, state: VirtualState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> VirtualState:
        error = jnp.asarray(self.noise) * jax.random.normal(key, state.error.shape)
        return VirtualState(state.t + dt, state.own, self.carry(state.own, state.body, action, dt), error)

    def impulse(self, state: Moment, dose: Float[Array, " a"]) -> Moment:
        """What boluses do at once, by the equations."""
        if isinstance(state, VirtualBelief):
            body = jax.vmap(lambda own, x: vector(self.of(own).impulse(x, dose)))(state.own, state.body)
        else:
            assert isinstance(state, VirtualState)
            body = vector(self.of(state.own).impulse(state.body, dose))
        return eqx.tree_at(lambda s: s.body, state, body)

    def observe(self, state: VirtualState) -> Observation:
        """The true levels with their errors."""
        levels = self.levels(state.own, state.body) * jnp.exp(state.error)
        return Observation(levels, jnp.zeros_like(levels))

    def shown(self, moment: State | Belief) -> Float[Array, " o"]:
        if isinstance(moment, VirtualBelief):
            share = jnp.exp(moment.weight - logsumexp(moment.weight))
            return share @ jax.vmap(self.outlet)(moment.own, moment.body)
        assert isinstance(moment, VirtualState)
        return self.outlet(moment.own, moment.body)

    def apart(self, belief: VirtualBelief) -> tuple[VirtualBelief, Float[Array, " k"]]:
        def alone(own: Float[Array, " p"], body: Float[Array, " s"], error: Float[Array, " d"]) -> VirtualBelief:
            return VirtualBelief(belief.t, own[None], body[None], jnp.zeros(1), error[None], belief.doubt)

        return jax.vmap(alone)(belief.own, belief.body, belief.error), belief.weight

    def evidence(self, belief: VirtualBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> Float[Array, ""]:
        return logsumexp(belief.weight + self._read(belief, reading, mask)[1]) - logsumexp(belief.weight)

    def levels(self, own: Float[Array, " p"], body: Float[Array, " s"]) -> Float[Array, " d"]:
        """What a reading of a subject would be without error."""
        return vector(self.of(own).read(body))

    def carry(
        self, own: Float[Array, " p"], body: Float[Array, " s"], action: Float[Array, " a"], dt: Float[Array, ""]
    ) -> Float[Array, " s"]:
        """The states of a subject after `dt` (world clock) under constant rates."""
        return vector(self.of(own).flow(body, action, dt, self.steps))

    def _read(
        self, belief: VirtualBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]
    ) -> tuple[Float[Array, "k d"], Float[Array, " k"]]:
        """Errors of a reading, were it of each of the subjects, and how likely each is read so."""
        dim, doubt = jnp.asarray(self.dim), jnp.maximum(belief.doubt, 1e-3)

        def one(
            own: Float[Array, " p"], body: Float[Array, " s"], error: Float[Array, " d"]
        ) -> tuple[Float[Array, " d"], Float[Array, ""]]:
            found = jnp.log(jnp.maximum(reading, dim)) - jnp.log(jnp.maximum(self.levels(own, body), dim))
            likely = jnp.where(mask, norm.logpdf(found, error, doubt), 0.0)
            return jnp.where(mask, found, error), jnp.sum(likely)

        return jax.vmap(one)(belief.own, belief.body, belief.error)
