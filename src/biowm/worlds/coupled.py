"""Worlds of several scales joined into one: what one shows drives what another is given, each at its own pace.

A part is any open world under a name; a joint says which outlet of a part drives which action of another. Units are
checked and converted, and so are clocks. The whole is a world as any other: its channels, traits and free actions are
those of its parts, its clock that of the first.

Time of a step is cut into `exchanges`. In each the parts go one after the other, in their own steps, and a driven
action is held at the mean of what the outlet shows before and after (of a part that goes later: at what it shows
before), an error of second order in the length of an exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.spec import WorldSpec
from biowm.core.units import factor
from biowm.core.world import Belief, Moment, Observation, State

from .joints import Joint, Part, Wire, wire
from .open import Open, strides

Parts = TypeVar("Parts", tuple[State, ...], tuple[Belief, ...])


class CoupledState(State):
    """The states of the parts."""

    t: Float[Array, ""]
    parts: tuple[State, ...]


class CoupledBelief(Belief):
    """Which of j wholes this is (log `weight`); of each the beliefs of its parts (leading axis j)."""

    t: Float[Array, ""]
    parts: tuple[Belief, ...]
    weight: Float[Array, " j"]


class Coupled(Open):
    """Parts that are joined; made by `couple`.

    A new subject is one of `who` [j, parts]: each row names a hypothesis of every part, all equally likely but for what
    the parts themselves say. Within a row what drives a part is known, so that the belief is as exact as its parts'.
    `clocks` are the parts' units of time in one of the whole.
    """

    parts: tuple[Part, ...]
    wires: tuple[Wire, ...]
    who: Int[Array, "j p"]
    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    exchanges: int = eqx.field(static=True)
    clocks: tuple[float, ...] = eqx.field(static=True)
    free: tuple[tuple[int, ...], ...] = eqx.field(static=True)
    outlets: tuple[tuple[str, str], ...] = eqx.field(static=True)

    def begin(self, traits: Float[Array, " s"]) -> CoupledBelief:
        widths = [part.world.spec.trait_width for part in self.parts]
        begun = [
            part.world.apart(part.world.begin(own)) for part, own in zip(self.parts, _cut(traits, widths), strict=True)
        ]
        beliefs, weight = [], jnp.zeros(len(self.who))
        for (belief, log_weight), who in zip(begun, self.who.T, strict=True):
            beliefs.append(jax.tree.map(lambda leaf, who=who: leaf[who], belief))
            weight = weight + log_weight[who]
        return CoupledBelief(jnp.zeros(()), tuple(beliefs), weight - logsumexp(weight))

    def update(self, belief: CoupledBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> CoupledBelief:
        """Each part reads its own channels; Bayes' rule over the wholes."""
        weight = belief.weight + self._likely(belief, reading, mask)
        parts = tuple(
            jax.vmap(lambda b, part=part, x=x, m=m: part.world.update(b, x, m))(old)
            for part, old, x, m in self._readings(belief, reading, mask)
        )
        return CoupledBelief(belief.t, parts, weight - logsumexp(weight))

    def predict(self, belief: CoupledBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> CoupledBelief:
        def one(parts: tuple[Belief, ...]) -> tuple[Belief, ...]:
            return self._exchange(parts, action, dt, lambda i, b, given, h, _: self.parts[i].world.predict(b, given, h))

        return CoupledBelief(belief.t + dt, jax.vmap(one)(belief.parts), belief.weight)

    def strides(self, belief: Belief, dt: Float[Array, ""]) -> Int[Array, ""]:
        """No stride much longer than `spacing`, for which the exchanges are enough."""
        return strides(dt, self.spacing)

    def draw(self, belief: CoupledBelief, *, key: PRNGKeyArray) -> CoupledState:
        key, which = jax.random.split(key)
        j = jax.random.categorical(which, belief.weight)
        drawn = [
            part.world.draw(jax.tree.map(lambda leaf: leaf[j], own), key=k)
            for part, own, k in zip(self.parts, belief.parts, jax.random.split(key, len(self.parts)), strict=True)
        ]
        return CoupledState(belief.t, tuple(drawn))

    def step(
        self, state: CoupledState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> CoupledState:
        def go(i: int, own: State, given: Float[Array, " b"], h: Float[Array, ""], when: Int[Array, ""]) -> State:
            luck = jax.random.fold_in(jax.random.fold_in(key, i), when)
            return self.parts[i].world.step(own, given, h, key=luck)

        return CoupledState(state.t + dt, self._exchange(state.parts, action, dt, go))

    def impulse(self, state: Moment, dose: Float[Array, " a"]) -> Moment:
        """Boluses go to the parts that have them."""
        given = self._given(dose)
        if isinstance(state, CoupledBelief):
            parts = tuple(
                jax.vmap(lambda b, part=part, d=d: part.world.impulse(b, d))(own)
                for part, own, d in zip(self.parts, state.parts, given, strict=True)
            )
        else:
            assert isinstance(state, CoupledState)
            parts = tuple(p.world.impulse(own, d) for p, own, d in zip(self.parts, state.parts, given, strict=True))
        return eqx.tree_at(lambda s: s.parts, state, parts)

    def observe(self, state: CoupledState) -> Observation:
        read = [part.world.observe(own) for part, own in zip(self.parts, state.parts, strict=True)]
        return Observation(jnp.concatenate([r.mean for r in read]), jnp.concatenate([r.sd for r in read]))

    def shown(self, moment: State | Belief) -> Float[Array, " o"]:
        """The outlets of all parts."""
        if isinstance(moment, CoupledBelief):
            share = jnp.exp(moment.weight - logsumexp(moment.weight))
            each = [jax.vmap(p.world.shown)(own) for p, own in zip(self.parts, moment.parts, strict=True)]
            return share @ jnp.concatenate(each, axis=1)
        assert isinstance(moment, CoupledState)
        return jnp.concatenate([p.world.shown(own) for p, own in zip(self.parts, moment.parts, strict=True)])

    def apart(self, belief: CoupledBelief) -> tuple[CoupledBelief, Float[Array, " j"]]:
        def alone(parts: tuple[Belief, ...]) -> CoupledBelief:
            return CoupledBelief(belief.t, jax.tree.map(lambda leaf: leaf[None], parts), jnp.zeros(1))

        return jax.vmap(alone)(belief.parts), belief.weight

    def evidence(self, belief: CoupledBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> Float[Array, ""]:
        return logsumexp(belief.weight + self._likely(belief, reading, mask)) - logsumexp(belief.weight)

    def _likely(
        self, belief: CoupledBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]
    ) -> Float[Array, " j"]:
        return jnp.sum(
            jnp.stack([
                jax.vmap(lambda b, part=part, x=x, m=m: part.world.evidence(b, x, m))(own)
                for part, own, x, m in self._readings(belief, reading, mask)
            ]),
            axis=0,
        )  # fmt: skip

    def _readings(
        self, belief: CoupledBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]
    ) -> list[tuple[Part, Belief, Float[Array, " e"], Bool[Array, " e"]]]:
        """Each part with its beliefs and what was read of it."""
        widths = [len(part.world.spec.channels) for part in self.parts]
        return list(zip(self.parts, belief.parts, _cut(reading, widths), _cut(mask, widths), strict=True))

    def _given(self, action: Float[Array, " a"]) -> list[Float[Array, " b"]]:
        """What each part is given from outside; what is driven gets nothing."""
        given = []
        for part, free, own in zip(self.parts, self.free, _cut(action, [len(f) for f in self.free]), strict=True):
            given.append(jnp.zeros(len(part.world.spec.actions)).at[jnp.asarray(free, int)].set(own))
        return given

    def _exchange(
        self, parts: Parts, action: Float[Array, " a"], dt: Float[Array, ""], go: Callable[..., State | Belief]
    ) -> Parts:
        """Carry parts over `dt`; `go(part, moment, action, dt, number of the step)` is one step of one part."""
        given = self._given(action)
        worlds = [part.world for part in self.parts]

        def one(now: Parts, when: Int[Array, ""]) -> tuple[Parts, None]:
            before = [world.shown(m) for world, m in zip(worlds, now, strict=True)]
            after, moved = list(before), list(now)
            for i, part in enumerate(self.parts):
                mine = given[i]
                for w in self.wires:
                    if w.target == i:
                        port = (before[w.source][w.outlet] + after[w.source][w.outlet]) / 2
                        mine = mine.at[w.action].set(w.factor * port)
                h = dt * self.clocks[i] / (self.exchanges * part.steps)
                for k in range(part.steps):
                    moved[i] = go(i, moved[i], mine, h, when * part.steps + k)
                after[i] = worlds[i].shown(moved[i])
            return tuple(moved), None  # type: ignore[return-value]

        return jax.lax.scan(one, parts, jnp.arange(self.exchanges))[0]


def couple(
    name: str,
    parts: tuple[Part, ...],
    joints: tuple[Joint, ...],
    *,
    spacing: float,
    exchanges: int,
    subjects: int = 64,
    seed: int = 0,
) -> Coupled:
    """Join worlds; `spacing` is the longest step of the whole (clock of the first part), cut into `exchanges`.

    `subjects` wholes are made of the parts' own subjects, each of whom comes up as evenly as numbers allow. Raises:
    ValueError for a part, outlet or action that is not there, names that come twice and an action that is driven
    twice, and for a part whose steps would be longer than its spacing; UnitError naming the joint where the unit of
    an outlet cannot be that of the action it drives.
    """
    wires = tuple(wire(parts, joint) for joint in joints)
    driven = [(w.target, w.action) for w in wires]
    if len(set(driven)) < len(driven):
        raise ValueError("found an action that is driven twice, expected one joint for each")
    specs = [part.world.spec for part in parts]
    free = tuple(tuple(a for a in range(len(spec.actions)) if (i, a) not in driven) for i, spec in enumerate(specs))
    clock = specs[0].clock
    clocks = tuple(factor(clock, spec.clock) for spec in specs)
    for part, to in zip(parts, clocks, strict=True):
        own, unit = spacing * to / (exchanges * part.steps), part.world.spec.clock
        if own > 1.001 * part.world.spacing:
            raise ValueError(
                f"part {part.name}: found steps of {own:g} {unit}, expected at most {part.world.spacing:g} {unit}: "
                "more exchanges, or more steps in each"
            )
    rng = np.random.default_rng([seed, 5])
    counts = [eqx.filter_eval_shape(_hypotheses, part.world).shape[0] for part in parts]
    who = np.stack([rng.permutation(np.resize(rng.permutation(k), subjects)) for k in counts], axis=1)
    return Coupled(
        parts=parts,
        wires=wires,
        who=jnp.asarray(who, jnp.int32),
        spec=WorldSpec(
            name=name,
            clock=clock,
            channels=tuple(c for spec in specs for c in spec.channels),
            actions=tuple(spec.actions[a] for spec, own in zip(specs, free, strict=True) for a in own),
            traits=tuple(t for spec in specs for t in spec.traits),
        ),
        spacing=spacing,
        exchanges=exchanges,
        clocks=clocks,
        free=free,
        outlets=tuple(outlet for part in parts for outlet in part.world.outlets),
    )


def _hypotheses(world: Open) -> Float[Array, " k"]:
    return world.apart(world.begin(jnp.zeros(world.spec.trait_width)))[1]


def _cut(values: Array, widths: list[int]) -> list[Array]:
    """A vector in pieces of these widths."""
    return jnp.split(values, np.cumsum(widths)[:-1].tolist())
