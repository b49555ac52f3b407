"""Pictures of how good a model is: the ranking, the calibration, and where a question lies in the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from biowm.core.futures import Verdict
from biowm.core.interval import Interval, Row

from .style import BLUE, INK, MUTED, ORANGE, PAPER, VERDICTS, grid, new_figure, number, styled


@runtime_checkable
class Standing(Protocol):
    """A contender's place in the race: its CRPS with a 95 % interval, its weight, and whether it is a simple rule."""

    @property
    def name(self) -> str: ...
    @property
    def is_rule(self) -> bool: ...
    @property
    def crps(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def weight(self) -> float: ...


def verdict(rows: Sequence[Standing]) -> str:
    """One sentence: who won, and by how much over the best simple rule."""
    best = min(rows, key=lambda r: r.crps)
    rules = [r for r in rows if r.is_rule]
    if best.is_rule:
        return f"A simple rule wins: {best.name}"
    if not rules:
        return f"Best: {best.name} (no simple rule was in the race)"
    rule = min(rules, key=lambda r: r.crps)
    gain = 100 * (1 - best.crps / rule.crps)
    below = f"error {gain:.{0 if gain >= 10 else 1}f} % below the best simple rule, {rule.name}"
    return f"Best: {best.name}, {below}" + ("; their intervals overlap" if best.high >= rule.low else "")


@styled
def ranking(rows: Sequence[Standing], *, unit: str = "") -> Figure:
    """Every contender's multi-step CRPS, best first, with 95 % intervals and the weight that each one earned."""
    ranked = sorted(rows, key=lambda r: r.crps)
    rules = [r for r in ranked if r.is_rule]
    figure = new_figure(8.2, 1.2 + 0.34 * len(ranked))
    ax = figure.subplots()
    for place, row in enumerate(ranked):
        colour = ORANGE if row.is_rule else BLUE
        ax.barh(place, row.crps, height=0.62, color=colour, alpha=0.35, linewidth=0)
        ax.plot([row.low, row.high], [place, place], color=colour, linewidth=2.0)
        ax.plot(row.crps, place, "o", color=colour, markersize=4.5)
        _aside(ax, 1.02, place, number(row.crps), INK)
        _aside(ax, 1.13, place, f"{row.weight:.2f}" if row.weight >= 0.005 else "-", INK if row.weight > 0 else MUTED)
    if rules:
        ax.axvline(rules[0].crps, color=ORANGE, linewidth=1.0, linestyle=(0, (4, 3)), zorder=0)
    names = [f"{r.name} (best simple rule)" if rules and r is rules[0] else r.name for r in ranked]
    ax.set_yticks(range(len(ranked)), names)
    for label, row in zip(ax.get_yticklabels(), ranked, strict=True):
        label.set_color(ORANGE if row.is_rule else BLUE)
    _aside(ax, 1.02, -0.9, "CRPS", MUTED)
    _aside(ax, 1.13, -0.9, "weight", MUTED)
    ax.set_ylim(len(ranked) - 0.4, -0.6)
    ax.set_xlim(0, 1.05 * max(min(r.high, 3 * ranked[len(ranked) // 2].crps) for r in ranked))
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(
        f"CRPS{f' ({unit})' if unit else ''}, held-out subjects; lower is better; blue: learned, orange: simple"
    )
    figure.suptitle(fill(verdict(rows), 70), x=0.01, ha="left", fontsize=12, fontweight="bold")
    grid(ax, "x")
    return figure


def _aside(ax: Axes, x: float, y: float, text: str, colour: str) -> None:
    ax.text(x, y, text, transform=ax.get_yaxis_transform(), va="center", color=colour, fontsize=9.5)


@styled
def calibration(
    levels: Float[np.ndarray, " k"], observed: Sequence[Interval], *, pit: Float[np.ndarray, " m"] | None = None
) -> Figure:
    """Nominal against observed coverage with exact intervals; with `pit`, also the histogram that should be flat."""
    figure = new_figure(4.4 if pit is None else 8.6, 4.0)
    ax, *more = np.atleast_1d(figure.subplots(1, 1 if pit is None else 2)).tolist()
    ax.plot([0, 1], [0, 1], color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    for level, point in zip(levels, observed, strict=True):
        fits = point.low <= level <= point.high
        colour = BLUE if fits else VERDICTS["outside"]
        ax.plot([level, level], [point.low, point.high], color=colour, linewidth=2.0)
        ax.plot(level, point.value, "o", color=colour, markerfacecolor=colour if fits else PAPER, markersize=6.5)
    ax.set(
        xlim=(0, 1),
        ylim=(0, 1),
        xlabel=f"coverage promised (n = {observed[-1].n}; hollow: missed)",
        ylabel="coverage observed",
    )
    ax.set_aspect("equal")
    ax.set_title("On the line: the promise is kept")
    grid(ax, "both")
    if pit is not None:
        _pit(more[0], pit)
    return figure


def _pit(ax: Axes, pit: Float[np.ndarray, " m"]) -> None:
    n, bins = len(pit), 10
    count, edges = np.histogram(pit, bins=bins, range=(0, 1))
    ax.bar(edges[:-1], count, width=1 / bins, align="edge", color=BLUE, alpha=0.45, linewidth=0)
    ax.axhline(n / bins, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    ax.set(xlim=(0, 1), xlabel="share of draws below the reading", ylabel="readings")
    ax.set_title("Flat: kept. U: too narrow. Hump: too wide")


@styled
def coverage(rows: Sequence[Row], *, name: str = "world", level: float = 0.9) -> Figure:
    """Observed coverage of the bands of row `name` at every horizon: at each time, and of the whole path."""
    kinds = {"coverage90": ("at each time (pointwise)", BLUE, -0.18), "joint90": ("whole path (joint)", ORANGE, 0.18)}
    rows = [r for r in rows if r.name == name and r.metric in kinds]
    splits = list(dict.fromkeys(r.split for r in rows))
    figure = new_figure(8.2, 1.6 + 0.45 * len(splits))
    ax = figure.subplots()
    ax.axvline(level, color=MUTED, linewidth=1.0, linestyle=(0, (4, 3)))
    for row in rows:
        _, colour, shift = kinds[row.metric]
        y = splits.index(row.split) + shift
        ax.plot([row.low, row.high], [y, y], color=colour, linewidth=2.0)
        face = colour if row.low <= level <= row.high else PAPER
        ax.plot(row.value, y, "o", color=colour, markerfacecolor=face, markersize=6.5, clip_on=False)
        _aside(ax, 1.02, y, f"{row.value:.2f} ({row.low:.2f} to {row.high:.2f}), n = {row.n}", colour)
    ax.set_yticks(range(len(splits)), splits)
    ax.set_ylim(len(splits) - 0.5, -0.5)
    ax.set_xlim(min(0.5, min((r.low for r in rows), default=0.5) - 0.02), 1.0)
    ax.set_xlabel(f"share inside the {100 * level:g} % band with its 95 % interval; hollow: the promise is missed")
    handles = [Line2D([], [], color=colour, marker="o", label=label) for label, colour, _ in kinds.values()]
    figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False, fontsize=9)
    grid(ax, "x")
    return figure


@dataclass(frozen=True)
class Reach:
    """One quantity of a question beside its values in the training data, in `unit`."""

    name: str
    unit: str
    training: Float[np.ndarray, " n"]
    asked: float
    verdict: Verdict
    log: bool = False


@styled
def support(reaches: Sequence[Reach]) -> Figure:
    """Where each quantity of the question lies among the training data: their range, middle 90 % and median."""
    figure = new_figure(8.2, 0.9 + 0.5 * len(reaches))
    axes = np.atleast_1d(figure.subplots(len(reaches), 1)).tolist()
    for ax, reach in zip(axes, reaches, strict=True):
        values = reach.training[np.isfinite(reach.training)]
        low, mid, high = np.quantile(values, (0.05, 0.5, 0.95))
        ax.plot([values.min(), values.max()], [0, 0], color=MUTED, linewidth=1.2, solid_capstyle="butt")
        ax.plot([low, high], [0, 0], color=MUTED, linewidth=9.0, alpha=0.35, solid_capstyle="butt")
        ax.plot(mid, 0, "|", color=MUTED, markersize=12, markeredgewidth=1.6)
        if reach.log:
            ax.set_xscale("log")
            ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        colour = VERDICTS[reach.verdict]
        ax.plot(reach.asked, 0, "D", color=colour, markersize=7, zorder=4, clip_on=False)
        unit = f" {reach.unit}" if reach.unit else ""
        _aside(ax, 1.02, 0, f"{number(reach.asked)}{unit}: {reach.verdict}", colour)
        ax.set_yticks([0], [reach.name])
        ax.set_ylim(-1, 1)
        ax.spines["left"].set_visible(False)
        ax.tick_params(axis="y", length=0)
        ax.tick_params(axis="x", labelsize=8)
    axes[-1].set_xlabel("diamond: asked now; bar: middle 90 % of the training data; line: their range; tick: median")
    return figure
