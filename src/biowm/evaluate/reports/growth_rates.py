"""The picture of growth rate inhibition: GR by concentration, a panel a cell line."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biowm.core.growth_rate import sigmoid

from ..growth_rates import GrowthRates
from .stage import printed
from .style import FAINT, MUTED, SCENES, grid, new_figure, styled

_COLUMNS, _MOST = 3, 12  # panels side by side; drugs in a panel


@styled
def growth_rate_figure(found: GrowthRates) -> Figure:
    """Every well, and the curve that was fitted to it; the first twelve drugs of each cell line."""
    lines = list(dict.fromkeys(found.metrics["cell_line"]))
    columns = min(_COLUMNS, len(lines))
    rows = math.ceil(len(lines) / columns)
    figure = new_figure(1.0 + 3.6 * columns, 0.6 + 3.0 * rows)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for ax, line in zip(axes, lines, strict=False):
        _panel(ax, found, line)
    for ax in axes[len(lines) :]:
        ax.set_visible(False)
    figure.suptitle("Growth rate inhibition: 1 no effect, 0 no growth, below 0 cells are lost", x=0.01, ha="left")
    return figure


def _panel(ax: Axes, found: GrowthRates, line: str) -> None:
    metrics = found.metrics[found.metrics["cell_line"] == line]
    drugs = metrics.head(_MOST).to_dict("records")
    styles = ("-", "--", ":")
    for i, fit in enumerate(drugs):
        colour = SCENES[i % len(SCENES)]
        wells = found.readings[(found.readings["cell_line"] == line) & (found.readings["drug"] == fit["drug"])]
        c = wells["concentration"].to_numpy(float)
        ax.plot(c, wells["gr"], color=colour, marker=".", linestyle="", markersize=4, alpha=0.6)
        over = np.geomspace(c.min(), c.max(), 100)
        flat = np.full_like(over, wells["gr"].mean())
        curve = sigmoid(over, fit["gr_inf"], fit["gec50"], fit["hill"]) if fit["fit"] == "sigmoid" else flat
        ax.plot(over, curve, color=colour, linestyle=styles[i // len(SCENES)], linewidth=1.6, label=fit["drug"])
    for level, colour in ((0.0, MUTED), (0.5, FAINT)):
        ax.axhline(level, color=colour, linewidth=0.8)
    ax.set_xscale("log")
    left_out = len(metrics) - len(drugs)
    ax.set_title(line if not left_out else f"{line} ({left_out} more drugs not drawn)")
    ax.set_xlabel(f"concentration ({printed(found.unit)})")
    ax.set_ylabel("GR")
    ax.legend(frameon=False, fontsize=8)
    grid(ax, "y")
