"""Schedules: a padded, permutation-invariant set of interventions in time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from .arrays import AnyArray
from .buckets import bucket


class Schedule(eqx.Module):
    """K interventions: `dose` of action `card` over [onset, stop), or at `onset` where stop == onset.

    `card` is -1 in the padding. Doses are in the unit of their action card, times in the world's clock.
    `assigned` says that an entry was set by us or by randomisation, not merely observed.
    """

    card: Int[AnyArray, "*b k"]
    dose: Float[AnyArray, "*b k"]
    onset: Float[AnyArray, "*b k"]
    stop: Float[AnyArray, "*b k"]
    assigned: Bool[AnyArray, "*b k"]


class Entry(NamedTuple):
    """One intervention, before padding."""

    card: int
    dose: float
    onset: float
    stop: float
    assigned: bool = False


def schedule(entries: Iterable[Entry], size: int | None = None) -> Schedule:
    """A NumPy schedule from its entries, padded to `size` (default: the next bucket)."""
    rows = sorted(entries, key=lambda e: (e.onset, e.card))
    size = bucket(len(rows)) if size is None else size
    if len(rows) > size:
        raise ValueError(f"{len(rows)} interventions do not fit a schedule of {size}")
    pad = size - len(rows)

    def column(values: list, fill: float, dtype: type) -> np.ndarray:
        return np.array([*values, *([fill] * pad)], dtype=dtype)

    return Schedule(
        card=column([e.card for e in rows], -1, np.int32),
        dose=column([e.dose for e in rows], 0.0, np.float32),
        onset=column([e.onset for e in rows], 0.0, np.float32),
        stop=column([e.stop for e in rows], 0.0, np.float32),
        assigned=column([e.assigned for e in rows], False, np.bool_),
    )


def entries(plan: Schedule) -> list[Entry]:
    """The entries of one unbatched schedule, without its padding."""
    columns = (plan.card, plan.dose, plan.onset, plan.stop, plan.assigned)
    rows = zip(*(np.asarray(c).tolist() for c in columns), strict=True)
    return [Entry(*row) for row in rows if row[0] >= 0]


def between(
    plan: Schedule, start: Float[Array, ""], stop: Float[Array, ""], n_actions: int
) -> tuple[Float[Array, " a"], Float[Array, " a"]]:
    """What the schedule gives over [start, stop): mean rate and total bolus of each action.

    A bolus at `start` belongs to this interval (a reading at a dose time is pre-dose), one at `stop` to the next.
    """
    hit = plan.card[:, None] == jnp.arange(n_actions)[None, :]
    overlap = jnp.minimum(plan.stop, stop) - jnp.maximum(plan.onset, start)
    dt = stop - start
    share = jnp.where(dt > 0, jnp.clip(overlap, 0.0) / jnp.where(dt > 0, dt, 1.0), 0.0)
    given = (plan.stop == plan.onset) & (plan.onset >= start) & (plan.onset < stop)
    rate = jnp.sum(jnp.where(hit, (plan.dose * share)[:, None], 0.0), axis=0)
    bolus = jnp.sum(jnp.where(hit & given[:, None], plan.dose[:, None], 0.0), axis=0)
    return rate, bolus
