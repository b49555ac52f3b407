"""Pictures of one subject over time: what was read, what may come, and the treatment underneath."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from textwrap import fill

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from biowm.core.interval import Interval
from biowm.core.path import Path

from .stage import Bound, Scene, Stage, draw_bound, label, printed, stage_of
from .strips import given, strip
from .style import INK, MUTED, SCENES, VERDICTS, grid, log_axis, new_figure, number, styled


@styled
def trajectory(history: Path, scene: Scene, *, now: float | None = None, title: str = "") -> Figure:
    """What was read until `now` (default: the last reading) and what one schedule may lead to.

    Readings of `history` after `now` are drawn hollow: they were not used.
    """
    return _draw(history, (scene,), now, (), title)


@styled
def comparison(history: Path, scene: Scene, against: Scene, *, now: float | None = None, title: str = "") -> Figure:
    """Two schedules from the same moment, with the difference that they make for the same subject and noise."""
    return _draw(history, (scene, against), now, (), title, contrast=True)


@styled
def plan_figure(
    history: Path,
    scene: Scene,
    references: Sequence[Scene] = (),
    *,
    now: float | None = None,
    bounds: Sequence[Bound] = (),
    goal: str = "",
    promise: Interval | None = None,
    unit: str = "",
) -> Figure:
    """A plan beside the schedules it was weighed against, its limits, and the value promised for it.

    `promise`, in `unit`, comes from data that did not make the plan.
    """
    title = f"Plan: {goal}" if goal else "Plan"
    if promise is not None:
        value = f"{number(promise.value)} ({number(promise.low)} to {number(promise.high)}) {printed(unit)}".strip()
        title += f"\nvalue by models that did not plan: {value}, no guarantee"
    return _draw(history, (scene, *references), now, tuple(bounds), title)


def _draw(
    history: Path, scenes: tuple[Scene, ...], now: float | None, bounds: tuple[Bound, ...], title: str,
    contrast: bool = False,
) -> Figure:  # fmt: skip
    stage = stage_of(history, scenes, now, bounds)
    spec = scenes[0].futures.spec
    cards = [a for a, card in enumerate(spec.actions) if given(stage, a) or any(b.name == card.name for b in bounds)]
    heights = [3.0] * len(spec.targets) + [2.0] * (len(spec.targets) if contrast else 0) + [0.8] * len(cards)
    figure = new_figure(8.6, 0.9 + 0.9 * sum(heights))
    axes = list(np.atleast_1d(figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)))
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    rows = iter(axes)
    for j in spec.targets:
        _channel(next(rows), stage, j)
        if contrast:
            _contrast(next(rows), stage, j)
    for a in cards:
        strip(next(rows), stage, a)
    for ax in axes:
        ax.axvline(0.0, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)), zorder=1)
    axes[0].annotate("now", (0, 1), xycoords=("data", "axes fraction"), xytext=(0, 2), textcoords="offset points",
                     ha="center", va="bottom", color=MUTED)  # fmt: skip
    axes[-1].set_xlim(stage.start, stage.stop + 0.01 * (stage.stop - stage.start))
    axes[-1].set_xlabel(f"time from the last reading used ({spec.clock})")
    _warning(axes[0], stage)
    _keys(figure, stage)
    return figure


def _channel(ax: Axes, stage: Stage, j: int) -> None:
    channel = stage.scenes[0].futures.spec.channels[j]
    t, x = np.asarray(stage.history.t) - stage.now, np.asarray(stage.history.x)[:, j]
    seen = np.isfinite(x) & (t >= stage.start) & (t <= stage.stop)
    used, later = seen & (t <= 0), seen & (t > 0)
    last = float(x[used][-1]) if used.any() and t[used][-1] == 0 else None
    for scene, colour in zip(stage.scenes, SCENES, strict=False):
        _future(ax, scene, j, colour, last)
    ax.plot(t[used], x[used], color=MUTED, linewidth=0.8, zorder=2)
    ax.plot(t[used], x[used], "o", color=INK, markersize=4.5, zorder=4)
    ax.plot(t[later], x[later], "o", markerfacecolor="none", markeredgecolor=INK, markersize=5.0, zorder=4)
    _limits(ax, stage, j, x[seen])
    if channel.link == "log":
        log_axis(ax)
    for bound in (b for b in stage.bounds if b.name == channel.name):
        draw_bound(ax, bound)
    if channel.lloq is not None and ax.get_ylim()[0] <= channel.lloq:
        draw_bound(ax, Bound(channel.name, channel.lloq, "lowest level quantified"), MUTED)
    ax.set_ylabel(label(channel))
    grid(ax, "y")
    _names(ax, stage, j)


def _future(ax: Axes, scene: Scene, j: int, colour: str, last: float | None) -> None:
    """Median and band, from the last reading where this channel was read then."""
    f = scene.futures
    first = np.empty(0) if last is None else np.array([last])
    times = np.r_[0.0 * first, f.times]
    channel = f.spec.channels[j]
    least = 0.1 * channel.floor if channel.link == "log" else -np.inf  # a log axis has no place for zero
    low, mid, high = (np.maximum(np.r_[first, values[:, j]], least) for values in (f.low, f.median, f.high))
    ax.fill_between(times, low, high, color=colour, alpha=0.18, linewidth=0, zorder=1)
    ax.plot(times, mid, color=colour, linewidth=2.0, zorder=3)
    if scene.truth is not None:
        ax.plot(f.times, scene.truth[:, j], color=colour, linewidth=1.2, linestyle=(0, (4, 2)), zorder=3)


def _limits(ax: Axes, stage: Stage, j: int, seen: Float[np.ndarray, " n"]) -> None:
    """Show readings, medians and truths whole (a log axis: six decades of them), of the bands what does not flatten."""
    channel = stage.scenes[0].futures.spec.channels[j]
    log = channel.link == "log"
    lines = [seen, *(s.futures.median[:, j] for s in stage.scenes)]
    lines += [s.truth[:, j] for s in stage.scenes if s.truth is not None]
    lines += [np.array([b.value]) for b in stage.bounds if b.name == channel.name]
    drawn = np.concatenate(lines)
    bands = np.concatenate([np.r_[s.futures.low[:, j], s.futures.high[:, j]] for s in stage.scenes])
    if log and channel.floor == 0 and (drawn > 0).any():
        drawn = drawn[drawn > 0]
    least = max(channel.floor, 1e-6 * float(np.nanmax(drawn)), 1e-12) if log else -np.inf

    def forth(values: np.ndarray) -> np.ndarray:
        values = values[np.isfinite(values)]
        return np.log10(np.maximum(values, least)) if log else values

    core, wide = forth(drawn), forth(bands)
    low, high = float(core.min()), float(core.max())
    room = max(high - low, 0.3 if log else 0.05 * max(abs(high), 1e-9))
    low, high = max(float(wide.min(initial=low)), low - room), min(float(wide.max(initial=high)), high + room)
    low, high = min(low, float(core.min())) - 0.06 * room, max(high, float(core.max())) + 0.06 * room
    if log:
        ax.set_ylim(10**low, 10**high)
    else:
        ax.set_ylim(max(low, channel.low) if channel.low is not None else low, high)


def _names(ax: Axes, stage: Stage, j: int) -> None:
    """The name of each scene at the end of its line, moved apart where they would touch."""
    if len(stage.scenes) == 1:
        return
    low, high = ax.get_ylim()
    log = ax.get_yscale() == "log"
    forth = np.log10 if log else np.asarray
    ends = [float(forth(np.clip(s.futures.median[-1, j], low, high))) for s in stage.scenes]
    share = (np.array(ends) - forth(low)) / (forth(high) - forth(low))
    order = np.argsort(share)
    gap = 0.09
    spread = share.copy()
    for before, after in pairwise(order):
        spread[after] = max(spread[after], spread[before] + gap)
    spread -= max(0.0, float((spread - share).max()) / 2)
    for scene, colour, place in zip(stage.scenes, SCENES, spread, strict=False):
        ax.annotate(fill(scene.name, 16), (1.0, float(place)), xycoords="axes fraction", xytext=(6, 0),
                    textcoords="offset points", va="center", color=colour, fontweight="bold")  # fmt: skip


def _contrast(ax: Axes, stage: Stage, j: int) -> None:
    """How the first schedule differs from the second, draw by draw (they share their noise)."""
    ours, other = stage.scenes[0].futures, stage.scenes[1].futures
    channel = ours.spec.channels[j]
    a, b = ours.draws[:, :, j], other.draws[:, :, j]
    log = channel.link == "log"
    least = max(channel.floor, 1e-9)
    apart = np.log(np.maximum(a, least) / np.maximum(b, least)) if log else a - b
    low, mid, high = (np.exp(q) if log else q for q in np.quantile(apart, (0.05, 0.5, 0.95), axis=0))
    ax.axhline(1.0 if log else 0.0, color=MUTED, linewidth=1.0)
    ax.fill_between(ours.times, low, high, color=INK, alpha=0.12, linewidth=0)
    ax.plot(ours.times, mid, color=INK, linewidth=1.6)
    if log:
        log_axis(ax)
    sign = "/" if log else "-"
    ax.set_ylabel(f"{'ratio' if log else 'difference'}\n{label(channel) if not log else channel.name}")
    names = f"{stage.scenes[0].name} {sign} {stage.scenes[1].name}"
    ax.set_title(
        f"{names}: 90 % of paired draws (simulated, not calibrated)", fontsize=8.5, fontweight="normal", color=MUTED
    )
    grid(ax, "y")


def _keys(figure: Figure, stage: Stage) -> None:
    """One line that says what dots, lines and shades are, and whether the data cover the question."""
    futures = stage.scenes[0].futures
    shade = {
        "joint": "band for the whole path (joint)",
        "pointwise": "band at each time by itself (pointwise)",
    }[futures.band]
    promise = f"{100 * futures.level:g} % {shade}" if futures.level else "spread of the draws: no promise"
    handles: list[Line2D | Patch] = [
        Line2D([], [], color=INK, marker="o", markersize=4.5, linewidth=0.8, label="read"),
        Line2D([], [], color=SCENES[0], linewidth=2.0, label="median"),
        Patch(facecolor=SCENES[0], alpha=0.18, label=promise),
    ]
    t, x = np.asarray(stage.history.t), np.asarray(stage.history.x)
    if np.isfinite(x[t > stage.now]).any():
        hollow = Line2D([], [], color="none", marker="o", markerfacecolor="none", markeredgecolor=INK)
        hollow.set_label("read later, as really treated")
        handles.insert(1, hollow)
    if any(scene.truth is not None for scene in stage.scenes):
        handles.append(Line2D([], [], color=MUTED, linestyle=(0, (4, 2)), label="truth"))
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles), frameon=False, fontsize=9)


def _warning(ax: Axes, stage: Stage) -> None:
    """Above the first panel: that the data do not cover the question, and why."""
    scene = max(stage.scenes, key=lambda s: list(VERDICTS).index(s.futures.support.verdict))
    worst = scene.futures.support
    if worst.verdict != "inside":
        where = {"edge": "At the edge of the data", "outside": "Outside the data"}[worst.verdict]
        name = f" ({scene.name})" if len(stage.scenes) > 1 else ""
        text = fill(f"{where}{name}: {'; '.join(worst.reasons)}", 95)
        ax.set_title(text, color=VERDICTS[worst.verdict], fontsize=9.5, pad=16)
