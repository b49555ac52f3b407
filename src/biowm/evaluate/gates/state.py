"""Gate `state`: the state is all there is; a rollout can be cut, written down and taken up again, bit for bit."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from biowm.core.buckets import bucket
from biowm.core.forecast import belief_at
from biowm.core.registry import register
from biowm.core.rollout import draw_states, resume
from biowm.core.schedule import Schedule
from biowm.core.world import Moment, State, World

from ..exam import NO_TRANSITION, Exam, Verdict
from ..metrics import exact_share

_SUBJECTS, _DRAWS, _TIMES = 4, 8, 16
_draw, _resume = eqx.filter_jit(draw_states), eqx.filter_jit(resume)


def through_bytes(tree: Moment) -> Moment:
    """A belief or state written to bytes and read back; TypeError where a leaf cannot be written."""

    def copy(leaf: object) -> jax.Array:
        array = np.asarray(leaf)
        if array.dtype == object:
            raise TypeError(f"a leaf of type {type(leaf).__name__} cannot be written to bytes")
        return jnp.asarray(np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape))

    return jax.tree.map(copy, tree)


def same(a: object, b: object) -> bool:
    """Whether two trees hold the same bits."""
    one, two = (jax.tree.leaves(tree) for tree in (a, b))
    return len(one) == len(two) and all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(one, two, strict=True)
    )


def _cut(world: World, states: State, plan: Schedule, times: np.ndarray, key: jax.Array) -> tuple[bool, bool]:
    """Whether a rollout cut half way, and one cut and saved there, equal the whole."""
    half = max(len(np.unique(times)) // 2, 1)
    early = np.where(np.arange(len(times)) < half, times, times[half - 1])  # the shapes stay: the program is the same
    late = np.where(np.arange(len(times)) < half, times[half - 1], times)
    end, whole = _resume(world, states, plan, jnp.asarray(times), key=key)
    middle, first = _resume(world, states, plan, jnp.asarray(early), key=key)

    def joined(start: State) -> bool:
        last, second = _resume(world, start, plan, jnp.asarray(late), key=key)
        parts = jnp.concatenate([first[:, :half], second[:, half:]], axis=1)
        return same((last, parts), (end, whole))

    return joined(middle), joined(through_bytes(middle))


def _faults(exam: Exam, world: World, question: int) -> list[str]:
    queries = exam.asked.queries
    path = exam.path(question)
    times = np.unique(queries.times[question])
    room = bucket(len(times) + 1, _TIMES) - len(times)  # questions of one size share one compiled program
    times = np.concatenate([times, np.repeat(times[-1:], room)])
    key = jax.random.key(exam.seed)
    belief = belief_at(world, path, int(queries.origin[question]))
    states = _draw(world, belief, key=key, draws=_DRAWS)
    split, saved = _cut(world, states, path.plan, times, key)
    again = _draw(world, through_bytes(belief), key=key, draws=_DRAWS)
    checks = {"split rollout": split, "saved state": saved, "saved belief": same(again, states)}
    return [name for name, held in checks.items() if not held]


@register("gates", "state")
def check(exam: Exam) -> Verdict:
    """A split rollout equals the whole and saved beliefs and states go on unchanged, to the bit (R1 of the ladder)."""
    world = exam.dynamics
    if world is None:
        return exam.skip("state", NO_TRANSITION)
    asked = range(min(_SUBJECTS, len(exam.asked.queries.subject)))
    try:
        faults = [_faults(exam, world, q) for q in asked]
    except TypeError as error:
        return exam.verdict("state", False, None, f"the state cannot be saved: {error}", {"error": str(error)})
    held = sum(not found for found in faults)
    broken = sorted({name for found in faults for name in found})
    detail = (
        f"split rollouts and saved beliefs and states equal the whole bit for bit in {held} of {len(asked)} checks"
        + (f"; differs: {', '.join(broken)}" if broken else "")
    )
    evidence = {"questions": len(asked), "draws": _DRAWS, "faults": faults}
    return exam.verdict("state", not broken, exact_share(held, len(asked)), detail, evidence)
