"""How a visual predictive check is told: the table vpc.csv, the picture vpc.png and what the report says."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biowm.core.spec import WorldSpec

from ..predictive_check import PERCENT, Percentile, PredictiveCheck
from .stage import label, printed
from .style import BLUE, INK, MUTED, ORANGE, grid, log_axis, new_figure, styled

COLUMNS = (
    "model", "channel", "unit", "prediction_corrected", "subjects", "held_out", "time_low", "time_high", "readings",
    "percentile", "observed", "simulated_low95", "simulated_median", "simulated_high95", "inside",
)  # fmt: skip


def checks_csv(spec: WorldSpec, checks: Sequence[PredictiveCheck]) -> str:
    """A line for each percentile in each bin of time (the world's clock), levels in the channel's unit."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for c in checks:
        channel = spec.channels[c.channel]
        said = "yes" if c.corrected else "no"
        for p in c.percentiles:
            levels = (f"{v:.6g}" for v in (p.observed, p.low, p.median, p.high))
            where = (f"{p.start:.6g}", f"{p.stop:.6g}", p.n, p.percent)
            who = (c.model, channel.name, channel.unit, said, c.subjects, c.held_out)
            table.writerow((*who, *where, *levels, "yes" if p.inside else "no"))
    return text.getvalue()


def told(spec: WorldSpec, check: PredictiveCheck) -> tuple[str, ...]:
    """What the picture shows and how it came out."""
    inside = sum(p.inside for p in check.percentiles)
    name, percent = spec.channels[check.channel].name, ", ".join(map(str, PERCENT))
    corrected = "Schedules differ: readings and simulations are corrected by what is typical under each (pcVPC)."
    return (
        f"Percentiles {percent} of {name}, of all {check.subjects} subjects ({check.held_out} of them held out, the "
        "others learned from) in bins of time, beside those of simulated trials of new subjects under the same "
        "schedules and at the same times. No reading is used in the simulation.",
        *((corrected,) if check.corrected else ()),
        f"{inside} of {len(check.percentiles)} observed percentiles lie within the 95 % bands of the simulated ones.",
    )


@styled
def checks_figure(spec: WorldSpec, checks: Sequence[PredictiveCheck]) -> Figure:
    """A panel for each channel of each model: bands of the simulated percentiles, lines of the observed ones."""
    figure = new_figure(8.2, 3.4 * len(checks))
    panels = figure.subplots(len(checks), 1, squeeze=False)[:, 0]
    for ax, check in zip(panels, checks, strict=True):
        _panel(ax, spec, check)
    return figure


def _panel(ax: Axes, spec: WorldSpec, check: PredictiveCheck) -> None:
    channel = spec.channels[check.channel]
    for percent in PERCENT:
        line = [p for p in check.percentiles if p.percent == percent]
        colour = ORANGE if percent == 50 else BLUE
        t = [p.middle for p in line]
        ax.fill_between(t, [p.low for p in line], [p.high for p in line], color=colour, alpha=0.22, linewidth=0)
        ax.plot(t, [p.median for p in line], color=colour, linewidth=0.8, linestyle=(0, (4, 3)))
        ax.plot(t, [p.observed for p in line], color=INK, linewidth=1.6 if percent == 50 else 1.0, marker="o", ms=3)
        _outside(ax, line)
    if channel.link == "log":
        log_axis(ax)
    if channel.lloq is not None:
        ax.axhline(channel.lloq, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    grid(ax, "y")
    ax.set_title(check.model)
    ax.set_ylabel(label(channel) + (", corrected" if check.corrected else ""))
    ax.set_xlabel(f"time ({printed(spec.clock)})")


def _outside(ax: Axes, line: Sequence[Percentile]) -> None:
    """A ring around what was observed outside the band."""
    off = [p for p in line if not p.inside]
    ax.plot([p.middle for p in off], [p.observed for p in off], "o", color=ORANGE, ms=8, fillstyle="none")
