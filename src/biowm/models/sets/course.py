"""The course of a condition: which set is in force, since when, and in what context.

The same object is carried by the filter over a history, by the rows a trunk is trained on and by a free-running
rollout. It is a function of the set alone: the order in which its members are listed is nowhere in it.
"""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from biowm.core.path import Path
from biowm.core.registry import register
from biowm.core.schedule import between
from biowm.core.spec import WorldSpec

_MOST_NODES = 8
_CUT = 0.1  # functions of time whose variance is less than this part of the largest are left out


@register("models", "SetFrame")
class SetFrame(eqx.Module):
    """Scales of a screen: the largest dose of each action, the traits, and the times at which responses were read.

    `nodes` are log(1 + time / `pace`) of the reading times (at most eight), `root` makes the functions of time of the
    kernel between them, the slowest first; a screen that is read once has none. `widths` are those of the traits.
    """

    widths: tuple[int, ...] = eqx.field(static=True)
    top: Float[Array, " a"]
    trait_mean: Float[Array, " s"]
    trait_sd: Float[Array, " s"]
    pace: Float[Array, ""]
    width: Float[Array, ""]
    nodes: Float[Array, " k"]
    root: Float[Array, "k r"]


class Course(eqx.Module):
    """`dose` of every member in force (over its largest), times (world clock) since the start and the set's change."""

    clock: Float[Array, ""]
    since: Float[Array, ""]
    dose: Float[Array, " a"]
    traits: Float[Array, " s"]


def fit_set_frame(spec: WorldSpec, paths: Path) -> SetFrame:
    """Scales from the training conditions (stacked)."""
    card, dose = np.asarray(paths.plan.card), np.abs(np.asarray(paths.plan.dose))
    top = np.array([dose[card == a].max(initial=0.0) for a in range(len(spec.actions))])
    traits = np.asarray(paths.traits, np.float64)
    traits = np.where(np.isfinite(traits).any(0), traits, 0.0)
    sd = np.nanstd(traits, 0)
    t = np.asarray(paths.t, np.float64)
    lead = np.unique((t - t[:, :1])[np.isfinite(np.asarray(paths.x)).any(-1)])
    positive = lead[lead > 0]
    pace = float(positive.min()) if len(positive) else 1.0
    nodes = np.log1p(lead / pace)
    if len(nodes) > _MOST_NODES:
        nodes = np.unique(np.quantile(nodes, np.linspace(0, 1, _MOST_NODES)))
    nodes = nodes if len(nodes) > 1 else np.zeros(0)
    width = max(float(np.ptp(nodes)) / 4, 1e-6) if len(nodes) else 1.0
    value, vector = np.linalg.eigh(np.exp(-0.5 * ((nodes[:, None] - nodes[None, :]) / width) ** 2))
    kept = np.flatnonzero(value > _CUT * value.max(initial=0.0))[::-1]
    root = vector[:, kept] / np.sqrt(value[kept])
    arrays = (
        np.where(top > 0, top, 1.0), np.nanmean(traits, 0), np.where(sd > 1e-6, sd, 1.0), pace, width, nodes, root,
    )  # fmt: skip
    widths = tuple(place.stop - place.start for place in spec.trait_places)
    return SetFrame(widths, *(jnp.asarray(a, jnp.float32) for a in arrays))


def untouched(frame: SetFrame, traits: Float[Array, " s"]) -> Course:
    """The course of a condition in which nothing is given yet."""
    known = jnp.where(jnp.isnan(traits), 0.0, (traits - frame.trait_mean) / frame.trait_sd)
    zero = jnp.zeros(())
    return Course(zero, zero, jnp.zeros_like(frame.top), known)


def go_on(course: Course, frame: SetFrame, action: Float[Array, " a"], dt: Float[Array, ""]) -> Course:
    """Let `dt` (world clock) pass with the doses of `action` in force."""
    dose = action / frame.top
    changed = jnp.any((dose != 0) != (course.dose != 0))
    return Course(course.clock + dt, jnp.where(changed, 0.0, course.since) + dt, dose, course.traits)


def in_time(frame: SetFrame, time: Float[Array, ""]) -> Float[Array, " r"]:
    """Smooth functions of time: independent weights on them make a Gaussian process of log time (unit variance)."""
    at = jnp.log1p(time / frame.pace)
    return jnp.exp(-0.5 * ((at - frame.nodes) / frame.width) ** 2) @ frame.root


def courses(frame: SetFrame, paths: Path, n_actions: int) -> Course:
    """The course of every condition at each of its times (leading axes B, T)."""
    return _courses(frame, jax.tree.map(jnp.asarray, paths), n_actions)


@functools.partial(jax.jit, static_argnames="n_actions")
def _courses(frame: SetFrame, paths: Path, n_actions: int) -> Course:
    def one(path: Path) -> Course:
        def body(carry: tuple[Course, Array], t: Array) -> tuple[tuple[Course, Array], Course]:
            course, t0 = carry
            rate, _ = between(path.plan, t0, t, n_actions)
            moved = go_on(course, frame, rate, jnp.maximum(t - t0, 0.0))
            course = jax.tree.map(lambda a, b: jnp.where(t > t0, a, b), moved, course)
            return (course, t), course

        return jax.lax.scan(body, (untouched(frame, path.traits), path.t[0]), path.t)[1]

    return jax.vmap(one)(paths)
