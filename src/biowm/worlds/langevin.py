"""What simulators of noisy cells share: stochastic equations of chemical Langevin form, read with a normal error.

    dx = drift(x) dt + spread(x) dW,    reading = x + error

A step draws from these equations. The belief is, for each kind of subject there may be, a normal distribution that is
carried by the equations linearised about their mean (the linear noise approximation) and updated by the rule of Kalman;
Bayes' rule weighs the kinds. It is exact where the equations are linear and the noise does not depend on the state, and
good where noise is small. Sources: Gillespie 2000, doi:10.1063/1.481811; Komorowski et al. 2009,
doi:10.1186/1471-2105-10-343.
"""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.elimination import root, solved
from biowm.core.mechanism import runge_kutta
from biowm.core.world import Belief, Moment, Observation, State

from .open import Open, strides

_NEVER = -1e6  # the log weight of a subject of another line: finite, so that nothing becomes NaN
_LEAST = 1e-12  # variance of a state


class LangevinState(State):
    """One subject: its line, what it has of its `own` (parameters) and its states."""

    t: Float[Array, ""]
    line: Int[Array, ""]
    own: Float[Array, " p"]
    x: Float[Array, " s"]


class LangevinBelief(Belief):
    """Which of k subjects this is (log `weight`), and of each a normal distribution of its states."""

    t: Float[Array, ""]
    line: Int[Array, " k"]
    own: Float[Array, "k p"]
    mean: Float[Array, "k s"]
    cov: Float[Array, "k s s"]
    weight: Float[Array, " k"]


