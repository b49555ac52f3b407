"""The default trunk: mixed-effects linear dynamics on transformed increments, with its exact belief.

Per channel j, from its state at the last reading to the next reading, `gap` later:

    increment_j / gap^pace = F W_j + B theta_ij + noise
    theta_ij ~ N(0, D_j = R_j R_j'),   noise ~ N(0, s2_j gap^(power - 2 pace))
    reading_j = state_j + N(0, r_j)    (link units; r = 0: the state is read exactly)

where the channels' noise is correlated (root `mix`; the belief, each channel's own, makes no use of it), and with F, B
rows of the feature library (B random per subject: the belief is their exact posterior, where r > 0 that of the dynamics
linearised at the filtered state, on which the features are computed). Gaps longer than those learned from are bridged:
the belief goes on in steps of about one spacing from what it expects, whose error depends on theta and stays with it.

A channel that repeats its readings holds its last value with a probability of its own (`hold`); the increments are
those that it did not hold, and a reading that was held moves no belief. Where noise fades (`fade`), s2 is times
(1 + time since the start)^fade, as long as anybody was followed (`longest`).
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Observation, State, World

from ..features import features, slopes, with_traits
from ..holds import Hold
from ..tracker import Frame, Tracker, advance, fresh, give, read
from .gaps import cross, parts

_LIMIT = 8.0
_LUCK = 0x686F6C64  # folded into a key for what decides holds, so that the noise is what it is without them
_STEEPEST = 1.5  # most by which an error of the state may grow in one gap: features are linear only nearby
_FLATTEST = 0.1


class MixedBelief(Belief):
    """Tracker, and the posterior of each channel's random effects and of its state at the last reading.

    With e and n standard normal, theta = m + L e and state = tracker.z + (c'e + a n) / sd. Square roots are carried
    (Potter's filter, doi:10.2514/3.3090): they stay covariances in single precision, and drawing needs no
    factorisation. This triangular form is closed: noise of the dynamics enters `a` alone. Just after a reading with
    r = 0, c = a = 0.
    """

    t: Float[Array, ""]
    tracker: Tracker
    m: Float[Array, "d p"]
    L: Float[Array, "d p p"]
    c: Float[Array, "d p"]
    a: Float[Array, " d"]


class Ahead(NamedTuple):
    """The next reading as expected, per channel, in units of the transformed increment.

    `full`: the row of the fixed effects times gap^pace; `bend`: transformed units per link unit; `carry`: what an
    error of the state becomes; `mean`, `c`, `a2`: the increment is mean + c'e + N(0, a2), its reading adds N(0, r).
    """

    full: Float[Array, "d q"]
    bend: Float[Array, " d"]
    carry: Float[Array, " d"]
    mean: Float[Array, " d"]
    c: Float[Array, "d p"]
    a2: Float[Array, " d"]
    r: Float[Array, " d"]


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
    run through the same compiled program. `mix` is the lower root of the correlation of the channels' noise, `reach`
    the longest gap between readings of each channel that is taken as one (spacings, at least 1.5; inf: any).
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
    r: Float[Array, " d"]
    mix: Float[Array, "d d"]
    hold: Hold
    fade: Float[Array, " d"]
    longest: Float[Array, " d"]
    reach: Float[Array, " d"]

    def begin(self, traits: Float[Array, " s"]) -> MixedBelief:
        d, p = self.root.shape[:2]
        none = jnp.zeros((d, p))
        return MixedBelief(jnp.zeros(()), fresh(self.frame, traits), none, self.root, none, jnp.zeros(d))

    def predict(self, belief: MixedBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> MixedBelief:
        later = cross(belief, lambda b: b.tracker, self.bridge, self.frame, self.reach, action, dt)
        return eqx.tree_at(lambda b: b.t, later, belief.t + dt)

    def strides(self, belief: MixedBelief, dt: Float[Array, ""]) -> Int[Array, ""]:
        return parts(belief.tracker, self.frame, self.reach, dt)

    def bridge(self, belief: MixedBelief, far: Bool[Array, " d"]) -> MixedBelief:
        """The channels in `far` are taken to be where they are expected now, with the doubt about that."""
        ahead = self.ahead(belief)
        tracker = read(belief.tracker, self._after(belief.tracker, ahead.mean), far)
        c = jnp.where(far[:, None], ahead.c / ahead.bend[:, None], belief.c)
        a = jnp.where(far, jnp.sqrt(ahead.a2) / ahead.bend, belief.a)
        return eqx.tree_at(lambda b: (b.tracker, b.c, b.a), belief, (tracker, c, a))

    def impulse(self, state, dose: Float[Array, " a"]):
        return eqx.tree_at(lambda s: s.tracker, state, give(state.tracker, self.frame, dose))

    def update(self, belief: MixedBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> MixedBelief:
        tracker, frame = belief.tracker, self.frame
        z = frame.scale.to_z(jnp.where(mask, reading, 1.0))
        learn = mask & (tracker.seen > 0) & (tracker.age > 0) & ~self.hold.held(tracker, z)
        ahead = self.ahead(belief)
        y, _ = target(frame, tracker, z, self.lam)

        def kalman(m, L, c, a2, r, miss):
            noise = a2 + r
            spread = c @ c + noise
            shrink = 1 / (1 + jnp.sqrt(noise / spread))
            e = c * miss / spread
            gain, lead = a2 / noise, L @ c
            state = gain * miss + (1 - gain) * (c @ e)
            rest = (1 - gain) * jnp.sqrt(noise / spread) * c, jnp.sqrt(a2 * r / noise)
            return m + L @ e, L - shrink / spread * jnp.outer(lead, c), *rest, state

        m, L, c, a, state = jax.vmap(kalman)(belief.m, belief.L, ahead.c, ahead.a2, ahead.r, y - ahead.mean)
        start_var = (frame.start_sd * frame.scale.sd) ** 2
        trust = start_var / (start_var + self.r)
        first = frame.start_mean + trust * (z - frame.start_mean)
        later = tracker.z + self._increment(ahead.mean + state) / frame.scale.sd
        now = jnp.where(self.r > 0, jnp.where(learn, later, first), z)  # r = 0: exactly, without rounding

        def known(new, otherwise, old):
            shape = (-1,) + (1,) * (new.ndim - 1)
            return jnp.where(learn.reshape(shape), new, jnp.where(mask.reshape(shape), otherwise, old))

        return MixedBelief(
            belief.t, read(tracker, now, mask), known(m, belief.m, belief.m), known(L, belief.L, belief.L),
            known(c / ahead.bend[:, None], 0.0, belief.c), known(a / ahead.bend, jnp.sqrt(self.r * trust), belief.a),
        )  # fmt: skip

    def ahead(self, belief: MixedBelief) -> Ahead:
        """What the next reading of each channel is expected to be, had it come now."""
        tracker = belief.tracker
        row = features(tracker)
        full = with_traits(row, tracker)
        scale, s2 = self._scales(tracker)
        mean = scale * (jnp.sum(full * self.W, axis=1) + jnp.sum(row * belief.m, axis=1))
        bend = jnp.maximum(1 + self.lam * jnp.clip(mean, -_LIMIT, _LIMIT), _FLATTEST)
        weights = self.W[:, : row.shape[1]] + belief.m
        steep = scale * jnp.sum(slopes(tracker) * weights, axis=1) / self.frame.scale.sd
        carry = bend * jnp.clip(1 + steep / bend, 0.0, _STEEPEST)
        c = carry[:, None] * belief.c + scale[:, None] * jnp.einsum("dp,dpk->dk", row, belief.L)
        a2 = carry**2 * belief.a**2 + scale**2 * s2
        return Ahead(scale[:, None] * full, bend, carry, mean, c, a2, bend**2 * self.r)

    def draw(self, belief: MixedBelief, *, key: PRNGKeyArray) -> MixedState:
        """One state, now: time that passed since the last reading is stepped over, as `step` would."""
        k_theta, k_start, k_state, k_late = jax.random.split(key, 4)
        tracker, frame = belief.tracker, self.frame
        e = jax.random.normal(k_theta, belief.m.shape)
        theta = belief.m + jnp.einsum("dij,dj->di", belief.L, e)
        slip = jnp.sum(belief.c * e, axis=1) + belief.a * jax.random.normal(k_state, belief.a.shape)
        unseen = frame.start_mean + frame.start_sd * jax.random.normal(k_start, tracker.z.shape)
        z = jnp.where(tracker.seen > 0, tracker.z + slip / frame.scale.sd, unseen)
        z = jnp.clip(z, frame.scale.lowest, frame.scale.highest)
        tracker = eqx.tree_at(lambda s: s.z, tracker, z)
        late = (tracker.seen > 0) & (tracker.age > 0)
        due = self.expect(tracker, theta)
        y = due.scale * (due.fixed + due.own + due.sd * self.together(jax.random.normal(k_late, z.shape)))
        now = jnp.where(late, self.hold.settle(tracker, self._after(tracker, y), draw_luck(key, z)), z)
        return MixedState(belief.t, read(tracker, now, late | (tracker.seen == 0)), theta)

    def step(
        self, state: MixedState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> MixedState:
        tracker = advance(state.tracker, self.frame, action, dt)
        due = self.expect(tracker, state.theta)
        noise = due.sd * self.together(jax.random.normal(key, due.sd.shape))
        tracker = self.land(tracker, due.scale * (due.fixed + due.own + noise), draw_luck(key, noise))
        return MixedState(state.t + dt, tracker, state.theta)

    def expect(self, tracker: Tracker, theta: Float[Array, "d p"]) -> Due:
        """What is due over the gap behind `tracker`, given the random effects."""
        row = features(tracker)
        scale, s2 = self._scales(tracker)
        fixed = jnp.sum(with_traits(row, tracker) * self.W, axis=1)
        return Due(scale, fixed, jnp.sum(row * theta, axis=1), jnp.sqrt(s2))

    def together(self, noise: Float[Array, " d"]) -> Float[Array, " d"]:
        """Independent standard normal noise, with the correlation of the channels (a sum: it fuses with the step)."""
        return jnp.sum(self.mix * noise[None, :], axis=1)

    def land(self, tracker: Tracker, y: Float[Array, " d"], luck: Float[Array, " d"]) -> Tracker:
        """The tracker after every channel has held or risen by the transformed increment `y`, and was read."""
        return read(tracker, self.hold.settle(tracker, self._after(tracker, y), luck), jnp.ones_like(y, bool))

    def observe(self, state: MixedState) -> Observation:
        z, error = state.tracker.z, jnp.sqrt(self.r) / self.frame.scale.sd
        to_x = self.frame.scale.to_x
        return Observation(to_x(z), 0.5 * (to_x(z + error) - to_x(z - error)))

    def _after(self, tracker: Tracker, y: Float[Array, " d"]) -> Float[Array, " d"]:
        z = tracker.z + self._increment(jnp.clip(y, -_LIMIT, _LIMIT)) / self.frame.scale.sd
        return jnp.clip(z, self.frame.scale.lowest, self.frame.scale.highest)

    def _scales(self, tracker: Tracker) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        """gap^pace, and the variance of the noise of the divided increment."""
        gap = jnp.maximum(tracker.age, 1e-3)
        start = jnp.clip(tracker.clock - tracker.age, 0.0, self.longest)
        return gap**self.pace, self.s2 * (1 + start) ** self.fade * gap ** (self.power - 2 * self.pace)

    def _increment(self, y: Float[Array, " d"]) -> Float[Array, " d"]:
        """The inverse Box-Cox transform, in link units."""
        lam = jnp.where(self.lam > 0, self.lam, 1.0)
        curved = jnp.log(jnp.maximum(1 + lam * y, 1e-6)) / lam
        return jnp.where(self.lam > 0, curved, y)


def draw_luck(key: PRNGKeyArray, like: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """What decides whether each channel holds, uniform on [0, 1): independent of the noise that `key` makes."""
    return jax.random.uniform(jax.random.fold_in(key, _LUCK), like.shape)


def target(
    frame: Frame, tracker: Tracker, z: Float[Array, " d"], lam: Float[Array, " d"]
) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
    """Box-Cox transform of the increment from the last reading to `z`, and its log Jacobian in link units."""
    rise = (z - tracker.z) * frame.scale.sd
    safe = jnp.where(lam > 0, lam, 1.0)
    y = jnp.where(lam > 0, jnp.expm1(jnp.clip(safe * rise, -20.0, 20.0)) / safe, rise)
    return jnp.clip(y, -_LIMIT, _LIMIT), lam * rise
