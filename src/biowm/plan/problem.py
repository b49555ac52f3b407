"""A planning problem: what may be decided when, within which bounds, and what a choice leads to."""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.buckets import bucket
from biowm.core.errors import BadInput, place
from biowm.core.rollout import rollout, time_grid
from biowm.core.schedule import Entry, Schedule, between, entries, schedule
from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, World

from .course import Course
from .goals import Goal, Limit


class Problem(eqx.Module):
    """The dose of each controlled action in each of S decision intervals, towards a goal within limits.

    A rate or switch keeps its dose over an interval, a bolus is given at its start. `low` and `high` are
    what the action cards and the hard limits on single doses leave; `held` is what goes on for the actions
    that are not controlled (and, in the reference "hold", for all). Times are absolute, in the world's clock.
    """

    spec: WorldSpec = eqx.field(static=True)
    goal: Goal = eqx.field(static=True)
    limits: tuple[Limit, ...] = eqx.field(static=True)
    controls: tuple[int, ...] = eqx.field(static=True)
    now: Float[Array, ""]
    edges: Float[Array, " e"]
    times: Float[Array, " t"]
    low: Float[Array, "s c"]
    high: Float[Array, "s c"]
    held: Schedule


def pose(
    spec: WorldSpec,
    goal: Goal,
    limits: Sequence[Limit],
    *,
    now: float,
    horizon: float,
    spacing: float,
    segments: int = 12,
    controls: Sequence[str] | None = None,
    held: Schedule | None = None,
) -> Problem:
    """The problem of planning from `now` over `horizon` in at most `segments` equal decision intervals.

    Controlled are `controls`, or else the actions that goal and limits name, or else all; the goal's own limits are
    limits too. No decision is shorter than `spacing`: a learned transition knows steps of about that length, and a
    planner would find the errors of shorter ones. Futures are looked at on a grid no coarser than `spacing` that has
    every decision, every window's end and every bolus of `held`; a change of its rates between them counts by its mean.
    Raises BadInput where the question makes no sense in this world.
    """
    limits = (*goal.limits, *limits)
    cards = _controlled(spec, goal, limits, controls)
    windows = [q.window for q in (goal.quantity, *(x.quantity for x in limits)) if q.window is not None]
    if horizon <= 0 or segments < 1:
        raise _bad("horizon", horizon, f"a time above 0 {spec.clock} in at least one segment")
    if windows and max(windows) > horizon * (1 + 1e-5):
        raise _bad("horizon", horizon, f"at least the {max(windows):g} {spec.clock} that goal and limits speak of")
    segments = max(1, min(segments, int(horizon / spacing + 1e-6)))
    edges = np.linspace(now, now + horizon, segments + 1)
    going_on = [e for e in entries(held) if e.stop > now or e.onset >= now] if held is not None else []
    given = [e.onset for e in going_on if e.stop == e.onset]  # a bolus is given at the start of a step
    marks = np.array([*edges, *(now + w for w in windows), *given])
    grid, _ = time_grid(now, marks[(marks > now) & (marks <= edges[-1])], spacing)
    padded = np.concatenate([grid, np.full(bucket(len(grid)) - len(grid), grid[-1])])
    low, high = _bounds(spec, limits, cards, edges - now)
    return Problem(
        spec, goal, tuple(limits), cards, jnp.asarray(now, jnp.float32), jnp.asarray(edges, jnp.float32),
        jnp.asarray(padded, jnp.float32), jnp.asarray(low, jnp.float32), jnp.asarray(high, jnp.float32),
        jax.tree.map(jnp.asarray, schedule(going_on)),
    )  # fmt: skip


def doses(problem: Problem, share: Float[Array, "s c"]) -> Float[Array, "s c"]:
    """Shares of the range (0 to 1; what lies outside is cut) as doses that keep the hard limits on doses.

    Where they pass a hard limit on a mean or total, the doses with the smallest shares are cut first, of equal
    ones the latest; where they fall short of one, those with the largest shares are raised first.
    """
    low, high = problem.low, problem.high
    dose = low + (high - low) * jnp.clip(share, 0.0, 1.0)
    switch = jnp.array([problem.spec.actions[a].kind == "switch" for a in problem.controls])
    dose = jnp.where(switch[None], jnp.where(dose > 0.5, 1.0, 0.0), dose)
    for limit in problem.limits:
        for c in (
            c for c, a in enumerate(problem.controls) if _binds(limit, a) and limit.quantity.stat in ("mean", "total")
        ):
            end = low[:, c] if limit.side == "<=" else high[:, c]
            dose = dose.at[:, c].set(_budget(problem, limit, dose[:, c], end, share[:, c], switch[c]))
    return dose


def _budget(
    problem: Problem, limit: Limit, dose: Float[Array, " s"], end: Float[Array, " s"], share: Float[Array, " s"],
    switch: Bool[Array, ""],
) -> Float[Array, " s"]:  # fmt: skip
    """The doses moved towards `end`, one after the other, as far as a limit on their mean or total asks."""
    q, starts, stops = limit.quantity, problem.edges[:-1] - problem.now, problem.edges[1:] - problem.now
    window = problem.edges[-1] - problem.now if q.window is None else jnp.asarray(q.window, jnp.float32)
    lasting = jnp.clip(jnp.minimum(stops, window) - starts, 0.0)
    weight = jnp.where(starts < window * (1 - 1e-5), 1.0, 0.0) if q.kind == "bolus" else lasting
    bound = limit.bound * window if q.stat == "mean" else limit.bound
    past = (jnp.sum(weight * dose) - bound) * (1 if limit.side == "<=" else -1)
    order = share.shape[0] - 1 - jnp.argsort(share[::-1]) if limit.side == "<=" else jnp.argsort(-share)
    room = (weight * jnp.abs(dose - end))[order]
    moved = jnp.clip(past - (jnp.cumsum(room) - room), 0.0, room)
    part = jnp.where(room > 0, moved / jnp.where(room > 0, room, 1.0), 0.0)
    part = jnp.where(switch, jnp.where(part > 1e-5, 1.0, 0.0), part)
    return dose + (end - dose) * jnp.zeros_like(part).at[order].set(part)


