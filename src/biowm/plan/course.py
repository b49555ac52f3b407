"""What a schedule leads to, and the quantities that goals and limits speak of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

Stat = Literal["mean", "max", "min", "final", "total", "time on", "time off", "time until", "time in"]
Kind = Literal["channel", "rate", "bolus"]

STATS: dict[Kind, tuple[Stat, ...]] = {
    "channel": ("mean", "max", "min", "final", "time until", "time in"),
    "rate": ("mean", "max", "min", "total", "time on", "time off"),
    "bolus": ("mean", "max", "total"),
}


class Course(eqx.Module):
    """Draws of one subject's future under one schedule, on a grid of T intervals.

    `elapsed` is the time from the start of the plan to the end of each interval and `dt` its length (0 in
    the padding), `x` the reading at the end of each interval, `dose` the mean rate, or the bolus, of each
    action in it.
    """

    elapsed: Float[Array, " t"]
    dt: Float[Array, " t"]
    x: Float[Array, "n t d"]
    dose: Float[Array, "t a"]


@dataclass(frozen=True)
class Mark:
    """A level that a channel may pass, in its `unit`: from below (`above`) or from above."""

    above: bool
    level: float
    unit: str

    def __str__(self) -> str:
        return f"{'>' if self.above else '<'} {self.level:g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Band:
    """Where a channel may stay: from `low` to `high`, both included, in its `unit`."""

    low: float
    high: float
    unit: str

    def __str__(self) -> str:
        return f"in {self.low:g} to {self.high:g} {self.unit}".rstrip()


@dataclass(frozen=True)
class Quantity:
    """One number per draw: a statistic of a channel or an action over the first `window` of the plan.

    `unit` is that of the number; `window` is in the world's clock, None for the whole horizon. A switch
    counts as a rate: its total is the time it is on. `mark` belongs to "time until" alone, `band` to "time in".
    """

    stat: Stat
    name: str
    kind: Kind
    index: int
    unit: str
    window: float | None = None
    clock: str = ""
    mark: Mark | None = None
    band: Band | None = None

    def __str__(self) -> str:
        over = "" if self.window is None else f" over {self.window:g} {self.clock}"
        past = "" if self.mark is None else f" {self.mark}"
        if self.band is not None:
            return f"time {self.name} {self.band}{over}"
        return f"{self.stat} {self.name}{past}{over}"


def within(elapsed: Float[Array, " t"], window: float | None) -> Float[Array, " t"]:
    """1 for the intervals that end inside the window, else 0."""
    if window is None:
        return jnp.ones_like(elapsed)
    return (elapsed <= window * (1 + 1e-5)).astype(elapsed.dtype)


def value(quantity: Quantity, course: Course) -> Float[Array, " n"]:
    """The quantity in every draw.

    Means weigh each interval by its length; `max`, `min` and `final` are over the readings to come, not
    the one the plan starts from. `time until` is that of the first reading past the mark, or the whole window where
    none is (restricted, as survival times are); an interval in which anything is given is `time on`, one that ends with
    a reading inside the band `time in`.
    """
    inside = within(course.elapsed, quantity.window)
    if quantity.kind == "channel":
        series = course.x[:, :, quantity.index]
    else:
        series = jnp.broadcast_to(course.dose[None, :, quantity.index], course.x.shape[:2])
    if quantity.stat == "max":
        return jnp.max(jnp.where(inside[None] > 0, series, -jnp.inf), axis=1)
    if quantity.stat == "min":
        return jnp.min(jnp.where(inside[None] > 0, series, jnp.inf), axis=1)
    if quantity.stat == "final":
        return series[:, jnp.sum(inside).astype(jnp.int32) - 1]
    time = inside * course.dt
    if quantity.mark is not None:
        past = series > quantity.mark.level if quantity.mark.above else series < quantity.mark.level
        end = jnp.sum(time)
        return jnp.min(jnp.where(past & (inside[None] > 0), course.elapsed[None], end), axis=1)
    if quantity.band is not None:
        inside = (series >= quantity.band.low) & (series <= quantity.band.high)
        return jnp.sum(jnp.where(inside, time[None], 0.0), axis=1)
    if quantity.stat in ("time on", "time off"):
        return jnp.sum(jnp.where((series > 0) == (quantity.stat == "time on"), time[None], 0.0), axis=1)
    amount = jnp.sum(series * (inside if quantity.kind == "bolus" else time)[None], axis=1)
    return amount if quantity.stat == "total" else amount / jnp.sum(time)
