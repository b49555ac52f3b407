"""What the response to a set is linear in: its members, their mean, their pairs, the context, each with time.

Groups of features share the prior variance of their weights, which is found by marginal likelihood: a group that
explains nothing is shrunk away; each trait is a group of its own. The group "shared" is the effect that all members
have in common: the prior of one that was never seen, and "any" what all treated conditions have in common. Side
information of the members (an embedding each) makes a group of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from biowm.core.registry import register

from .course import Course, SetFrame, in_time

_MOST_PAIRS = 400
_SLOW = 2  # functions of time of what members do in a context or together: the slowest
GROUPS = ("base", "any", "context", "context*context", "members", "dose", "shared", "side", "pairs", "members*context")


@register("models", "Design")
class Design(eqx.Module):
    """Which groups there are, the `pairs` of members that were seen together, and each member's `side` information.

    `treated`: only where something is given does a condition depart on its own.
    """

    groups: tuple[str, ...] = eqx.field(static=True)
    treated: bool = eqx.field(static=True)
    frame: SetFrame
    pairs: Int[Array, "p 2"]
    side: Float[Array, "a e"]


@dataclass(frozen=True)
class Block:
    """Columns of one group: its name, and whether they change with time."""

    name: str
    width: int


def fit_design(
    frame: SetFrame, given: Float[np.ndarray, "r a"], groups: tuple[str, ...], side: Float[np.ndarray, "a e"] | None,
    treated: bool = False,
) -> Design:  # fmt: skip
    """The groups that training conditions can tell apart; `given` holds the doses (over the largest) of every row."""
    on = given != 0
    together = np.argwhere(np.triu((on.T.astype(float) @ on) > 0, 1))
    side = np.zeros((given.shape[1], 0)) if side is None else side
    crossed = (sum(frame.widths) ** 2 - sum(w * w for w in frame.widths)) // 2
    varied = any(len(np.unique(column[column != 0])) > 1 for column in given.T)
    can = {
        "context": frame.trait_mean.shape[0] > 0,
        "context*context": 0 < crossed <= _MOST_PAIRS,
        "dose": varied,
        "side": side.shape[1] > 0,
        "pairs": 0 < len(together) <= _MOST_PAIRS,
        "members*context": frame.trait_mean.shape[0] > 0,
    }
    kept = tuple(g for g in groups if can.get(g, True))
    pairs = together if "pairs" in kept else np.zeros((0, 2))
    return Design(kept, treated, frame, jnp.asarray(pairs, jnp.int32), jnp.asarray(side, jnp.float32))


def parts(design: Design, course: Course) -> Mapping[str, Float[Array, " _"]]:
    """The features of each group, as they are at once; a group for each trait, and each pair of traits."""
    on = (course.dose != 0).astype(jnp.float32)
    both = on[design.pairs[:, 0]] * on[design.pairs[:, 1]]
    traits = jnp.split(course.traits, np.cumsum(design.frame.widths)[:-1]) if design.frame.widths else []
    alone = {
        "base": jnp.ones(1),
        "any": jnp.any(course.dose != 0).astype(jnp.float32)[None],
        "members": on,
        "dose": course.dose,
        "shared": jnp.sum(on)[None],
        "side": on @ design.side,
        "pairs": both,
    }
    several = {
        "context": {f"{i}": trait for i, trait in enumerate(traits)},
        "context*context": {
            f"{i}*{j}": jnp.outer(traits[i], traits[j]).ravel() for j in range(len(traits)) for i in range(j)
        },
        "members*context": {f"{i}": jnp.outer(on, trait).ravel() for i, trait in enumerate(traits)},
    }
    found = {}
    for name in design.groups:
        if name in alone:
            found[name] = alone[name]
        else:
            found |= {f"{name} {which}": part for which, part in several[name].items()}
    return found


def _now(design: Design, course: Course, name: str) -> Float[Array, " r"]:
    """The functions of time that a group goes with: since the set changed; the clock where nothing is given."""
    since = jnp.where(jnp.any(course.dose != 0), course.since, course.clock)
    time = in_time(design.frame, course.clock if name == "base" else since)
    return time[:_SLOW] if name.startswith(("members*", "pairs")) else time


def features(design: Design, course: Course) -> Float[Array, " p"]:
    """All features of one condition at one moment: each group as it is, then times the functions of time."""
    rows = [jnp.zeros(0)]  # a rule may have nothing but the base
    for name, part in parts(design, course).items():
        rows += [part, jnp.outer(part, _now(design, course, name)).ravel()]
    return jnp.concatenate(rows)


def blocks(design: Design) -> tuple[Block, ...]:
    """The groups of prior variances, in the order of the features."""
    frame = design.frame
    course = Course(jnp.zeros(()), jnp.zeros(()), jnp.zeros_like(frame.top), jnp.zeros_like(frame.trait_mean))
    found = []
    for name, part in parts(design, course).items():
        times = _now(design, course, name).shape[0]
        found += [Block(name, part.shape[0]), Block(f"{name} in time", part.shape[0] * times)]
    return tuple(found)


def own_features(design: Design, course: Course) -> Float[Array, " r"]:
    """What a condition's own departure is linear in: a level, and slow functions of time."""
    own = jnp.concatenate([jnp.ones(1), in_time(design.frame, course.clock)[:_SLOW]])
    return jnp.where(jnp.any(course.dose != 0), own, 0.0) if design.treated else own
