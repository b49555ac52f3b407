"""A picture of one episode of an environment: what was seen, what was given, what it was worth."""

from __future__ import annotations

from matplotlib.figure import Figure

from biowm.envs.play import Played

from .stage import printed
from .style import BLUE, GREEN, INK, ORANGE, grid, new_figure, number, styled


@styled
def episode(played: Played) -> Figure:
    """Readings, doses of each step, and the sums of reward and cost, over the time of the episode."""
    panels = len(played.shows) + len(played.gives) + 1
    figure = new_figure(8.6, 1.2 + 1.3 * panels)
    rows = iter(figure.subplots(panels, 1, sharex=True))
    end = "died or ended" if played.terminated else "cut at the horizon"
    earned, paid = played.reward.sum(), played.cost.sum()
    title = (
        f"{played.id}, policy {played.policy}, seed {played.seed}\nreturn {number(earned)}, cost {number(paid)}, {end}"
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    for j, quantity in enumerate(played.shows):
        ax = next(rows)
        ax.plot(played.t, played.seen[:, j], color=INK, linewidth=1.2, marker="." if len(played.t) < 100 else "")
        ax.set_ylabel(f"{quantity.name}\n{printed(quantity.unit)}")
    for j, quantity in enumerate(played.gives):
        ax = next(rows)
        ax.step(played.t, [*played.given[:, j], 0.0], where="post", color=BLUE, linewidth=1.2)
        ax.set_ylabel(f"{quantity.name}\n{printed(quantity.unit)}")
    ax = next(rows)
    for name, values, colour in (("reward", played.reward, GREEN), ("cost", played.cost, ORANGE)):
        ax.step(played.t[1:], values.cumsum(), where="post", color=colour, linewidth=1.5, label=name)
    ax.legend(frameon=False, loc="upper left")
    ax.set_ylabel("sum so far")
    ax.set_xlabel(f"time ({played.clock})")
    for ax in figure.axes:
        grid(ax, "y")
    return figure
