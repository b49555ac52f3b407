"""What a schedule is worth to a model that did not choose it: goal values, limits kept, paths, per draw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from biowm.core.errors import BadInput, place
from biowm.core.interval import Interval
from biowm.core.schedule import Schedule
from biowm.core.world import Belief, World
from biowm.train.fitted import Fitted

from .course import value
from .goals import Limit, margin
from .problem import Problem, follow


class Judged(NamedTuple):
    """M schedules in one world: the goal, the share past each of L limits, and the readings, all per draw."""

    goal: Float[np.ndarray, "m n"]
    margins: Float[np.ndarray, "m l n"]
    x: Float[np.ndarray, "m n t d"]


def judge(
    world: World, belief: Belief, problem: Problem, plans: Sequence[Schedule], *, key: PRNGKeyArray, draws: int
) -> Judged:
    """What these schedules lead to in a world, with the same noise for each of them."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *plans)
    return Judged(*(np.asarray(part) for part in _judge(world, belief, problem, stacked, key, draws)))


@eqx.filter_jit
def _judge(
    world: World, belief: Belief, problem: Problem, plans: Schedule, key: PRNGKeyArray, draws: int
) -> tuple[Array, Array, Array]:
    def one(plan: Schedule) -> tuple[Array, Array, Array]:
        course = follow(world, belief, problem, plan, key=key, draws=draws)
        margins = [margin(limit, course) for limit in problem.limits]
        return value(problem.goal.quantity, course), jnp.array(margins).reshape(-1, draws), course.x

    return jax.vmap(one)(plans)


def pool(parts: Sequence[Judged]) -> Judged:
    """The draws of several judges side by side."""
    goal, margins, x = zip(*parts, strict=True)
    return Judged(np.concatenate(goal, 1), np.concatenate(margins, 2), np.concatenate(x, 1))


def interval(draws: Float[np.ndarray, " n"]) -> Interval:
    """The mean, and the ranks between which 95 % of further draws fall; n counts draws."""
    n = len(draws)
    order = np.sort(draws)
    rank = max(int(0.025 * (n + 1)), 1)
    return Interval(float(draws.mean()), float(order[rank - 1]), float(order[n - rank]), n)


def kept(judged: Judged) -> Float[np.ndarray, "m l"]:
    """The share of draws in which each schedule keeps each limit."""
    return (judged.margins <= 0).mean(2)


def disagreement(a: Float[np.ndarray, "n t d"], b: Float[np.ndarray, "n t d"], channels: Sequence[int]) -> float:
    """How far two judges' median paths are apart, in half-widths of their 80 % bands.

    Averaged over time, for the channel where it is largest; 0 where no channel is asked about.
    """
    if not channels:
        return 0.0
    a, b = a[:, :, list(channels)], b[:, :, list(channels)]
    gap = np.abs(np.median(a, 0) - np.median(b, 0))
    half = np.mean([np.diff(np.quantile(side, [0.1, 0.9], axis=0), axis=0)[0] / 2 for side in (a, b)], axis=0)
    least = 1e-6 * (np.abs(a).max((0, 1)) + np.abs(b).max((0, 1))) + 1e-12  # models without any spread
    return float((gap.mean(0) / (half.mean(0) + least)).max())


def check_promise(fitted: Fitted, limit: Limit) -> None:
    """Refuse a probability that the calibration subjects are too few to promise."""
    subjects = fitted.calibration.subjects
    if limit.level < 1 and (subjects + 1) * (1 - limit.level) < 1 - 1e-9:
        need = math.ceil(1 / (1 - limit.level) - 1e-9) - 1
        expected = f"at least {need} to promise a probability of {limit.level:g}"
        raise BadInput(
            place(column=f"--limit {limit.text!r}", found=f"{subjects} calibration subjects", expected=expected)
        )
