"""The trunk that is given equations: any mechanism, its parameters shifted for each subject, and the belief over them.

What is believed of a subject is one normal vector: the shifts of its parameters (prior: what varies among training
subjects), its states (by their logarithm, unless signed) and, for channels that the mechanism does not read, their
level, which wanders. The states move by the equations and by noise; readings have noise of their own. The belief is
updated by an extended Kalman filter, which is exact where equations are linear and states signed.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.mechanism import Mechanism, parameters, solve, vector, with_parameters
from biowm.core.mechanism_units import Factors, Wiring
from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Observation, State, World

from ..tracker import Frame

_NOTHING = 1e-6  # of a state's usual size: added to states that are not negative, so that none has a logarithm

_WILD = 2.5  # a reading this many sd off moves the states, and the shifts no further


class MechanismBelief(Belief):
    """N(m, P) of shifts, states and idle channels; the last reading of each channel, and whether it was just now."""

    t: Float[Array, ""]
    m: Float[Array, " n"]
    P: Float[Array, "n n"]
    last: Float[Array, " d"]
    now: Bool[Array, " d"]


class MechanismState(State):
    """One draw of the same vector, and what a reading of each channel would be now (standardised link space)."""

    t: Float[Array, ""]
    w: Float[Array, " n"]
    shown: Float[Array, " d"]


@register("models", "Mechanistic")
class Mechanistic(World):
    """A mechanism as a world (see the module).

    `size` is the usual size of each state. `sd` are the spreads of the shifts, `shift` those of the known batches,
    `between` their spread among batches; `drift` is the sd of the noise of states and idle channels over one spacing,
    `noise` that of readings (standardised link space); `doubt` is the standard error of the parameters (unbounded
    scale). `substeps` steps of the solver make one step of the world. `notes` say what was odd.
    """

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    substeps: int = eqx.field(static=True)
    notes: tuple[str, ...] = eqx.field(static=True)
    wiring: Wiring
    frame: Frame
    factors: Factors
    mechanism: Mechanism
    size: Float[Array, " s"]
    sd: Float[Array, " e"]
    shift: Float[Array, "l e"]
    between: Float[Array, " e"]
    drift: Float[Array, " k"]
    noise: Float[Array, " d"]
    doubt: Float[Array, " p"]

    def begin(self, traits: Float[Array, " s"]) -> MechanismBelief:
        """The prior through the start: usual readings, shifts of the batch (of an unknown one: 0, and wider)."""
        member = traits[self.wiring.batch[0] : self.wiring.batch[1]]
        known = jnp.sum(jnp.where(jnp.isnan(member), 0.0, member))
        centre = jnp.where(jnp.isnan(member), 0.0, member) @ self.shift
        spread = jnp.sqrt(self.sd**2 + jnp.where(known > 0, 0.0, 1.0) * self.between**2)
        e = centre.shape[0]
        mean = jnp.concatenate([centre, self.frame.start_mean])
        sd = jnp.concatenate([spread, self.frame.start_sd])

        def start(v: Float[Array, " v"]) -> Float[Array, " n"]:
            x = self.frame.scale.to_x(v[e:])[jnp.asarray(self.wiring.channel)] * self.factors.channel
            return jnp.concatenate([v[:e], self._coordinates(vector(self._own(v[:e]).start(x))), v[e:][self._idle()]])

        # Differences over one sd, not slopes: where the usual reading is about nothing, a logarithm has no slope.
        J = 0.5 * jax.vmap(lambda way: start(mean + way) - start(mean - way))(jnp.diag(sd)).T
        d = self.frame.start_mean.shape[0]
        return MechanismBelief(jnp.zeros(()), start(mean), J @ J.T, self.frame.start_mean, jnp.zeros(d, bool))

    def predict(self, belief: MechanismBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> MechanismBelief:
        def move(w: Float[Array, " n"]) -> Float[Array, " n"]:
            return self._move(w, action, dt)

        J = jax.jacfwd(move)(belief.m)
        P = J @ belief.P @ J.T + jnp.diag(self._drift(dt) ** 2)
        return MechanismBelief(belief.t + dt, move(belief.m), P, belief.last, jnp.zeros_like(belief.now))

    def update(self, belief: MechanismBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> MechanismBelief:
        return self.assimilate(belief, reading, mask)[0]

    def assimilate(
        self, belief: MechanismBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]
    ) -> tuple[MechanismBelief, Float[Array, " d"]]:
        """The updated belief, and the log density (standardised link space) of each reading given those before."""
        z = self.frame.scale.to_z(jnp.where(mask, reading, 1.0))
        H = jax.jacfwd(self._all_levels)(belief.m)
        y = z - self._all_levels(belief.m) + H @ belief.m

        shifts = self.sd.shape[0]

        def one(moments, now):
            m, P = moments
            h, y, r, go = now
            cover = P @ h
            s = h @ cover + r * r
            miss = y - h @ m
            gain = jnp.where(go, 1.0, 0.0) * cover / s
            keep = jnp.eye(m.shape[0]) - jnp.outer(gain, h)
            tame = jnp.clip(miss, -_WILD * jnp.sqrt(s), _WILD * jnp.sqrt(s))
            after = m + gain * jnp.where(jnp.arange(m.shape[0]) < shifts, tame, miss)
            return (after, keep @ P @ keep.T + r * r * jnp.outer(gain, gain)), jnp.where(go, _log_score(miss, s), 0.0)

        (m, P), score = jax.lax.scan(one, (belief.m, belief.P), (H, y, self.noise, mask))
        after = MechanismBelief(belief.t, m, P, jnp.where(mask, z, belief.last), belief.now | mask)
        return after, score

    def draw(self, belief: MechanismBelief, *, key: PRNGKeyArray) -> MechanismState:
        k_state, k_read = jax.random.split(key)
        w = belief.m + _root(belief.P) @ jax.random.normal(k_state, belief.m.shape)
        return MechanismState(belief.t, w, jnp.where(belief.now, belief.last, self._reading(w, k_read)))

    def step(
        self, state: MechanismState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> MechanismState:
        k_move, k_read = jax.random.split(key)
        w = self._move(state.w, action, dt) + self._drift(dt) * jax.random.normal(k_move, state.w.shape)
        return MechanismState(state.t + dt, w, self._reading(w, k_read))

    def impulse(self, state, dose: Float[Array, " a"]):
        given = self.given(dose)

        def jump(w: Float[Array, " n"]) -> Float[Array, " n"]:
            e, s = self._sizes()
            after = vector(self._own(w[:e]).impulse(self._amounts(w[e : e + s]), given))
            return jnp.where(jnp.any(given != 0), jnp.concatenate([w[:e], self._coordinates(after), w[e + s :]]), w)

        if isinstance(state, MechanismState):
            return eqx.tree_at(lambda x: x.w, state, jump(state.w))
        J = jax.jacfwd(jump)(state.m)
        return eqx.tree_at(lambda b: (b.m, b.P), state, (jump(state.m), J @ state.P @ J.T))

    def observe(self, state: MechanismState) -> Observation:
        value = self.frame.scale.to_x(state.shown)
        return Observation(value, jnp.zeros_like(value))

    def _sizes(self) -> tuple[int, int]:
        return self.sd.shape[0], len(self.mechanism.states)

    def _idle(self) -> Array:
        """Channels of the study that the mechanism does not read."""
        return jnp.asarray([j for j in range(len(self.spec.channels)) if j not in self.wiring.channel], jnp.int32)

    def _own(self, shifts: Float[Array, " e"]) -> Mechanism:
        """The mechanism with one subject's parameters."""
        kinds = {n: p for n, p in parameters(self.mechanism).items() if p.varies != "no"}
        moved = {n: p.value(p.free(getattr(self.mechanism, n)) + shifts[i]) for i, (n, p) in enumerate(kinds.items())}
        return with_parameters(self.mechanism, moved)

    def _signed(self) -> Bool[Array, " s"]:
        return jnp.asarray([s in self.mechanism.signed for s in self.mechanism.states])

    def _coordinates(self, amounts: Float[Array, " s"]) -> Float[Array, " s"]:
        signed, share = self._signed(), amounts / self.size
        return jnp.where(signed, share, jnp.log(jnp.where(signed, 1.0, jnp.maximum(share, 0.0) + _NOTHING)))

    def _amounts(self, x: Float[Array, " s"]) -> Float[Array, " s"]:
        signed = self._signed()
        return self.size * jnp.where(signed, x, jnp.maximum(jnp.exp(jnp.where(signed, 0.0, x)) - _NOTHING, 0.0))

    def given(self, action: Float[Array, " a"]) -> Float[Array, " b"]:
        """Rates or doses in the mechanism's order and units."""
        wanted = jnp.asarray(self.wiring.action, jnp.int32)
        padded = jnp.concatenate([action, jnp.zeros(1)])  # action -1: not given
        return padded[wanted] * self.factors.action

    def _move(self, w: Float[Array, " n"], action: Float[Array, " a"], dt: Float[Array, ""]) -> Float[Array, " n"]:
        e, s = self._sizes()
        start = self._amounts(w[e : e + s])
        end = solve(self._own(w[:e]), start, self.given(action), dt * self.factors.clock, self.substeps)
        return jnp.concatenate([w[:e], self._coordinates(end), w[e + s :]])

    def _drift(self, dt: Float[Array, ""]) -> Float[Array, " n"]:
        """The sd of the noise of `dt`: shifts have none."""
        return jnp.concatenate(
            [jnp.zeros(self.sd.shape[0]), self.drift * jnp.sqrt(jnp.maximum(dt / self.spacing, 1e-6))]
        )

    def levels(self, mechanism: Mechanism, amounts: Float[Array, " s"]) -> Float[Array, " c"]:
        """What the channels of a mechanism would read without noise, standardised link space."""
        wired = jnp.asarray(self.wiring.channel, jnp.int32)
        x = vector(mechanism.read(amounts)) / self.factors.channel
        return self.frame.scale.to_z(jnp.ones(self.noise.shape[0]).at[wired].set(x))[wired]

    def _all_levels(self, w: Float[Array, " n"]) -> Float[Array, " d"]:
        """The same of every channel of the study: idle ones are at their own level."""
        e, s = self._sizes()
        z = (
            jnp.zeros(self.noise.shape[0])
            .at[jnp.asarray(self.wiring.channel, jnp.int32)]
            .set(self.levels(self._own(w[:e]), self._amounts(w[e : e + s])))
        )
        return z.at[self._idle()].set(w[e + s :])

    def _reading(self, w: Float[Array, " n"], key: PRNGKeyArray) -> Float[Array, " d"]:
        z = self._all_levels(w) + self.noise * jax.random.normal(key, self.noise.shape)
        return jnp.clip(z, self.frame.scale.lowest, self.frame.scale.highest)


def _log_score(miss: Float[Array, ""], s: Float[Array, ""]) -> Float[Array, ""]:
    """Log density of Student's t with 4 degrees of freedom and squared scale `s`: what is fitted by."""
    return jnp.log(0.375) - 0.5 * jnp.log(s) - 2.5 * jnp.log1p(miss * miss / (4 * s))


def _root(P: Float[Array, "n n"]) -> Float[Array, "n n"]:
    """A lower root of a covariance (Cholesky without LAPACK, see docs/findings.md); directions of no spread are 0."""
    columns, rest = [], P
    for j in range(P.shape[0]):
        spread = rest[j, j]
        column = jnp.where(spread > 1e-12, rest[:, j] / jnp.sqrt(jnp.maximum(spread, 1e-12)), 0.0)
        columns.append(column)
        rest = rest - jnp.outer(column, column)
    return jnp.stack(columns, axis=1)
