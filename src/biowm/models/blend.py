"""The blend: a mixture of worlds; every draw follows one member, so each future is coherent.

Members of one structure (the variants of a trunk, the direct rules) are stacked, and a draw takes the parameters of its
own: one compiled program serves every blend of the same kinds of members, and a rollout costs one step a kind.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Mixture, Observation, State, World

Part = TypeVar("Part", bound=eqx.Module)


class BlendBelief(Belief):
    """One belief a member, stacked as the members are."""

    t: Float[Array, ""]
    parts: tuple[Belief, ...]


class BlendState(State):
    """One state a stack; which stack this draw follows, and which member of each stack it was drawn from."""

    t: Float[Array, ""]
    stack: Int[Array, ""]
    member: Int[Array, " s"]
    parts: tuple[State, ...]


class Blend(Mixture):
    """A linear pool of the members' predictive distributions, with weights that sum to one over all stacks.

    Each of `stacks` holds members of one structure along a leading axis of its arrays; members of weight 0 pad it.
    """

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    stacks: tuple[World, ...]
    weights: tuple[Float[Array, " _"], ...]

    def members(self) -> list[tuple[World, float]]:
        found = []
        for stack, weights in zip(self.stacks, self.weights, strict=True):
            shares = np.asarray(weights, np.float64)
            found += [(_one(stack, i), float(shares[i])) for i in np.flatnonzero(shares > 0).tolist()]
        return found

    def begin(self, traits: Float[Array, " s"]) -> BlendBelief:
        return BlendBelief(jnp.zeros(()), self._all(lambda w: w.begin(traits)))

    def update(self, belief: BlendBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> BlendBelief:
        return BlendBelief(belief.t, self._all(lambda w, b: w.update(b, reading, mask), self._now(belief)))

    def predict(self, belief: BlendBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> BlendBelief:
        return BlendBelief(belief.t + dt, self._all(lambda w, b: w.predict(b, action, dt), self._now(belief)))

    def strides(self, belief: BlendBelief, dt: Float[Array, ""]) -> Int[Array, ""]:
        return jnp.max(jnp.concatenate(self._all(lambda w, b: w.strides(b, dt), self._now(belief))))

    def draw(self, belief: BlendBelief, *, key: PRNGKeyArray) -> BlendState:
        k_member, k_draw = jax.random.split(key)
        sizes = [len(w) for w in self.weights]
        starts = jnp.asarray(np.cumsum([0, *sizes[:-1]]), jnp.int32)
        chosen = jax.random.categorical(k_member, jnp.log(jnp.concatenate(self.weights))).astype(jnp.int32)
        place = chosen - starts
        inside = (place >= 0) & (place < jnp.asarray(sizes, jnp.int32))
        member = jnp.where(inside, place, 0)
        parts = tuple(
            _one(stack, i).draw(_one(part, i), key=k_draw)
            for stack, part, i in zip(self.stacks, self._now(belief), member, strict=True)
        )
        return BlendState(belief.t, jnp.argmax(inside).astype(jnp.int32), member, parts)

    def step(
        self, state: BlendState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> BlendState:
        parts = tuple(w.step(s, action, dt, key=key) for w, s in self._followed(state))
        return BlendState(state.t + dt, state.stack, state.member, parts)

    def impulse(self, state, dose: Float[Array, " a"]):
        if isinstance(state, BlendState):
            parts = tuple(w.impulse(s, dose) for w, s in self._followed(state))
        else:
            parts = self._all(lambda w, b: w.impulse(b, dose), self._now(state))
        return eqx.tree_at(lambda s: s.parts, state, parts)

    def observe(self, state: BlendState) -> Observation:
        seen = [w.observe(s) for w, s in self._followed(state)]
        return Observation(jnp.stack([o.mean for o in seen])[state.stack], jnp.stack([o.sd for o in seen])[state.stack])

    def _all(self, f: Callable, *parts: tuple) -> tuple:
        """A function of one member (and its part) for every member of every stack."""
        rows = zip(self.stacks, self.weights, *parts, strict=True)
        return tuple(eqx.filter_vmap(f, axis_size=len(w))(stack, *part) for stack, w, *part in rows)

    def _followed(self, state: BlendState) -> list[tuple[World, State]]:
        """Of each stack, the member this draw was drawn from and its state."""
        worlds = [_one(stack, i) for stack, i in zip(self.stacks, state.member, strict=True)]
        return list(zip(worlds, self._now(state), strict=True))

    def _now(self, moment: BlendBelief | BlendState) -> tuple:
        """The members' parts with the blend's own clock (the filter sets the clock of the whole)."""
        return tuple(
            eqx.tree_at(lambda p: p.t, part, jnp.broadcast_to(moment.t, part.t.shape)) for part in moment.parts
        )


def blend(spec: WorldSpec, members: dict[str, World], weights: dict[str, float]) -> World:
    """The blend of the members with weight; a single one needs no blend around it."""
    if len(weights) == 1:
        return members[next(iter(weights))]
    kinds: dict[object, list[str]] = {}
    for name in weights:
        kinds.setdefault(_structure(members[name]), []).append(name)
    stacks = tuple(_stack([members[name] for name in names]) for names in kinds.values())
    shares = tuple(_padded([weights[name] for name in names]) for names in kinds.values())
    return Blend(spec, members[next(iter(weights))].spacing, stacks, shares)


def _structure(world: World) -> object:
    """What two worlds must share to be stacked: everything but the values of their arrays."""
    arrays, rest = eqx.partition(world, eqx.is_array)
    leaves, tree = jax.tree.flatten(arrays)
    return tree, tuple((a.shape, str(a.dtype)) for a in leaves), tuple(jax.tree.leaves(rest))


def _size(n: int) -> int:
    """The power of two that holds n members: few sizes, few compilations."""
    return 1 << (n - 1).bit_length()


def _stack(worlds: Sequence[World]) -> World:
    parts = [eqx.partition(w, eqx.is_array) for w in worlds]
    full = [p[0] for p in parts] + [parts[0][0]] * (_size(len(worlds)) - len(worlds))
    return eqx.combine(jax.tree.map(lambda *leaves: jnp.stack(leaves), *full), parts[0][1])


def _padded(weights: Sequence[float]) -> Float[Array, " m"]:
    return jnp.asarray([*weights, *([0.0] * (_size(len(weights)) - len(weights)))], jnp.float32)


def _one(stacked: Part, i: Int[Array, ""] | int) -> Part:
    """One member of a stack; the only one is taken without a look-up, so that its tables are never copied."""
    return jax.tree.map(
        lambda leaf: (leaf[0] if leaf.shape[0] == 1 else leaf[i]) if eqx.is_array(leaf) else leaf, stacked
    )
