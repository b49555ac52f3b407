"""What a picture of one subject shows: the scenes, the limits, and the times that its panels share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from biowm.core.futures import Futures
from biowm.core.path import Path
from biowm.core.schedule import Schedule
from biowm.core.spec import ActionCard, Channel

from .style import VERDICTS


@dataclass(frozen=True)
class Scene:
    """One future to draw: its name, the forecast, the schedule it runs under and, in a simulation, the truth.

    `plan` is in the absolute times of the history; `truth` holds the channels at `futures.times`.
    """

    name: str
    futures: Futures
    plan: Schedule
    truth: Float[np.ndarray, "t d"] | None = None


@dataclass(frozen=True)
class Bound:
    """A limit drawn in the panel of the channel or action `name`, in its unit."""

    name: str
    value: float
    text: str


@dataclass(frozen=True)
class Stage:
    """The readings and the times that all panels share; times count from the last reading used."""

    history: Path
    now: float
    start: float
    stop: float
    scenes: tuple[Scene, ...]
    bounds: tuple[Bound, ...]


def stage_of(history: Path, scenes: tuple[Scene, ...], now: float | None, bounds: tuple[Bound, ...]) -> Stage:
    """Where the picture starts and stops: the past is cut where it would squeeze the future."""
    t = np.asarray(history.t)[np.isfinite(history.x).any(-1)]
    now = float(t[-1] if len(t) else 0.0) if now is None else now
    stop = max(float(scene.futures.times[-1]) for scene in scenes)
    start = max(float(t[0]) - now if len(t) else 0.0, -2.0 * stop)
    return Stage(history, now, start - 0.02 * (stop - start), stop, scenes, bounds)


def label(item: Channel | ActionCard) -> str:
    """The name with its unit."""
    unit = printed(item.unit)
    return f"{item.name} ({unit})" if unit else item.name


def printed(unit: str) -> str:
    """A unit as it is printed: cm³ for cm^3, nothing for a number without unit."""
    return "" if unit in ("dimensionless", "1") else unit.replace("**", "^").replace("^2", "²").replace("^3", "³")


def draw_bound(ax: Axes, bound: Bound, colour: str = VERDICTS["outside"]) -> None:
    """A dashed line across the panel, with its text."""
    ax.axhline(bound.value, color=colour, linewidth=1.0, linestyle=(0, (5, 3)), zorder=2)
    ax.annotate(bound.text, (0, bound.value), xycoords=("axes fraction", "data"), xytext=(4, 2),
                textcoords="offset points", color=colour, fontsize=8.5, va="bottom")  # fmt: skip
