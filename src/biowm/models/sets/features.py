"""What the response to a set is linear in: its members, their mean, their pairs, the context, each with time.

Groups of features share the prior variance of their weights, which is found by marginal likelihood: a group that
explains nothing is shrunk away. The group "shared" is the effect that all members have in common: the prior of one
that was never seen, and "any" what all treated conditions have in common. Side information of the members (an
embedding each) makes a group of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from biowm.core.registry import register

from .course import Course, SetFrame, in_time

_MOST_PAIRS = 400
GROUPS = ("base", "any", "context", "members", "dose", "shared", "side", "pairs", "members*context")


@register("models", "Design")
class Design(eqx.Module):
    """Which groups there are, the `pairs` of members that were seen together, and each member's `side` information."""

    groups: tuple[str, ...] = eqx.field(static=True)
    frame: SetFrame
    pairs: Int[Array, "p 2"]
    side: Float[Array, "a e"]


@dataclass(frozen=True)
class Block:
    """Columns of one group: its name, and whether they change with time."""

    name: str
    width: int


def fit_design(
    frame: SetFrame, given: Float[np.ndarray, "r a"], groups: tuple[str, ...], side: Float[np.ndarray, "a e"] | None
) -> Design:
    """The groups that training conditions can tell apart; `given` holds the doses (over the largest) of every row."""
    on = given != 0
    together = np.argwhere(np.triu((on.T.astype(float) @ on) > 0, 1))
    side = np.zeros((given.shape[1], 0)) if side is None else side
    varied = any(len(np.unique(column[column != 0])) > 1 for column in given.T)
    can = {
        "context": frame.trait_mean.shape[0] > 0,
        "dose": varied,
        "side": side.shape[1] > 0,
        "pairs": 0 < len(together) <= _MOST_PAIRS,
        "members*context": frame.trait_mean.shape[0] > 0,
    }
    kept = tuple(g for g in groups if can.get(g, True))
    pairs = together if "pairs" in kept else np.zeros((0, 2))
    return Design(kept, frame, jnp.asarray(pairs, jnp.int32), jnp.asarray(side, jnp.float32))


def parts(design: Design, course: Course) -> Mapping[str, Float[Array, " _"]]:
    """The features of each group, as they are at once."""
    on = (course.dose != 0).astype(jnp.float32)
    both = on[design.pairs[:, 0]] * on[design.pairs[:, 1]]
    found = {
        "base": jnp.ones(1),
        "any": jnp.any(course.dose != 0).astype(jnp.float32)[None],
        "context": course.traits,
        "members": on,
        "dose": course.dose,
        "shared": jnp.sum(on)[None],
        "side": on @ design.side,
        "pairs": both,
        "members*context": jnp.outer(on, course.traits).ravel(),
    }
    return {name: found[name] for name in design.groups}


def features(design: Design, course: Course) -> Float[Array, " p"]:
    """All features of one condition at one moment: each group as it is, then times the functions of time."""
    now = in_time(design.frame, jnp.where(jnp.any(course.dose != 0), course.since, course.clock))
    rows = [jnp.zeros(0)]  # a rule may have nothing but the base
    for name, part in parts(design, course).items():
        rows.append(part)
        rows.append(jnp.outer(part, in_time(design.frame, course.clock) if name == "base" else now).ravel())
    return jnp.concatenate(rows)


def blocks(design: Design) -> tuple[Block, ...]:
    """The groups of prior variances, in the order of the features."""
    frame = design.frame
    course = Course(jnp.zeros(()), jnp.zeros(()), jnp.zeros_like(frame.top), jnp.zeros_like(frame.trait_mean))
    shapes = jax.eval_shape(lambda c: dict(parts(design, c)), course)
    found = []
    for name in design.groups:
        width, times = shapes[name].shape[0], frame.nodes.shape[0]
        found += [Block(name, width), Block(f"{name} in time", width * times)]
    return tuple(found)


def own_features(design: Design, course: Course) -> Float[Array, " r"]:
    """What a condition's own departure is linear in: a level, and functions of time."""
    return jnp.concatenate([jnp.ones(1), in_time(design.frame, course.clock)])
