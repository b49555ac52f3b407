"""The picture of an in-silico trial: power by size, and what the arms read over time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from biowm.engine.trial import Trial

from .stage import label
from .style import INK, MUTED, SCENES, grid, log_axis, new_figure, styled

_WANTED = 0.8  # the power that trials are usually planned for


@styled
def trial_figure(trial: Trial) -> Figure:
    """Power with its interval by the number of patients in each arm; beside it the outcome's channel in both arms."""
    figure = new_figure(10.0, 4.2)
    left, right = figure.subplots(1, 2)
    arms = trial.design.arms
    figure.suptitle(f"Simulated trial: {arms[1].name} against {arms[0].name}", x=0.01, ha="left", fontweight="bold")
    _power(left, trial)
    _courses(right, trial)
    return figure


def _power(ax: Axes, trial: Trial) -> None:
    sizes = [p.size for p in trial.powers]
    value, low, high = (np.array([getattr(p.power, k) for p in trial.powers]) for k in ("value", "low", "high"))
    ax.errorbar(sizes, value, yerr=[value - low, high - value], color=INK, marker="o", markersize=5, capsize=3)
    ax.axhline(_WANTED, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
    ax.axhline(trial.design.alpha, color=MUTED, linewidth=1.0, linestyle=(0, (2, 2)))
    ax.set_ylim(-0.02, 1.02)
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    ax.set_xlabel("patients in each arm")
    ax.set_title(f"Significant trials (two-sided, {trial.design.alpha:g}); {trial.design.outcome}", fontsize=9.5)
    grid(ax, "y")


def _courses(ax: Axes, trial: Trial) -> None:
    j = trial.design.outcome.index
    channel = trial.spec.channels[j]
    least = 0.1 * channel.floor if channel.link == "log" else -np.inf  # a log axis has no place for zero
    for a, (arm, colour) in enumerate(zip(trial.design.arms, SCENES, strict=False)):
        low, mid, high = np.maximum(np.quantile(trial.x[:, a, :, j], (0.05, 0.5, 0.95), axis=0), least)
        ax.fill_between(trial.times, low, high, color=colour, alpha=0.18, linewidth=0)
        ax.plot(trial.times, mid, color=colour, linewidth=2.0, label=arm.name)
    if channel.link == "log":
        log_axis(ax)
    ax.set_ylabel(label(channel))
    ax.set_xlabel(f"time from the start ({trial.spec.clock})")
    ax.set_title("Median and 90 % of the virtual patients (simulated)", fontsize=9.5)
    ax.legend(frameon=False)
    grid(ax, "y")
