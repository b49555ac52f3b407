"""The picture of a plate map: each plate as it lies on the bench."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from biowm.plan.plates import FORMATS, PlateMap, Well

from .style import BLUE, FAINT, INK, ORANGE, PAPER, new_figure, styled

_MOST, _ACROSS = 8, 2  # plates that are drawn, and in how many columns


@styled
def plates_figure(found: PlateMap) -> Figure:
    """Up to eight plates: samples with their rank and replicate, controls, empty wells."""
    drawn = min(found.plates, _MOST)
    across = min(drawn, _ACROSS)
    down = -(-drawn // across)
    figure = new_figure(7.0 * across, 4.8 * down + 0.5)
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for plate, ax in enumerate(axes, start=1):
        ax.axis("off")
        if plate <= drawn:
            _plate(ax, [w for w in found.wells if w.plate == plate], FORMATS[found.size])
            ax.set_title(f"Plate {plate} of {found.plates}")
    figure.supxlabel("blue: samples (rank.replicate); orange: controls; open: empty", fontsize=9.0, color=INK)
    return figure


def _plate(ax: Axes, wells: list[Well], shape: tuple[int, int]) -> None:
    rows, columns = shape
    ax.set_xlim(0.3, columns + 0.7)
    ax.set_ylim(rows - 0.3, -0.9)
    ax.set_aspect("equal")
    colours = {"sample": BLUE, "control": ORANGE, "empty": PAPER}
    row = [ord(w.row) - ord("A") for w in wells]
    area = 14_000 / columns**2 * 2.6
    ax.scatter(
        [w.column for w in wells], row, s=area, c=[colours[w.role] for w in wells], edgecolors=FAINT, linewidths=0.8
    )
    size = 60 / columns
    for w, r in zip(wells, row, strict=True):
        if w.role == "sample":
            ax.text(w.column, r, f"{w.rank}.{w.replicate}", ha="center", va="center", color=PAPER, fontsize=size)
    for c in range(1, columns + 1):
        ax.text(c, -0.75, str(c), ha="center", va="center", fontsize=size * 1.3)
    for r in range(rows):
        ax.text(0.3, r, chr(ord("A") + r), ha="center", va="center", fontsize=size * 1.3)
