"""Receding horizon: plan, do the first decision, read again, plan anew. Every decision is one compiled call."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from biowm.core.registry import get
from biowm.core.schedule import Schedule, between
from biowm.core.world import Belief, World

from .problem import Problem


def shifted(problem: Problem, now: Float[Array, ""], held: Schedule) -> Problem:
    """The same question asked at another time, while other things go on."""
    later = now - problem.now
    return eqx.tree_at(
        lambda p: (p.now, p.edges, p.times, p.held),
        problem,
        (now, problem.edges + later, problem.times + later, held),
    )


def decide(
    world: World,
    belief: Belief,
    problem: Problem,
    held: Schedule,
    *,
    key: PRNGKeyArray,
    planner: str = "cem",
    draws: int = 16,
    iterations: int = 8,
    candidates: int = 64,
) -> tuple[Float[Array, " a"], Float[Array, " a"]]:
    """What to give from the belief's now until the end of the problem's first interval: rates and boluses now.

    `problem` is posed once, at any time; `held` is what is known to come (announced meals, other drugs), and its
    size must not change between calls, so that one compiled program serves all of them; a bolus of it between two of
    the problem's times is given at the first. Pure: callers vmap and jit.
    `iterations` times `candidates` schedules are weighed, each by `draws` futures.
    """
    asked = shifted(problem, belief.t, held)
    find = get("planners", planner)
    plan = find(world, belief, asked, key=key, draws=draws, iterations=iterations, candidates=candidates)
    return between(plan, asked.edges[0], asked.edges[1], len(world.spec.actions))


def move(
    world: World, belief: Belief, rate: Float[Array, " a"], bolus: Float[Array, " a"], until: Float[Array, ""],
) -> Belief:  # fmt: skip
    """The belief at `until`, after boluses now and under rates from now on; no reading is taken."""
    ahead = world.predict(world.impulse(belief, bolus), rate, until - belief.t)
    return eqx.tree_at(lambda b: b.t, ahead, jnp.broadcast_to(until, belief.t.shape))
