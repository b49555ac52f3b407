"""The treatment under a trajectory: dose over time of one action."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from biowm.core.schedule import Entry, entries

from .stage import Stage, draw_bound, label
from .style import MUTED, SCENES


def given(stage: Stage, action: int) -> bool:
    """Whether any schedule gives this action within the picture."""
    plans = (stage.history.plan, *(scene.plan for scene in stage.scenes))
    shown = [e for plan in plans for e in entries(plan) if e.card == action and e.stop - stage.now >= stage.start]
    return any(e.dose != 0 for e in shown)


def strip(ax: Axes, stage: Stage, action: int) -> None:
    """Dose over time of one action: grey until now, then in the colour of each scene."""
    card = stage.scenes[0].futures.spec.actions[action]
    past = [e for e in entries(stage.history.plan) if e.card == action and e.onset < stage.now]
    lanes = [(past, MUTED, stage.start, 0.0)]
    for scene, colour in zip(stage.scenes, SCENES, strict=False):
        ahead = [e for e in entries(scene.plan) if e.card == action and (e.stop > stage.now or e.onset >= stage.now)]
        lanes.append((ahead, colour, 0.0, float(scene.futures.times[-1])))
    for lane, (rows, colour, start, stop) in enumerate(lanes):
        if card.kind == "bolus":
            _doses(ax, stage, rows, colour, shift=max(lane - 1, 0))
        else:
            _rate(ax, stage, rows, colour, start, stop, fill=0.5 if lane < 2 else 0.0)
    top = max([e.dose for rows, *_ in lanes for e in rows] + [b.value for b in stage.bounds if b.name == card.name])
    ax.set_ylim(0, 1.25 * top if top > 0 else 1.0)
    ax.set_yticks([0, top], ["off", "on"] if card.kind == "switch" else ["0", f"{top:g}"])
    ax.set_ylabel(label(card) if card.kind != "switch" else card.name, rotation=0, ha="right", va="center")
    for bound in (b for b in stage.bounds if b.name == card.name):
        draw_bound(ax, bound)


def _doses(ax: Axes, stage: Stage, rows: Sequence[Entry], colour: str, shift: int) -> None:
    nudge = 0.004 * shift * (stage.stop - stage.start)
    times, doses = [e.onset - stage.now + nudge for e in rows], [e.dose for e in rows]
    ax.vlines(times, 0, doses, color=colour, linewidth=2.0)
    ax.plot(times, doses, "o", color=colour, markersize=3.5)


def _rate(ax: Axes, stage: Stage, rows: Sequence[Entry], colour: str, start: float, stop: float, fill: float) -> None:
    """Entries that overlap add up."""
    cuts = {start, stop} | {min(max(w - stage.now, start), stop) for e in rows for w in (e.onset, e.stop)}
    edges = np.array(sorted(cuts))
    middle = (edges[:-1] + edges[1:]) / 2 + stage.now
    level = np.array([sum(e.dose for e in rows if e.onset <= m < e.stop) for m in middle])
    ax.stairs(level, edges, color=colour, linewidth=1.6, baseline=None)
    ax.stairs(level, edges, color=colour, alpha=0.5 * fill, fill=True, linewidth=0)
