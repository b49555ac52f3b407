"""Forecasts of many subjects from many origins: filter once, roll out from every origin, streamed in chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from .buckets import bucket
from .endpoint import Endpoint
from .path import Path, take
from .programs import make_room
from .queries import Queries
from .rollout import assimilate, at, rollout
from .schedule import Schedule
from .spec import WorldSpec
from .world import Belief, Mixture, World

Model = World | Endpoint

# Queries a chunk, draws a block, and the least number of times: few shapes, few compilations, bounded memory.
_FEW, _MANY, _BLOCK, _TIMES = 8, 64, 32, 12
_WIDE = 256  # channels from which on chunks are small, however many queries there are


@eqx.filter_jit
def _filtered(world: World, paths: Path, subject: jax.Array, origin: jax.Array) -> Belief:
    """The belief of each query at its origin (leading axis); a subject is filtered once."""
    beliefs = jax.vmap(lambda path: assimilate(world, path))(paths)
    return jax.tree.map(lambda leaf: leaf[subject, origin], beliefs)


@eqx.filter_jit
def _ask(
    world: World, beliefs: Belief, times: jax.Array, plans: Schedule, keys: Key[Array, " q"], first: jax.Array,
    draws: int,
) -> jax.Array:  # fmt: skip
    def one(belief: Belief, when: jax.Array, plan: Schedule, key: PRNGKeyArray) -> jax.Array:
        return rollout(world, belief, plan, when, key=key, draws=draws, first=first)

    return jax.vmap(one)(beliefs, times, plans, keys)


def forecast(
    world: Model,
    paths: Path,
    queries: Queries,
    *,
    key: PRNGKeyArray,
    draws: int,
    plans: Schedule | None = None,
    progress: Callable[[float], None] = lambda share: None,
) -> Float[np.ndarray, "q n h d"]:
    """Draws of every query's future, free-running under the paths' own schedule or `plans` (one a query).

    Queries go in chunks and draws in blocks of a fixed size, so that one compiled program serves any number of them;
    subjects are filtered once a chunk and shared by their queries. The noise of a query depends on (key, subject,
    draw, time), so that the same subject under two schedules shares it. Where a bolus is given or a set changes between
    the times asked for there is a step of its own, so that either comes in its own time. `progress` is called with the
    share that is done.
    """
    if isinstance(world, Endpoint):
        given = take(paths, queries.subject).plan if plans is None else plans
        return _answered(world, paths, queries, given, key=key, draws=draws)
    make_room()
    if isinstance(world, Mixture):
        return _pooled(world, paths, queries, key=key, draws=draws, plans=plans, progress=progress)
    given = take(paths.plan, queries.subject) if plans is None else plans
    steps, where = _with_edges(world.spec, queries.times, np.asarray(paths.t)[queries.subject, queries.origin], given)
    order = np.argsort(queries.subject, kind="stable")
    n_query, n_time = queries.times.shape
    width, n_step = len(world.spec.channels), steps.shape[1]
    last = np.repeat(steps[:, -1:], bucket(n_step, _TIMES) - n_step, axis=1)
    times = np.concatenate([steps, last], axis=1).astype(np.float32)
    size = _FEW if n_query <= _MANY // 2 or width >= _WIDE else _MANY
    out = np.empty((n_query, draws, n_time, width), np.float32)
    for start in range(0, n_query, size):
        rows = order[start : start + size]
        full = np.concatenate([rows, np.repeat(rows[-1:], size - len(rows))])
        who, place = np.unique(queries.subject[full], return_inverse=True)
        whole = np.concatenate([who, np.repeat(who[-1:], size - len(who))])
        group = take(paths, whole)
        asked = take(given, full)
        keys = jax.vmap(lambda s: jax.random.fold_in(key, s))(jnp.asarray(queries.subject[full]))
        beliefs = _filtered(world, group, jnp.asarray(place), jnp.asarray(queries.origin[full]))
        when = jnp.asarray(times[full])
        for first in range(0, draws, _BLOCK):
            progress((start + len(rows) * first / draws) / n_query)
            got = _ask(world, beliefs, when, asked, keys, jnp.int32(first), _BLOCK)
            read = np.asarray(got)[: len(rows), : draws - first]
            out[rows, first : first + _BLOCK] = np.take_along_axis(read, where[rows][:, None, :, None], axis=2)
    progress(1.0)
    return out


def _with_edges(
    spec: WorldSpec, times: Float[np.ndarray, "q h"], start: Float[np.ndarray, " q"], plans: Schedule
) -> tuple[Float[np.ndarray, "q s"], Int[np.ndarray, "q h"]]:
    """The times of every query with the edges between `start` and its last, and where the asked ones are.

    Edges are boluses, and where members of a set come and go: a rate may be averaged over a step, a set may not.
    """
    card, onset, stop = (np.asarray(leaf) for leaf in (plans.card, plans.onset, plans.stop))
    held = [a for a, c in enumerate(spec.actions) if c.kind == "set-member"]
    edges = np.concatenate([onset, stop], axis=1)
    is_edge = np.concatenate([(card >= 0) & (onset == stop) | np.isin(card, held), np.isin(card, held)], axis=1)
    between = is_edge & (edges > start[:, None]) & (edges < times[:, -1:])
    most = between.sum(1).max(initial=0)
    own = np.sort(np.where(between, edges, np.inf), axis=1)[:, :most]
    steps = np.concatenate([times, np.minimum(own, times[:, -1:])], axis=1)
    order = np.argsort(steps, axis=1, kind="stable")
    return np.take_along_axis(steps, order, axis=1), np.argsort(order, axis=1, kind="stable")[:, : times.shape[1]]


def _answered(
    model: Endpoint, paths: Path, queries: Queries, plans: Schedule, *, key: PRNGKeyArray, draws: int
) -> Float[np.ndarray, "q n h d"]:
    """What a model without transition says of histories cut off at the origins, so that it cannot read the answers.

    Raises ValueError where the draws are not of the shape asked for.
    """
    n = len(queries.subject)
    later = np.arange(paths.t.shape[1])[None, :] > queries.origin[:, None]
    seen = take(paths, queries.subject)
    seen = replace(seen, x=np.where(later[:, :, None], np.nan, np.asarray(seen.x)).astype(np.float32))
    cut = Queries(np.arange(n), queries.origin, queries.times)
    said = model.answer(seen, cut, plans, seed=int(jax.random.bits(key)), draws=draws)
    wanted = (*queries.subject.shape, draws, queries.times.shape[1], len(model.spec.channels))
    if np.shape(said) != wanted:
        raise ValueError(f"{type(model).__name__} answered draws of shape {np.shape(said)}, expected {wanted}")
    return np.asarray(said, np.float32)


def shares(weights: Sequence[float], n: int) -> list[int]:
    """How many of `n` draws each member of a linear pool gives, the largest remainders first."""
    exact = np.asarray(weights, np.float64) * n
    count = np.floor(exact).astype(int)
    count[np.argsort(count - exact, kind="stable")[: n - count.sum()]] += 1
    return count.tolist()


def _pooled(
    world: Mixture, paths: Path, queries: Queries, *, draws: int, progress: Callable[[float], None], **how: Any
) -> Float[np.ndarray, "q n h d"]:
    """Draws of a mixture: each member's own, as many as its weight asks, by programs that serve any mixture."""
    members = world.members()
    counts = shares([weight for _, weight in members], draws)
    parts = []
    for i, ((member, _), count) in enumerate(zip(members, counts, strict=True)):
        if count:

            def tell(share: float, before: int = sum(counts[:i]), count: int = count) -> None:
                progress((before + share * count) / draws)

            parts.append(forecast(member, paths, queries, draws=count, progress=tell, **how))
    return np.concatenate(parts, axis=1)


def belief_at(world: World, path: Path, origin: int):
    """The belief of one path after its reading number `origin`."""
    return at(eqx.filter_jit(assimilate)(world, path), origin)
