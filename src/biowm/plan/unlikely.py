"""In what a planned schedule differs from those of the training cohort: a flag, never a penalty.

Penalising unlikeness costs more than it saves; optimistic errors are caught by judges that did not plan.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from biowm.core.path import Path
from biowm.core.schedule import Schedule, between
from biowm.core.spec import WorldSpec

SEGMENTS = 12  # intervals that a schedule is cut into to be compared
WINDOWS = 4  # windows looked at per subject
COMPARED = 1000  # training windows whose own nearest schedule is looked for, at most


class Seen(NamedTuple):
    """Dose patterns of the cohort: W windows of the asked length by S intervals by A actions, and whose they are."""

    dose: Float[np.ndarray, "w s a"]
    subject: Int[np.ndarray, " w"]


@eqx.filter_jit
def _pattern(
    plan: Schedule, start: Float[Array, " w"], length: Float[Array, ""], n_actions: int
) -> Float[Array, "w s a"]:
    """Mean rates, boluses spread over their interval, in `SEGMENTS` intervals from each start."""
    edges = start[:, None] + length * jnp.linspace(0.0, 1.0, SEGMENTS + 1)[None]

    def one(a: Float[Array, ""], b: Float[Array, ""]) -> Float[Array, " a"]:
        rate, bolus = between(plan, a, b, n_actions)
        return rate + bolus / (b - a)

    return jax.vmap(jax.vmap(one))(edges[:, :-1], edges[:, 1:])


def seen(cohort: Path, spec: WorldSpec, horizon: float) -> Seen:
    """The patterns of the stacked cohort's schedules in windows of length `horizon` within the observed time."""
    t = np.asarray(cohort.t)
    room = t[:, -1] - t[:, 0] - horizon
    shift = np.clip(room, 0, None)[:, None] * np.linspace(0, 1, WINDOWS)[None]
    start = (t[:, :1] + shift).astype(np.float32)
    many = jax.vmap(lambda p, s: _pattern(p, s, jnp.asarray(horizon, jnp.float32), len(spec.actions)))
    dose = np.asarray(many(jax.tree.map(jnp.asarray, cohort.plan), jnp.asarray(start)))
    long = np.repeat(room >= -1e-3 * horizon, WINDOWS)
    return Seen(dose.reshape(-1, SEGMENTS, len(spec.actions))[long], np.repeat(np.arange(len(t)), WINDOWS)[long])


def unlikely(
    plan: Schedule, cohort: Path, spec: WorldSpec, controls: tuple[int, ...], now: float, horizon: float
) -> tuple[str, ...]:
    """Sentences, with numbers, on what in the controlled part of `plan` was not seen in the stacked `cohort`."""
    past = seen(cohort, spec, horizon)
    if not len(past.subject):
        return (f"no training subject was followed for {horizon:g} {spec.clock}",)
    start, length = jnp.asarray([now], jnp.float32), jnp.asarray(horizon, jnp.float32)
    ours = np.asarray(_pattern(plan, start, length, len(spec.actions)))[0]
    reasons = [_dose(plan, cohort, spec, a) for a in controls]
    reasons += [_pace(ours[:, a], past.dose[:, :, a], spec, a, horizon) for a in controls]
    reasons.append(_distance(ours[:, list(controls)], past.dose[:, :, list(controls)], past.subject))
    return tuple(r for r in reasons if r)


def _dose(plan: Schedule, cohort: Path, spec: WorldSpec, a: int) -> str:
    card = spec.actions[a]
    most = float(np.max(np.asarray(plan.dose), where=np.asarray(plan.card) == a, initial=0.0))
    known = float(np.max(np.asarray(cohort.plan.dose), where=np.asarray(cohort.plan.card) == a, initial=0.0))
    if most <= known * (1 + 1e-3):
        return ""
    if known == 0:
        return f"{card.name} was never given in training"
    return f"{card.name} goes up to {most:.4g} {card.unit}; the highest in training was {known:.4g}".replace("  ", " ")


def _pace(
    ours: Float[np.ndarray, " s"], past: Float[np.ndarray, "w s"], spec: WorldSpec, a: int, horizon: float
) -> str:
    """How much of the time the action is on, and how often its dose changes, against the range seen."""
    if past.max() == 0:
        return ""
    name, over = spec.actions[a].name, f"{horizon:g} {spec.clock}"
    step = 0.05 * float(past.max())
    on, on_past = float((ours > step).mean()), (past > step).mean(1)
    turns, turns_past = int((np.abs(np.diff(ours)) > step).sum()), (np.abs(np.diff(past, axis=1)) > step).sum(1)
    reasons = []
    if not on_past.min() - 1e-9 <= on <= on_past.max() + 1e-9:
        reasons.append(f"{name} is given {on:.0%} of the time; in training {on_past.min():.0%} to {on_past.max():.0%}")
    if turns > turns_past.max():
        reasons.append(f"{name} changes {turns} times in {over}; in training at most {turns_past.max()} times")
    return "; ".join(reasons)


def _distance(ours: Float[np.ndarray, "s c"], past: Float[np.ndarray, "w s c"], subject: Int[np.ndarray, " w"]) -> str:
    """How far the nearest subject's schedule is, against how far subjects are from their own nearest."""
    scale = np.maximum(np.maximum(past.max((0, 1)), ours.max(0)), 1e-12)
    flat = (past / scale).reshape(len(past), -1)
    own = (ours / scale).reshape(-1)
    near = np.sqrt(((flat - own) ** 2).mean(1)).min()
    some = np.unique(np.linspace(0, len(flat) - 1, COMPARED).astype(int))
    square = (flat**2).mean(1)
    gaps = square[some, None] + square[None] - 2 * flat[some] @ flat.T / flat.shape[1]
    gaps[subject[some, None] == subject[None]] = np.inf
    nearest = np.sqrt(np.maximum(gaps.min(1), 0.0))
    share = float((nearest < near - 1e-6).mean())
    if len(np.unique(subject)) < 2 or share < 0.95:
        return ""
    return (
        f"the nearest training schedule is {near:.2f} dose ranges away (root mean square); "
        f"{share:.0%} of the training schedules have a nearer one"
    )
