"""Paths: the irregular, partly missing history of one subject, alone or stacked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Int

from .arrays import AnyArray
from .buckets import bucket
from .schedule import Schedule

RUNNING, ENDED, CENSORED = 0, 1, 2
Stacked = TypeVar("Stacked", "Path", Schedule)


class Path(eqx.Module):
    """Readings `x` (NaN where not read) at increasing times `t`, with schedule and traits.

    Padding repeats the last time and holds no reading. `event` is RUNNING, ENDED (death, failure,
    recovery, a division) or CENSORED (lost: it went on and was read no more).
    Stacked paths have a leading axis B.
    """

    t: Float[AnyArray, "*b t"]
    x: Float[AnyArray, "*b t d"]
    plan: Schedule
    traits: Float[AnyArray, "*b s"]
    event: Int[AnyArray | np.generic, "*b"] | int


def _pad(path: Path, times: int, plans: int) -> Path:
    t, x = np.asarray(path.t, np.float32), np.asarray(path.x, np.float32)
    extra = times - len(t)
    t = np.concatenate([t, np.full(extra, t[-1] if len(t) else 0.0, np.float32)])
    x = np.concatenate([x, np.full((extra, x.shape[1]), np.nan, np.float32)])
    more = plans - len(path.plan.card)

    def grow(values: AnyArray, fill: float) -> np.ndarray:
        values = np.asarray(values)
        return np.concatenate([values, np.full(more, fill, values.dtype)])

    plan = Schedule(
        card=grow(path.plan.card, -1),
        dose=grow(path.plan.dose, 0),
        onset=grow(path.plan.onset, 0),
        stop=grow(path.plan.stop, 0),
        assigned=grow(path.plan.assigned, 0),
    )
    return Path(t, x, plan, np.asarray(path.traits, np.float32), np.asarray(path.event, np.int32))


def stack(paths: Sequence[Path]) -> Path:
    """Stack paths along a new axis B, padded to common bucketed lengths (NumPy arrays)."""
    if not paths:
        raise ValueError("no path to stack")
    times = bucket(max(len(p.t) for p in paths))
    plans = bucket(max(len(p.plan.card) for p in paths))
    padded = [_pad(p, times, plans) for p in paths]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *padded)


def take(stacked: Stacked, index: int | slice | Sequence[int] | np.ndarray) -> Stacked:
    """Rows of stacked paths or schedules (NumPy arrays)."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[index], stacked)


def lengths(paths: Path) -> Int[np.ndarray, " b"]:
    """Number of times of each stacked path that hold at least one reading, counted to the last such time."""
    seen = np.any(np.isfinite(paths.x), axis=-1)
    last = seen.shape[1] - np.argmax(seen[:, ::-1], axis=1)
    return np.where(seen.any(1), last, 0)