class Langevin(Open):
    """Subjects of several lines (levels of the one trait) whose states move by stochastic equations, all of them read.

    `own` holds the parameters of each of k subjects and `line` (by subject) its line; a new subject is any of those of
    its line, each equally likely, after `settling` (clock) without any action. States stay between `low` and `high`. A
    step of the world takes `steps` of the equations.
    """

    steps: eqx.AbstractVar[int]
    settling: eqx.AbstractVar[float]
    low: eqx.AbstractVar[float]
    high: eqx.AbstractVar[float]
    own: eqx.AbstractVar[Float[Array, "k p"]]
    line: eqx.AbstractVar[Int[Array, " k"]]

    @abstractmethod
    def drift(
        self, line: Int[Array, ""], own: Float[Array, " p"], x: Float[Array, " s"], action: Float[Array, " a"]
    ) -> Float[Array, " s"]:
        """Mean change of each state per unit of the clock."""

    @abstractmethod
    def spread(
        self, line: Int[Array, ""], own: Float[Array, " p"], x: Float[Array, " s"], action: Float[Array, " a"]
    ) -> Float[Array, " s"]:
        """Standard deviation of the change of each state per square root of the clock's unit."""

    @abstractmethod
    def decay(self, line: Int[Array, ""], own: Float[Array, " p"]) -> Float[Array, " s"]:
        """The rate at which each state goes to where it is driven, per unit of the clock (above 0)."""

    @abstractmethod
    def error(self, x: Float[Array, " s"]) -> Float[Array, " s"]:
        """Standard deviation of a reading of each state."""

    @abstractmethod
    def first(self, line: Int[Array, ""], own: Float[Array, " p"]) -> Float[Array, " s"]:
        """States from which a subject settles."""

    def begin(self, traits: Float[Array, " l"]) -> LangevinBelief:
        """Settled subjects of the line that `traits` marks (one-hot; none marked: of any line)."""
        known = jnp.sum(traits) > 0
        mine = jnp.where(known, traits[self.line] > 0, jnp.ones(self.line.shape, bool))
        weight = jnp.where(mine, 0.0, _NEVER)
        mean, cov = jax.vmap(self.settled)(self.line, self.own)
        return LangevinBelief(jnp.zeros(()), self.line, self.own, mean, cov, weight - logsumexp(weight))

    def settled(self, line: Int[Array, ""], own: Float[Array, " p"]) -> tuple[Float[Array, " s"], Float[Array, "s s"]]:
        """Mean and covariance of a subject that was left alone."""
        none = jnp.zeros(len(self.spec.actions))
        pieces = max(1, round(self.settling / self.spacing))
        start = self.first(line, own)
        cov = jnp.zeros((len(start), len(start)))
        time = jnp.asarray(self.settling, jnp.float32)
        return self.carry(line, own, start, cov, none, time, pieces * self.steps)

    def update(self, belief: LangevinBelief, reading: Float[Array, " s"], mask: Bool[Array, " s"]) -> LangevinBelief:
        """Kalman's rule for each subject, Bayes' rule over subjects."""
        mean, cov, likely = self._read(belief, reading, mask)
        weight = belief.weight + likely
        return LangevinBelief(belief.t, belief.line, belief.own, mean, cov, weight - logsumexp(weight))

    def predict(self, belief: LangevinBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> LangevinBelief:
        over_subjects = jax.vmap(self.carry, in_axes=(0, 0, 0, 0, None, None, None))
        mean, cov = over_subjects(belief.line, belief.own, belief.mean, belief.cov, action, dt, self.steps)
        return LangevinBelief(belief.t + dt, belief.line, belief.own, mean, cov, belief.weight)

    def strides(self, belief: Belief, dt: Float[Array, ""]) -> Int[Array, ""]:
        """No stride much longer than `spacing`, for which `steps` are enough."""
        return strides(dt, self.spacing)

    def draw(self, belief: LangevinBelief, *, key: PRNGKeyArray) -> LangevinState:
        who, luck = jax.random.split(key)
        k = jax.random.categorical(who, belief.weight)
        away = root(belief.cov[k]) @ jax.random.normal(luck, belief.mean[k].shape)
        return LangevinState(belief.t, belief.line[k], belief.own[k], self.within(belief.mean[k] + away))

    def step(
        self, state: LangevinState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> LangevinState:
        """Half of the noise, the mean course, the other half: exact for noise of a state that decays to a constant."""
        h = dt / self.steps
        who = (state.line, state.own)
        lost = self.decay(*who) * h
        size = jnp.sqrt(h / 2 * jnp.where(lost > 0, jnp.tanh(lost) / jnp.where(lost > 0, lost, 1.0), 1.0))

        def body(x: Float[Array, " s"], luck: Float[Array, "2 s"]) -> tuple[Float[Array, " s"], None]:
            x = self.within(x + self.spread(*who, x, action) * size * luck[0])
            x = self.within(runge_kutta(lambda y: self.drift(*who, y, action), x, h, 1))
            return self.within(x + self.spread(*who, x, action) * size * luck[1]), None

        luck = jax.random.normal(key, (self.steps, 2, len(state.x)))
        return LangevinState(state.t + dt, *who, jax.lax.scan(body, state.x, luck)[0])

    def impulse(self, state: Moment, dose: Float[Array, " a"]) -> Moment:
        """These worlds have no bolus."""
        return state

    def observe(self, state: LangevinState) -> Observation:
        return Observation(state.x, self.error(state.x))

    def shown(self, moment: State | Belief) -> Float[Array, " s"]:
        """Every state."""
        if isinstance(moment, LangevinBelief):
            return jnp.exp(moment.weight - logsumexp(moment.weight)) @ moment.mean
        assert isinstance(moment, LangevinState)
        return moment.x

    def apart(self, belief: LangevinBelief) -> tuple[LangevinBelief, Float[Array, " k"]]:
        def alone(*who: Array) -> LangevinBelief:
            line, own, mean, cov = (leaf[None] for leaf in who)
            return LangevinBelief(belief.t, line, own, mean, cov, jnp.zeros(1))

        return jax.vmap(alone)(belief.line, belief.own, belief.mean, belief.cov), belief.weight

    def evidence(
        self, belief: LangevinBelief, reading: Float[Array, " s"], mask: Bool[Array, " s"]
    ) -> Float[Array, ""]:
        return logsumexp(belief.weight + self._read(belief, reading, mask)[2]) - logsumexp(belief.weight)

    def within(self, x: Float[Array, " s"]) -> Float[Array, " s"]:
        """States that can be."""
        return jnp.clip(x, self.low, self.high)

    def carry(
        self,
        line: Int[Array, ""],
        own: Float[Array, " p"],
        mean: Float[Array, " s"],
        cov: Float[Array, "s s"],
        action: Float[Array, " a"],
        dt: Float[Array, ""],
        steps: int,
    ) -> tuple[Float[Array, " s"], Float[Array, "s s"]]:
        """Mean and covariance after `dt` under constant actions, by the linear noise approximation.

        Both to order 4, the covariance with the slopes and the noise in the middle of each step.
        """
        h = dt / steps

        def slope(x: Float[Array, " s"]) -> Float[Array, " s"]:
            return self.drift(line, own, x, action)

        def body(now: tuple[Array, Array], _: None) -> tuple[tuple[Array, Array], None]:
            x, p = now
            after = runge_kutta(slope, x, h, 1)
            middle = (x + after) / 2
            rates = h * jax.jacfwd(slope)(middle)
            moved = rates @ p
            change = moved + moved.T + jnp.diag(h * jnp.square(self.spread(line, own, middle, action)))
            p = p + change
            for order in (2, 3, 4):
                moved = rates @ change / order
                change = moved + moved.T
                p = p + change
            return (after, p), None

        (x, p), _ = jax.lax.scan(body, (mean, cov), None, length=steps)
        return self.within(x), 0.5 * (p + p.T)

    def _read(
        self, belief: LangevinBelief, reading: Float[Array, " s"], mask: Bool[Array, " s"]
    ) -> tuple[Float[Array, "k s"], Float[Array, "k s s"], Float[Array, " k"]]:
        """Means and covariances after a reading, and how likely each subject reads so."""

        def one(
            mean: Float[Array, " s"], cov: Float[Array, "s s"]
        ) -> tuple[Float[Array, " s"], Float[Array, "s s"], Float[Array, ""]]:
            noise = jnp.maximum(jnp.square(self.error(mean)), _LEAST)
            seen = jnp.where(mask[None], cov, 0.0)  # columns of what was read
            doubt = jnp.where(mask[:, None], seen, 0.0) + jnp.diag(jnp.where(mask, noise, 1.0))
            off = jnp.where(mask, reading - mean, 0.0)
            ways, log = solved(doubt, jnp.column_stack([seen.T, off]))
            gain = ways[:, :-1].T
            keep = jnp.eye(len(mean)) - gain  # Joseph's form: the covariance stays one
            after = keep @ cov @ keep.T + (gain * jnp.where(mask, noise, 0.0)[None]) @ gain.T
            likely = -0.5 * (off @ ways[:, -1] + log)
            return self.within(mean + gain @ off), 0.5 * (after + after.T), likely

        return jax.vmap(one)(belief.mean, belief.cov)
