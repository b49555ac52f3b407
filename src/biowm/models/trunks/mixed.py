"""The default trunk: mixed-effects linear dynamics on transformed increments, with its exact belief.

Per channel j, between its last reading and the next, `gap` later:

    increment_j / gap^pace = F W_j + B theta_ij + noise
    theta_ij ~ N(0, D_j = R_j R_j'),   noise ~ N(0, s2_j gap^(power - 2 pace))

with F, B rows of the feature library (B random per subject: the belief is their exact posterior).
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Observation, State, World

from ..features import features, with_traits
from ..tracker import Frame, Tracker, advance, fresh, give, read

_LIMIT = 8.0


class MixedBelief(Belief):
    """Tracker, and the posterior N(m, L L') of each channel's random effects.

    The square root L is carried (Potter's filter, doi:10.2514/3.3090): it stays a covariance in single
    precision, and drawing needs no factorisation.
    """

    t: Float[Array, ""]
    tracker: Tracker
    m: Float[Array, "d p"]
    L: Float[Array, "d p p"]


class MixedState(State):
    """Tracker and one draw of the random effects."""

    t: Float[Array, ""]
    tracker: Tracker
    theta: Float[Array, "d p"]


class Due(NamedTuple):
    """A channel's next increment: gap^pace, and of the increment over that the mean's two parts and the noise's sd.

    `fixed` is the part of the mean that everybody shares, `own` the subject's.
    """

    scale: Float[Array, " d"]
    fixed: Float[Array, " d"]
    own: Float[Array, " d"]
    sd: Float[Array, " d"]


@register("models", "Mixed")
class Mixed(World):
    """Mixed-effects dynamics (see the module); `lam` is the Box-Cox power of each channel's increments.

    Every variant has the whole feature library, with zeros where it leaves a block out, so that all of them
    run through the same compiled program.
    """

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    frame: Frame
    pace: Float[Array, ""]
    power: Float[Array, ""]
    lam: Float[Array, " d"]
    W: Float[Array, "d q"]
    root: Float[Array, "d p p"]
    s2: Float[Array, " d"]

    def begin(self, traits: Float[Array, " s"]) -> MixedBelief:
        d, p = self.root.shape[:2]
        return MixedBelief(jnp.zeros(()), fresh(self.frame, traits), jnp.zeros((d, p)), self.root)

    def predict(self, belief: MixedBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> MixedBelief:
        tracker = advance(belief.tracker, self.frame, action, dt)
        return eqx.tree_at(lambda b: (b.t, b.tracker), belief, (belief.t + dt, tracker))

    def impulse(self, state, dose: Float[Array, " a"]):
        return eqx.tree_at(lambda s: s.tracker, state, give(state.tracker, self.frame, dose))

    def update(self, belief: MixedBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> MixedBelief:
        tracker = belief.tracker
        z = self.frame.scale.to_z(jnp.where(mask, reading, 1.0))
        row = features(tracker)
        y, _ = target(self.frame, tracker, z, self.lam)
        scale, s2 = self._scales(tracker)
        fixed = jnp.sum(with_traits(row, tracker) * self.W, axis=1)
        learn = mask & (tracker.seen > 0) & (tracker.age > 0)

        def kalman(m, L, b, y, s2, go):
            v = b @ L
            spread = v @ v + s2
            gain = L @ v / spread
            shrink = 1 / (1 + jnp.sqrt(s2 / spread))
            return jnp.where(go, m + gain * (y - b @ m), m), jnp.where(go, L - shrink * jnp.outer(gain, v), L)

        m, L = jax.vmap(kalman)(belief.m, belief.L, row, y / scale - fixed, s2, learn)
        return MixedBelief(belief.t, read(tracker, z, mask), m, L)

    def draw(self, belief: MixedBelief, *, key: PRNGKeyArray) -> MixedState:
        k_theta, k_start = jax.random.split(key)
        tracker, frame = belief.tracker, self.frame
        theta = belief.m + jnp.einsum("dij,dj->di", belief.L, jax.random.normal(k_theta, belief.m.shape))
        unseen = frame.start_mean + frame.start_sd * jax.random.normal(k_start, tracker.z.shape)
        unseen = jnp.clip(unseen, frame.scale.lowest, frame.scale.highest)
        never = tracker.seen == 0
        tracker = eqx.tree_at(
            lambda s: (s.z, s.prev), tracker,
            (jnp.where(never, unseen, tracker.z), jnp.where(never, unseen, tracker.prev)),
        )  # fmt: skip
        return MixedState(belief.t, tracker, theta)

    def step(
        self, state: MixedState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> MixedState:
        tracker = advance(state.tracker, self.frame, action, dt)
        due = self.expect(tracker, state.theta)
        noise = due.sd * jax.random.normal(key, due.sd.shape)
        tracker = self.land(tracker, due.scale * (due.fixed + due.own + noise))
        return MixedState(state.t + dt, tracker, state.theta)

    def expect(self, tracker: Tracker, theta: Float[Array, "d p"]) -> Due:
        """What is due over the gap behind `tracker`, given the random effects."""
        row = features(tracker)
        scale, s2 = self._scales(tracker)
        fixed = jnp.sum(with_traits(row, tracker) * self.W, axis=1)
        return Due(scale, fixed, jnp.sum(row * theta, axis=1), jnp.sqrt(s2))

    def land(self, tracker: Tracker, y: Float[Array, " d"]) -> Tracker:
        """The tracker after every channel has risen by the transformed increment `y`, and was read."""
        z = tracker.z + self._increment(jnp.clip(y, -_LIMIT, _LIMIT)) / self.frame.scale.sd
        z = jnp.clip(z, self.frame.scale.lowest, self.frame.scale.highest)
        return read(tracker, z, jnp.ones_like(z, bool))

    def observe(self, state: MixedState) -> Observation:
        value = self.frame.scale.to_x(state.tracker.z)
        return Observation(value, jnp.zeros_like(value))

    def _scales(self, tracker: Tracker) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """gap^pace, and the variance of the noise of the divided increment."""
        gap = jnp.maximum(tracker.age, 1e-3)
        return gap**self.pace, self.s2 * gap ** (self.power - 2 * self.pace)

    def _increment(self, y: Float[Array, " d"]) -> Float[Array, " d"]:
        """The inverse Box-Cox transform, in link units."""
        lam = jnp.where(self.lam > 0, self.lam, 1.0)
        curved = jnp.log(jnp.maximum(1 + lam * y, 1e-6)) / lam
        return jnp.where(self.lam > 0, curved, y)


def target(
    frame: Frame, tracker: Tracker, z: Float[Array, " d"], lam: Float[Array, " d"]
) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
    """Box-Cox transform of the increment from the last reading to `z`, and its log Jacobian in link units."""
    rise = (z - tracker.z) * frame.scale.sd
    safe = jnp.where(lam > 0, lam, 1.0)
    y = jnp.where(lam > 0, jnp.expm1(jnp.clip(safe * rise, -20.0, 20.0)) / safe, rise)
    return jnp.clip(y, -_LIMIT, _LIMIT), lam * rise