def planned(problem: Problem, dose: Float[Array, "s c"]) -> Schedule:
    """The schedule of these doses, with what goes on for the actions that are not controlled."""
    cards = jnp.array(problem.controls, jnp.int32)
    bolus = jnp.array([problem.spec.actions[a].kind == "bolus" for a in problem.controls])
    onset = jnp.broadcast_to(problem.edges[:-1, None], dose.shape)
    stop = jnp.where(bolus[None], onset, problem.edges[1:, None])
    mine = jnp.any(problem.held.card[:, None] == cards[None], axis=1)
    others = eqx.tree_at(lambda h: h.card, problem.held, jnp.where(mine, -1, problem.held.card))
    card = jnp.broadcast_to(cards[None], dose.shape)
    assigned = jnp.ones(dose.shape, jnp.bool_)
    own = Schedule(*(a.reshape(-1) for a in (card, dose, onset, stop, assigned)))
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), others, own)


def references(problem: Problem) -> Schedule:
    """The stacked simple schedules of `REFERENCES`: no controlled action, all as before, the most allowed."""
    none = planned(problem, jnp.zeros_like(problem.low))
    padding = jax.tree.map(lambda a, b: a[b.shape[0] :], none, problem.held)
    blank = eqx.tree_at(lambda p: p.card, padding, jnp.full_like(padding.card, -1))
    hold = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), problem.held, blank)
    most = planned(problem, doses(problem, jnp.ones_like(problem.low)))
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), none, hold, most)


REFERENCES = ("nothing", "hold", "most allowed")


def follow(world: World, belief: Belief, problem: Problem, plan: Schedule, *, key: PRNGKeyArray, draws: int) -> Course:
    """What one schedule leads to in a world; the same key means the same noise for every schedule."""
    x = rollout(world, belief, plan, problem.times, key=key, draws=draws)
    starts = jnp.concatenate([problem.now[None], problem.times[:-1]])
    rate, bolus = jax.vmap(lambda a, b: between(plan, a, b, len(problem.spec.actions)))(starts, problem.times)
    single = jnp.array([card.kind == "bolus" for card in problem.spec.actions])
    return Course(problem.times - problem.now, problem.times - starts, x, jnp.where(single[None], bolus, rate))


def tidy(problem: Problem, plan: Schedule) -> tuple[Entry, ...]:
    """The entries of a schedule with zero doses left out and equal neighbours joined."""
    kept: list[Entry] = []
    for entry in sorted(entries(plan), key=lambda e: (e.card, e.onset)):
        last = kept[-1] if kept else None
        if entry.dose == 0:
            continue
        if last and last.stop > last.onset and last[:2] == entry[:2] and last.stop == entry.onset < entry.stop:
            kept[-1] = last._replace(stop=entry.stop)
        else:
            kept.append(entry)
    return tuple(sorted(kept, key=lambda e: (e.onset, e.card)))


def _bad(what: str, found: object, expected: str) -> BadInput:
    return BadInput(f"{what}: " + place(found=found, expected=expected))


def _binds(limit: Limit, action: int) -> bool:
    """Whether a limit is a hard one on the doses of an action."""
    return limit.severity == "hard" and limit.quantity.kind != "channel" and limit.quantity.index == action


def _controlled(
    spec: WorldSpec, goal: Goal, limits: Sequence[Limit], controls: Sequence[str] | None
) -> tuple[int, ...]:
    names = [card.name for card in spec.actions]
    for name in controls or ():
        if name not in names:
            raise _bad("controls", name, f"actions of {spec.name!r}: {', '.join(names) or 'none'}")
    if not names:
        raise _bad("controls", 0, f"a world with actions to plan; {spec.name!r} has none")
    asked = [q.name for q in (goal.quantity, *(x.quantity for x in limits)) if q.kind != "channel"]
    return tuple(sorted({names.index(name) for name in (controls or asked or names)}))


def _bounds(
    spec: WorldSpec, limits: Sequence[Limit], cards: tuple[int, ...], elapsed: Float[np.ndarray, " e"]
) -> tuple[Float[np.ndarray, "s c"], Float[np.ndarray, "s c"]]:
    """The range of each dose; limits that contradict each other leave one dose, which breaks one of them."""
    low = np.repeat([[spec.actions[a].low for a in cards]], len(elapsed) - 1, axis=0).astype(float)
    high = np.empty_like(low)
    for c, a in enumerate(cards):
        card = spec.actions[a]
        high[:, c] = 1.0 if card.kind == "switch" else np.inf if card.high is None else card.high
        for limit in (x for x in limits if _binds(x, a)):
            q = limit.quantity
            inside = elapsed[:-1] < (np.inf if q.window is None else q.window * (1 - 1e-5))
            if q.stat == "max" and limit.side == "<=":
                high[inside, c] = np.minimum(high[inside, c], limit.bound)
            elif q.stat == "min" and limit.side == ">=":
                low[inside, c] = np.maximum(low[inside, c], limit.bound)
        if np.isinf(high[:, c]).any():
            raise _bad(card.name, "no upper bound", f"one in the study, or a limit such as '{card.name} <= 10'")
    return low, np.maximum(low, high)
