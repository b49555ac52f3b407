"""The treatment under a trajectory: dose over time of one action."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from biowm.core.schedule import Entry, entries

from .stage import Stage, draw_bound, label
from .style import MUTED, SCENES


class Lane(NamedTuple):
    """The entries of one action drawn in one colour from `start` to `stop`."""

    rows: list[Entry]
    colour: str
    start: float
    stop: float


def lanes(stage: Stage, action: int) -> list[Lane]:
    """What was given of an action until now, then what each scene gives."""
    past = [e for e in entries(stage.history.plan) if e.card == action and e.onset < stage.now]
    shown = [Lane([e for e in past if e.stop - stage.now >= stage.start], MUTED, stage.start, 0.0)]
    for scene, colour in zip(stage.scenes, SCENES, strict=False):
        ahead = [e for e in entries(scene.plan) if e.card == action and (e.stop > stage.now or e.onset >= stage.now)]
        shown.append(Lane(ahead, colour, 0.0, float(scene.futures.times[-1])))
    return shown


def given(stage: Stage, action: int) -> bool:
    """Whether any schedule gives this action within the picture."""
    return any(e.dose != 0 for lane in lanes(stage, action) for e in lane.rows)


def strip(ax: Axes, stage: Stage, action: int) -> None:
    """Dose over time of one action: grey until now, then in the colour of each scene."""
    card = stage.scenes[0].futures.spec.actions[action]
    for place, lane in enumerate(lanes(stage, action)):
        if card.kind == "bolus":
            _doses(ax, stage, lane, shift=max(place - 1, 0))
        else:
            _rate(ax, stage, lane, fill=0.25 if place < 2 else 0.0)
    bounds = [b for b in stage.bounds if b.name == card.name]
    top = max([0.0, float(ax.dataLim.y1), *(b.value for b in bounds)])
    ax.set_ylim(0, 1.25 * top if top > 0 else 1.0)
    ax.set_yticks([0, top], ["off", "on"] if card.kind == "switch" else ["0", f"{top:g}"])
    ax.set_ylabel(label(card) if card.kind != "switch" else card.name, rotation=0, ha="right", va="center")
    for bound in bounds:
        draw_bound(ax, bound)


def _doses(ax: Axes, stage: Stage, lane: Lane, shift: int) -> None:
    nudge = 0.004 * shift * (stage.stop - stage.start)
    times, doses = [e.onset - stage.now + nudge for e in lane.rows], [e.dose for e in lane.rows]
    ax.vlines(times, 0, doses, color=lane.colour, linewidth=2.0)
    ax.plot(times, doses, "o", color=lane.colour, markersize=3.5)


def _rate(ax: Axes, stage: Stage, lane: Lane, fill: float) -> None:
    """Entries that overlap add up."""
    ends = (w - stage.now for e in lane.rows for w in (e.onset, e.stop))
    edges = np.unique([lane.start, lane.stop, *(min(max(w, lane.start), lane.stop) for w in ends)])
    middle = (edges[:-1] + edges[1:]) / 2 + stage.now
    level = np.array([sum(e.dose for e in lane.rows if e.onset <= m < e.stop) for m in middle])
    ax.stairs(level, edges, color=lane.colour, linewidth=1.6, baseline=None)
    ax.stairs(level, edges, color=lane.colour, alpha=fill, fill=True, linewidth=0)
