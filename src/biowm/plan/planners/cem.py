"""The cross-entropy planner: sample schedules, keep the elite, sample around it, all in one compiled call."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from biowm.core.registry import register
from biowm.core.schedule import Schedule
from biowm.core.world import Belief, World
from biowm.plan.problem import REFERENCES, Problem, doses, follow, planned, references
from biowm.plan.score import score

Search = tuple[Float[Array, "s c"], Float[Array, "s c"], Float[Array, "s c"]]  # mean, sd and best of the shares
SOFT = 10.0  # what a soft limit broken by 100 % costs, in ranges of the goal over the simple schedules


@register("planners", "cem")
def cem(
    world: World,
    belief: Belief,
    problem: Problem,
    *,
    key: PRNGKeyArray,
    draws: int = 64,
    iterations: int = 12,
    candidates: int = 48,
    elites: int = 8,
) -> Schedule:
    """A schedule better than the simple ones it is compared with, or the best of those.

    Every iteration draws `draws` new futures, the same for all its schedules, so that none wins by fitting one
    sample. Schedules that keep the hard limits come first, by goal; the others by how far they miss. The last
    iteration chooses between its best candidate, the centre of the search and the simple schedules
    (Rubinstein & Kroese, doi:10.1007/978-1-4757-4321-0).
    """
    return _search(world, belief, problem, key, draws, iterations, candidates, elites)


@eqx.filter_jit
def _search(
    world: World,
    belief: Belief,
    problem: Problem,
    key: PRNGKeyArray,
    draws: int,
    iterations: int,
    candidates: int,
    elites: int,
) -> Schedule:
    sample_key, follow_key = jax.random.split(key)
    simple = references(problem)

    def body(carry: Search, given: tuple[Array, PRNGKeyArray]) -> tuple[Search, Int[Array, ""]]:
        mean, sd, best = carry
        noise, key = given

        def scores(plan: Schedule) -> Float[Array, " 3"]:
            return score(problem, follow(world, belief, problem, plan, key=key, draws=draws))

        share = jnp.clip(mean[None] + sd[None] * noise, -0.25, 1.25).at[0].set(mean).at[1].set(best)
        plans = _join(jax.vmap(lambda s: planned(problem, doses(problem, s)))(share), simple)
        rank = _rank(jax.vmap(scores)(plans), len(REFERENCES))
        elite = share[jnp.argsort(rank[:candidates])[:elites]]
        mean = 0.2 * mean + 0.8 * jnp.mean(elite, axis=0)
        return (mean, jnp.std(elite, axis=0) + 0.02, elite[0]), jnp.argmin(rank)

    segments, controls = problem.low.shape
    noise = jax.random.normal(sample_key, (iterations, candidates, segments + 1, controls))
    noise = (noise[:, :, :1] + noise[:, :, 1:]) / jnp.sqrt(2.0)  # half is common to all intervals: levels move as one
    half = jnp.full(problem.low.shape, 0.5)
    futures = jax.vmap(lambda i: jax.random.fold_in(follow_key, i))(jnp.arange(iterations, dtype=jnp.uint32))
    (_, _, best), first = jax.lax.scan(body, (half, half, half), (noise, futures))
    found = planned(problem, doses(problem, best))
    # the last ranking also says whether a simple schedule beats every candidate
    choice = jnp.maximum(first[-1] - candidates + 1, 0)
    return jax.tree.map(lambda leaf: leaf[choice], _join(jax.tree.map(lambda leaf: leaf[None], found), simple))


def _join(some: Schedule, others: Schedule) -> Schedule:
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), some, others)


def _rank(scores: Float[Array, "m 3"], simple: int) -> Int[Array, " m"]:
    """The place of each schedule: feasible first, then by goal and soft limits; the last `simple` set the scale."""
    hard, goal, soft = scores.T
    unit = SOFT * jnp.ptp(goal[-simple:]) + 1e-6
    return jnp.argsort(jnp.lexsort((goal + unit * soft, hard)))
