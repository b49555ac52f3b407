"""Gaps of the mixed trunk: which of them are taken as one, and how the filter goes through longer ones.

A gap beyond the reach is crossed in steps of about one spacing: where a channel has been unread for as long as its
reach it is taken to be where it is expected, with the doubt about that, and goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from biowm.core.arrays import AnyArray
from biowm.core.path import Path

from ..tracker import Frame, Tracker, advance

SHORTEST = 1.5  # spacings: grids leave gaps up to this alone, too
_ROUND = 1e-3  # of a reach: sums of times are not exact
Carried = TypeVar("Carried")


def beyond(gap: Float[AnyArray, "*b"], reach: Float[AnyArray, "*d"]) -> Bool[AnyArray, "*b"]:
    """Whether gaps (spacings) are longer than is taken as one."""
    return gap > reach * (1 + _ROUND)


def cross(
    carried: Carried,
    tracker_of: Callable[[Carried], Tracker],
    land: Callable[[Carried, Bool[Array, " d"]], Carried],
    frame: Frame,
    reach: Float[Array, " d"],
    action: Float[Array, " a"],
    dt: Float[Array, ""],
) -> Carried:
    """Let `dt` (world clock) pass under mean `action` rates; `land` takes channels to be where they are expected.

    A loop without a turn where no gap is beyond `reach` (spacings): such a history costs no more and says the same.
    """

    def far(now: Carried, ahead: Float[Array, ""]) -> Bool[Array, " d"]:
        tracker = tracker_of(now)
        return (tracker.seen > 0) & beyond(tracker.age + ahead / frame.spacing, reach)

    def on(now: Carried, step: Float[Array, ""]) -> Carried:
        return eqx.tree_at(tracker_of, now, advance(tracker_of(now), frame, action, step))

    def turn(carry: tuple[Carried, Float[Array, ""]]) -> tuple[Carried, Float[Array, ""]]:
        now, left = carry
        step = left / jnp.maximum(jnp.ceil(left / frame.spacing - 0.5), 1.0)
        return on(land(now, far(now, step) & (tracker_of(now).age > 0)), step), left - step

    start = (carried, jnp.asarray(dt, jnp.float32))
    now, left = jax.lax.while_loop(lambda c: (c[1] > 0) & jnp.any(far(*c)), turn, start)
    return on(now, left)


def parts(tracker: Tracker, frame: Frame, reach: Float[Array, " d"], dt: Float[Array, ""]) -> Int[Array, ""]:
    """In how many steps of about one spacing `dt` is gone through: one where no gap comes to be beyond `reach`."""
    step = dt / frame.spacing
    far = (tracker.seen > 0) & beyond(tracker.age + step, reach)
    return jnp.where(jnp.any(far), jnp.maximum(jnp.ceil(step - 0.5), 1.0), 1.0).astype(jnp.int32)


def reaches(paths: Path, spacing: float) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """The longest gap between readings of each channel that was learned from, and half as much again as the usual one.

    Both in spacings and at least 1.5: the usual gap of a channel is the median of its own.
    """
    t, seen = np.asarray(paths.t, np.float64), np.isfinite(np.asarray(paths.x))
    longest, usual = np.full((2, seen.shape[2]), SHORTEST)
    for j in range(seen.shape[2]):
        gaps = np.concatenate([np.diff(t[i, seen[i, :, j]]) for i in range(len(t))]) / spacing
        gaps = gaps[gaps > 0]
        if len(gaps):
            longest[j] = max(SHORTEST, gaps.max())
            usual[j] = min(max(SHORTEST, SHORTEST * float(np.median(gaps))), longest[j])
    return longest, usual
