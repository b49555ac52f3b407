"""The hierarchical additive trunk: responses linear in the set, with Gaussian weights; exact belief and draws.

A condition's response is the sum of its members' effects, of what all members have in common, of pairs and of
context, each with time (`features`), plus the condition's own departure and reading noise. A belief holds the
condition's readings; a draw is one set of weights from the posterior given the training conditions and these readings
(Matheron's rule, doi:10.48550/arXiv.2002.09309), so that a rollout is a deterministic, coherent path.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.elimination import solved
from biowm.core.path import Path
from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Observation, State

from ..scale import Scale
from ..tracker import Frame
from .course import Course, go_on, untouched
from .features import Design, features, own_features
from .known import Known, SetWorld, courses_at
from .readings import reading


class SetBelief(Belief):
    """The course so far and the last readings: their features, the own ones, and values (standardised; NaN: none)."""

    t: Float[Array, ""]
    course: Course
    rows: Float[Array, "h p"]
    own: Float[Array, "h r"]
    read: Float[Array, "h d"]


class SetState(State):
    """One draw of every weight, and the course so far."""

    t: Float[Array, ""]
    course: Course
    weights: Float[Array, "p d"]
    own: Float[Array, "r d"]


@register("models", "SetTrunk")
class SetTrunk(SetWorld):
    """Posterior of the weights: `mean`, and `root` with covariance root @ root.T, for every channel.

    `base` is added to what the features say, `own_var` are the variances of a condition's own departure (level, in
    time), `noise` that of a reading. A belief holds the last `kept` readings of a condition.
    """

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    kept: int = eqx.field(static=True)
    frame: Frame
    design: Design
    base: Float[Array, " d"]
    mean: Float[Array, "p d"]
    root: Float[Array, "d p p"]
    own_var: Float[Array, "r d"]
    noise: Float[Array, " d"]

    def begin(self, traits: Float[Array, " s"]) -> SetBelief:
        p, d = self.mean.shape
        k, r = self.kept, self.own_var.shape[0]
        empty = jnp.zeros((k, p)), jnp.zeros((k, r)), jnp.full((k, d), jnp.nan)
        return SetBelief(jnp.zeros(()), untouched(self.design.frame, traits), *empty)

    def update(self, belief: SetBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> SetBelief:
        z = jnp.where(mask, self.frame.scale.to_z(jnp.where(mask, reading, 1.0)) - self.base, jnp.nan)
        new = features(self.design, belief.course), own_features(self.design, belief.course), z
        old = belief.rows, belief.own, belief.read
        rows, own, read = (jnp.concatenate([o, n[None]])[1:] for o, n in zip(old, new, strict=True))
        return SetBelief(belief.t, belief.course, rows, own, read)

    def predict(self, belief: SetBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> SetBelief:
        course = go_on(belief.course, self.design.frame, action, dt)
        return eqx.tree_at(lambda b: (b.t, b.course), belief, (belief.t + dt, course))

    def draw(self, belief: SetBelief, *, key: PRNGKeyArray) -> SetState:
        k_weights, k_own, k_noise = jax.random.split(key, 3)
        (p, d), r = self.mean.shape, self.own_var.shape[0]
        z = jax.random.normal(k_weights, (d, p))
        weights = self.mean + jnp.einsum("dpq,dq->pd", self.root, z)
        own = jnp.sqrt(self.own_var) * jax.random.normal(k_own, (r, d))
        if not self.kept:
            return SetState(belief.t, belief.course, weights, own)
        seen = jnp.isfinite(belief.read)
        said = belief.rows @ weights + belief.own @ own
        said = said + jnp.sqrt(self.noise)[None, :] * jax.random.normal(k_noise, belief.read.shape)
        missed = jnp.where(seen, belief.read - said, 0.0)

        def pull(root: Array, own_var: Array, noise: Array, mask: Array, miss: Array) -> tuple[Array, Array]:
            there = mask.astype(jnp.float32)[:, None]
            rows, ours = belief.rows * there, belief.own * there
            half = rows @ root
            spread = half @ half.T + (ours * own_var[None, :]) @ ours.T + jnp.diag(jnp.where(mask, noise, 1.0))
            pushed = solved(spread, miss[:, None])[0][:, 0]
            return root @ (half.T @ pushed), own_var * (ours.T @ pushed)

        more, ours = jax.vmap(pull, in_axes=(0, 1, 0, 1, 1), out_axes=1)(
            self.root, self.own_var, self.noise, seen, missed
        )
        return SetState(belief.t, belief.course, weights + more, own + ours)

    def step(self, state: SetState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray) -> SetState:
        course = go_on(state.course, self.design.frame, action, dt)
        return SetState(state.t + dt, course, state.weights, state.own)

    def impulse(self, state, dose: Float[Array, " a"]):  # a belief or a state; members of a set are held, not given
        return state

    def observe(self, state: SetState) -> Observation:
        z = features(self.design, state.course) @ state.weights
        z = self.base + z + own_features(self.design, state.course) @ state.own
        return reading(self.frame, z, self.noise)

    def scale_of(self) -> Scale:
        return self.frame.scale

    def known(self, paths: Path, at: Int[np.ndarray, "n h"]) -> Known:
        course = courses_at(self.design.frame, paths, len(self.spec.actions), at)
        psi = np.asarray(jax.jit(jax.vmap(jax.vmap(lambda c: features(self.design, c))))(course), np.float64)
        own = np.asarray(jax.vmap(lambda c: own_features(self.design, c))(jax.tree.map(lambda a: a[0], course)))
        mean, root, own_var, noise, base = (
            np.asarray(a, np.float64) for a in (self.mean, self.root, self.own_var, self.noise, self.base)
        )
        half = np.einsum("nhp,dpq->dnhq", psi, root, optimize=True)
        departs = np.einsum("hr,rd,gr->dhg", own, own_var, own) + noise[:, None, None] * np.eye(at.shape[1])
        return Known(base + psi @ mean, half, np.zeros(half.shape[:3]), departs)
