"""How good a course is: a mild CVaR of the goal over draws, and by how much the limits are broken."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .course import Course
from .goals import Limit, Severity, cost, margin, shortfall
from .problem import Problem

TAIL = 0.8  # share of the draws, the worst ones, that the goal is averaged over


def cvar(costs: Float[Array, " n"], tail: float = TAIL) -> Float[Array, ""]:
    """The mean of the worst `tail` of the draws: a lucky fifth cannot carry a plan."""
    return jnp.mean(jnp.sort(costs)[-math.ceil(tail * costs.shape[0]) :])


def aim(limit: Limit) -> float:
    """The level a planner aims at: half the allowed failures, so that other models agree."""
    return 1 - (1 - limit.level) / 2


def broken(problem: Problem, course: Course, severity: Severity) -> Float[Array, ""]:
    """The sum over limits of one severity of how far each misses what the planner aims at; 0 where all hold."""
    misses = [
        jax.nn.relu(shortfall(margin(limit, course), aim(limit)))
        for limit in problem.limits
        if limit.severity == severity
    ]
    return jnp.sum(jnp.array(misses)) if misses else jnp.zeros(())


def score(problem: Problem, course: Course) -> Float[Array, " 3"]:
    """Hard limits broken, cost, soft limits broken."""
    goal = cvar(cost(problem.goal, course))
    return jnp.stack([broken(problem, course, "hard"), goal, broken(problem, course, "soft")])
