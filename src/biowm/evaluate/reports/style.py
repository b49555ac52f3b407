"""The look of every picture: one palette safe for colour-blind readers, quiet axes, SVG that follows the page."""

from __future__ import annotations

import io
import re
from pathlib import Path as File
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

INK, MUTED, FAINT, PAPER = "#1d1d22", "#6b6b76", "#d9d9e0", "#fefefe"
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#8856a7"
SCENES = (BLUE, ORANGE, GREEN, PURPLE)
VERDICTS = {"inside": GREEN, "edge": "#b8860b", "outside": "#c0392b"}
_NAMES = {
    INK: "ink", MUTED: "muted", FAINT: "faint", PAPER: "paper", BLUE: "blue", ORANGE: "orange", GREEN: "green",
    PURPLE: "purple", VERDICTS["edge"]: "edge", VERDICTS["outside"]: "outside",
}  # fmt: skip
_RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "svg.fonttype": "none",
    "svg.hashsalt": "biowm",
}

styled = rc_context(_RC)  # used as a decorator: the settings hold inside the function only


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches, that belongs to no global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


@styled
def to_svg(figure: Figure) -> str:
    """The picture as an SVG element whose colours are CSS variables, so that it follows light and dark pages."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'<g id="[^"]*"', "<g", text)  # names that would repeat on a page with two pictures
    for colour, name in _NAMES.items():
        text = text.replace(colour, f"var(--{name}, {colour})")
    return text


@styled
def save_png(figure: Figure, file: File | io.BytesIO) -> None:
    """Write the picture as PNG, 160 dots an inch, on white paper."""
    figure.savefig(file, format="png", dpi=160)


def log_axis(ax: Axes) -> None:
    """A logarithmic y axis with numbers a reader knows (0.1, 1, 10), not powers."""
    ax.set_yscale("log")
    low, high = ax.get_ylim()
    subs = (1.0,) if high / low > 300 else (1.0, 3.0) if high / low > 20 else (1.0, 2.0, 5.0)
    ax.yaxis.set_major_locator(LogLocator(subs=subs))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())


def grid(ax: Axes, axis: Literal["x", "y", "both"]) -> None:
    """Faint lines behind the data along one axis."""
    ax.grid(True, axis=axis, color=FAINT, linewidth=0.6)
    ax.set_axisbelow(True)


def number(value: float) -> str:
    """A number to three significant figures, without exponents where they can be spared."""
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:#.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"
