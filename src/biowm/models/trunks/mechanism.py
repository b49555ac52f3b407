"""The trunk that is given equations: any mechanism, its parameters shifted for each subject, and the belief over them.

What is believed of a subject is one normal vector: the shifts of its parameters (prior: what varies among training
subjects), its states (by the link of the channel of their name, else by their logarithm, unless signed) and, for
channels that the mechanism does not read, their level, which wanders. The states move by the equations and, unless
the mechanism is exact, by noise; readings have noise of their own, and one below the limit of quantification says only
that. The belief is updated by an extended Kalman filter, exact where equations are linear in these coordinates.
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
from .mechanism_filter import FREE, WILD, Normal, absorb, carry, root

_NOTHING = 1e-6  # of a state's usual size: added to states that are not negative, so that none has a logarithm

_FAR = 20.0  # e-folds from its usual size that a state may be
_SAME = 1e-6  # of a limit: a reading as near to it is at it


class Notes(tuple[str, ...]):
    """What was odd about a fit, in words; equal to any other notes, or each would have its programs compiled anew."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Notes)

    def __hash__(self) -> int:
        return hash(Notes)


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

    `size` is the usual size of each state. `sd` are the spreads of the shifts, `shift` those of the batches (NaN of
    one that nobody was trained on), `between` their spread among batches; `drift` is the sd of the noise of states
    (unless the mechanism is exact) and idle channels over one spacing, `noise` that of readings (standardised link
    space). `doubt` are the standard errors of the parameters (unbounded scale) and of the logarithms of `sd`, `drift`
    and `noise`; `shrinkage` says by how much the training subjects' own shifts vary less than `sd` (both NaN where the
    fit gives none). `substeps` steps of the solver make one step of the world. `notes` say what was odd.
    """

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    substeps: int = eqx.field(static=True)
    notes: Notes = eqx.field(static=True, converter=Notes)
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
    doubt: Float[Array, " h"]
    shrinkage: Float[Array, " e"]

    def begin(self, traits: Float[Array, " s"]) -> MechanismBelief:
        """The prior through the start: usual readings, shifts of the batch (of an unknown one: 0, and wider)."""
        centre, spread = self.expected(traits)
        v, J = self.opening(centre, spread)
        d = self.frame.start_mean.shape[0]
        return MechanismBelief(jnp.zeros(()), v, J @ J.T, self.frame.start_mean, jnp.zeros(d, bool))

    def expected(self, traits: Float[Array, " s"]) -> tuple[Float[Array, " e"], Float[Array, " e"]]:
        """Mean and sd of the shifts of a new subject."""
        met = jnp.all(jnp.isfinite(self.shift), axis=1)
        member = jnp.where(met, jnp.nan_to_num(traits[self.wiring.batch[0] : self.wiring.batch[1]]), 0.0)
        known = jnp.sum(member)
        centre = member @ jnp.where(met[:, None], self.shift, 0.0)
        return centre, jnp.sqrt(self.sd**2 + jnp.where(known > 0, 0.0, 1.0) * self.between**2)

    def opening(
        self, shifts: Float[Array, " e"], spread: Float[Array, " e"]
    ) -> tuple[Float[Array, " n"], Float[Array, "n k"]]:
        """What is believed at the start with these shifts, and its change by one sd of each and of the reading."""
        mean = jnp.concatenate([shifts, self.frame.start_mean])
        sd, e = jnp.concatenate([spread, self.frame.start_sd]), shifts.shape[0]

        def start(v: Float[Array, " v"]) -> Float[Array, " n"]:
            x = jnp.stack([self.frame.scale.to_x(v[e:])[j] for j in self.wiring.channel]) * self.factors.channel
            states = self._coordinates(vector(self.own(v[:e]).start(x)))
            return jnp.concatenate([v[:e], states, *(v[e + j][None] for j in self._idle())])

        # Differences over one sd, not slopes: where the usual reading is about nothing, a logarithm has no slope.
        return start(mean), 0.5 * jax.vmap(lambda way: start(mean + way) - start(mean - way))(jnp.diag(sd)).T

    def predict(self, belief: MechanismBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> MechanismBelief:
        def move(w: Float[Array, " n"]) -> Float[Array, " n"]:
            return self.moved(w, action, dt)

        J = jax.jacfwd(move)(belief.m)
        P = carry(J, belief.P) + jnp.diag(self.wander(dt) ** 2)
        return MechanismBelief(belief.t + dt, move(belief.m), P, belief.last, jnp.zeros_like(belief.now))

    def update(self, belief: MechanismBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> MechanismBelief:
        z, below = self.told(reading, mask)
        H, level = jax.jacfwd(self.level_of)(belief.m), self.level_of(belief.m)
        own = jnp.arange(belief.m.shape[0]) < self.sd.shape[0]
        now = Normal(belief.m, belief.P)
        for j in range(z.shape[0]):  # one reading after the other, all about the same point
            off = z[j] - level[j] + jnp.sum(H[j] * belief.m)
            read = absorb(now, H[j], off, self.noise[j], below[j], jnp.where(own, WILD, FREE))[0]
            now = jax.tree.map(lambda new, old, j=j: jnp.where(mask[j], new, old), read, now)
        return MechanismBelief(belief.t, now.m, now.P, jnp.where(mask, z, belief.last), belief.now | mask)

    def told(
        self, reading: Float[Array, " d"], mask: Bool[Array, " d"]
    ) -> tuple[Float[Array, " d"], Bool[Array, " d"]]:
        """Readings in standardised link space, and which say only that the truth is below (the limit is then given)."""
        limit = jnp.asarray([-jnp.inf if c.lloq is None else c.lloq for c in self.spec.channels])
        below = mask & (reading <= limit + _SAME * jnp.abs(jnp.where(jnp.isfinite(limit), limit, 0.0)))
        return self.frame.scale.to_z(jnp.where(below, limit, jnp.where(mask, reading, 1.0))), below

    def draw(self, belief: MechanismBelief, *, key: PRNGKeyArray) -> MechanismState:
        k_state, k_read = jax.random.split(key)
        w = belief.m + root(belief.P) @ jax.random.normal(k_state, belief.m.shape)
        return MechanismState(belief.t, w, jnp.where(belief.now, belief.last, self._reading(w, k_read)))

    def step(
        self, state: MechanismState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> MechanismState:
        k_move, k_read = jax.random.split(key)
        w = self.moved(state.w, action, dt) + self.wander(dt) * jax.random.normal(k_move, state.w.shape)
        return MechanismState(state.t + dt, w, self._reading(w, k_read))

    def impulse(self, state, dose: Float[Array, " a"]):
        def jump(w: Float[Array, " n"]) -> Float[Array, " n"]:
            return self.struck(w, dose)

        if isinstance(state, MechanismState):
            return eqx.tree_at(lambda x: x.w, state, jump(state.w))
        J = jax.jacfwd(jump)(state.m)
        return eqx.tree_at(lambda b: (b.m, b.P), state, (jump(state.m), carry(J, state.P)))

    def observe(self, state: MechanismState) -> Observation:
        value = self.frame.scale.to_x(state.shown)
        return Observation(value, jnp.zeros_like(value))

    def _sizes(self) -> tuple[int, int]:
        return self.sd.shape[0], len(self.mechanism.states)

    def _idle(self) -> list[int]:
        """Channels of the study that the mechanism does not read."""
        return [j for j in range(len(self.spec.channels)) if j not in self.wiring.channel]

    def _wired(self, values: Float[Array, " c"], rest: Float[Array, " k"]) -> Float[Array, " d"]:
        """Values of the mechanism's channels, and of the idle ones, in the study's order."""
        where = {j: values[c] for c, j in enumerate(self.wiring.channel)}
        where |= {j: rest[k] for k, j in enumerate(self._idle())}
        return jnp.stack([where[j] for j in range(len(self.spec.channels))])

    def own(self, shifts: Float[Array, " e"]) -> Mechanism:
        """The mechanism with one subject's parameters."""
        kinds = {n: p for n, p in parameters(self.mechanism).items() if p.varies != "no"}
        moved = {n: p.value(p.free(getattr(self.mechanism, n)) + shifts[i]) for i, (n, p) in enumerate(kinds.items())}
        return with_parameters(self.mechanism, moved)

    def _coordinates(self, amounts: Float[Array, " s"]) -> Float[Array, " s"]:
        """Amounts as the belief has them: by the link of the channel of that name, else by logarithm, unless signed."""
        x = jnp.stack(
            [self._of_channel(c, amounts, 1.0) / self.factors.channel[c] for c in range(len(self.wiring.channel))]
        )
        z = self.frame.scale.to_z(self._wired(x, jnp.ones(len(self._idle()))))
        share, out = amounts / self.size, []
        for i, name in enumerate(self.mechanism.states):
            if name in self.mechanism.channels:
                out.append(z[self._channel_of(name)])
            elif name in self.mechanism.signed:
                out.append(share[i])
            else:
                out.append(jnp.log(jnp.maximum(share[i], 0.0) + _NOTHING))
        return jnp.stack(out)

    def amounts(self, x: Float[Array, " s"]) -> Float[Array, " s"]:
        """The inverse of `_coordinates`, kept finite however far the noise goes."""
        scale = self.frame.scale
        z = jnp.stack([self._of_channel(c, x, 0.0) for c in range(len(self.wiring.channel))])
        z = self._wired(z, jnp.zeros(len(self._idle())))
        readings, out = scale.to_x(jnp.clip(z, scale.lowest - 1.0, scale.highest + 1.0)), []
        for i, name in enumerate(self.mechanism.states):
            if name in self.mechanism.channels:
                c = list(self.mechanism.channels).index(name)
                value = readings[self.wiring.channel[c]] * self.factors.channel[c]
                out.append(value if name in self.mechanism.signed else jnp.maximum(value, 0.0))
            elif name in self.mechanism.signed:
                out.append(self.size[i] * x[i])
            else:
                out.append(self.size[i] * jnp.maximum(jnp.exp(jnp.clip(x[i], -_FAR, _FAR)) - _NOTHING, 0.0))
        return jnp.stack(out)

    def _channel_of(self, state: str) -> int:
        """Where in the study the channel named like a state is."""
        return self.wiring.channel[list(self.mechanism.channels).index(state)]

    def _of_channel(self, c: int, values: Float[Array, " s"], other: float) -> Float[Array, ""]:
        """The value of the state named like channel `c` of the mechanism; `other` where there is none."""
        name, states = list(self.mechanism.channels)[c], list(self.mechanism.states)
        return values[states.index(name)] if name in states else jnp.asarray(other, jnp.float32)

    def given(self, action: Float[Array, " a"]) -> Float[Array, " b"]:
        """Rates or doses in the mechanism's order and units."""
        if not self.wiring.action:
            return jnp.zeros(0)
        return jnp.stack([jnp.zeros(()) if a < 0 else action[a] for a in self.wiring.action]) * self.factors.action

    def struck(self, w: Float[Array, " n"], dose: Float[Array, " a"]) -> Float[Array, " n"]:
        """A value of what is believed, just after boluses."""
        if not any(a >= 0 and self.spec.actions[a].kind == "bolus" for a in self.wiring.action):
            return w  # half of all that a step compiles to, for nothing
        given, (e, s) = self.given(dose), self._sizes()
        after = vector(self.own(w[:e]).impulse(self.amounts(w[e : e + s]), given))
        return jnp.where(jnp.any(given != 0), jnp.concatenate([w[:e], self._coordinates(after), w[e + s :]]), w)

    def moved(self, w: Float[Array, " n"], action: Float[Array, " a"], dt: Float[Array, ""]) -> Float[Array, " n"]:
        """A value of what is believed, after `dt` under constant rates and without noise."""
        e, s = self._sizes()
        start = self.amounts(w[e : e + s])
        end = solve(self.own(w[:e]), start, self.given(action), dt * self.factors.clock, self.substeps)
        return jnp.concatenate([w[:e], self._coordinates(end), w[e + s :]])

    def wander(self, dt: Float[Array, ""]) -> Float[Array, " n"]:
        """The sd of the noise of `dt`: shifts have none, nor have states that are exact."""
        calm = jnp.zeros(sum(self._sizes()) + len(self._idle()) - self.drift.shape[0])
        return jnp.concatenate([calm, self.drift * jnp.sqrt(jnp.maximum(dt / self.spacing, 1e-6))])

    def levels(self, mechanism: Mechanism, amounts: Float[Array, " s"], idle: Float[Array, " k"]) -> Float[Array, " d"]:
        """What all channels would read without noise (standardised link space); idle ones are at their own level."""
        x = self._wired(vector(mechanism.read(amounts)) / self.factors.channel, jnp.ones(idle.shape[0]))
        z = self.frame.scale.to_z(x)
        return self._wired(jnp.stack([z[j] for j in self.wiring.channel]), idle)

    def level_of(self, w: Float[Array, " n"]) -> Float[Array, " d"]:
        """What all channels would read without noise (standardised link space), given a value of what is believed."""
        e, s = self._sizes()
        return self.levels(self.own(w[:e]), self.amounts(w[e : e + s]), w[e + s :])

    def _reading(self, w: Float[Array, " n"], key: PRNGKeyArray) -> Float[Array, " d"]:
        z = self.level_of(w) + self.noise * jax.random.normal(key, self.noise.shape)
        return jnp.clip(z, self.frame.scale.lowest, self.frame.scale.highest)
