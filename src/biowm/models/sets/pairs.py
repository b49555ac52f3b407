"""The trunk of pairwise interventions: a Gaussian process over pairs of members, told the responses to each alone.

Its tables hold mean and variance of every pair, seen or not. Of a larger set it says the sum of its members and of what
each two of them do beyond that; of a member alone, what was read of it.
"""

from __future__ import annotations

from itertools import combinations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.path import Path
from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Observation, State

from ..scale import Scale
from ..tracker import Frame
from .course import Course, SetFrame, go_on, untouched
from .known import Known, SetWorld, courses_at
from .readings import reading


class PairBelief(Belief):
    """The course so far; mean and variance of where the condition lies in what the tables leave open (prior: 0, 1)."""

    t: Float[Array, ""]
    course: Course
    place: Float[Array, " d"]
    doubt: Float[Array, " d"]


class PairState(State):
    """The course so far, and one draw of where the condition lies (standard deviations from the mean)."""

    t: Float[Array, ""]
    course: Course
    place: Float[Array, " d"]


@register("models", "PairTrunk")
class PairTrunk(SetWorld):
    """Tables in standardised link space: `base` without a member, what each `single` adds, what each two add `beyond`.

    `single_var` and `pair_var` are variances of the response to one and to two members, `noise` that of a reading. Of a
    set of more than `together` members, the first so many are looked at for what they do beyond their sum.
    """

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    together: int = eqx.field(static=True)
    frame: Frame
    screen: SetFrame
    base: Float[Array, " d"]
    single: Float[Array, "a d"]
    beyond: Float[Array, "a a d"]
    single_var: Float[Array, "a d"]
    pair_var: Float[Array, "a a d"]
    noise: Float[Array, " d"]

    def begin(self, traits: Float[Array, " s"]) -> PairBelief:
        zero = jnp.zeros_like(self.base)
        return PairBelief(jnp.zeros(()), untouched(self.screen, traits), zero, jnp.ones_like(self.base))

    def update(self, belief: PairBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> PairBelief:
        mean, sd = self._response(belief.course)
        z = self.frame.scale.to_z(jnp.where(mask, reading, 1.0))
        gain = belief.doubt * sd / (belief.doubt * sd**2 + self.noise)
        place = belief.place + gain * (z - mean - sd * belief.place)
        doubt = belief.doubt * (1 - gain * sd)
        return PairBelief(
            belief.t, belief.course, jnp.where(mask, place, belief.place), jnp.where(mask, doubt, belief.doubt)
        )

    def predict(self, belief: PairBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> PairBelief:
        course = go_on(belief.course, self.screen, action, dt)
        return PairBelief(belief.t + dt, course, belief.place, belief.doubt)

    def draw(self, belief: PairBelief, *, key: PRNGKeyArray) -> PairState:
        place = belief.place + jnp.sqrt(belief.doubt) * jax.random.normal(key, belief.place.shape)
        return PairState(belief.t, belief.course, place)

    def step(
        self, state: PairState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> PairState:
        return PairState(state.t + dt, go_on(state.course, self.screen, action, dt), state.place)

    def impulse(self, state, dose: Float[Array, " a"]):  # a belief or a state; members of a set are held, not given
        return state

    def observe(self, state: PairState) -> Observation:
        mean, sd = self._response(state.course)
        return reading(self.frame, mean + sd * state.place, self.noise)

    def scale_of(self) -> Scale:
        return self.frame.scale

    def known(self, paths: Path, at: Int[np.ndarray, "n h"]) -> Known:
        course = courses_at(self.screen, paths, len(self.spec.actions), at)
        mean, sd = (np.asarray(a, np.float64) for a in jax.jit(jax.vmap(jax.vmap(self._response)))(course))
        apart = np.moveaxis(sd, -1, 0)
        noise = np.asarray(self.noise, np.float64)[:, None, None] * np.eye(at.shape[1])
        return Known(mean, np.zeros((*apart.shape, 0)), apart, noise)

    def _response(self, course: Course) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """Mean and standard deviation (of what is not known, noise left out) of the set in force."""
        on = (course.dose != 0).astype(jnp.float32)
        left, who, there = on, [], []
        for _ in range(self.together):  # a few reductions in place of a product with the whole table
            k = jnp.argmax(left)
            who.append(k)
            there.append(left[k])
            left = left.at[k].set(0.0)
        i, j = (jnp.stack([who[m] for m in side]) for side in zip(*combinations(range(self.together), 2), strict=True))
        both = jnp.stack([there[m] * there[n] for m, n in combinations(range(self.together), 2)])
        variance = jnp.where(jnp.sum(on) == 1, on @ self.single_var, both @ self.pair_var[i, j])
        return self.base + on @ self.single + both @ self.beyond[i, j], jnp.sqrt(variance)
