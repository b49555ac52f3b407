"""What the report of a screen of cells says of its cells: signal above split-half noise, and how it was found."""

from __future__ import annotations

from matplotlib.figure import Figure

from biowm.train.cells.part import NO_SIGNAL, CellPart
from biowm.train.fitted import Fitted

from .html import Section
from .standings import verdict
from .style import BLUE, FAINT, new_figure, styled, to_svg


def headline(fitted: Fitted) -> str:
    """One sentence on a fit: who won the race; of cells without signal, that nobody did."""
    cells = fitted.cells
    if cells is not None and cells.verdict.startswith(NO_SIGNAL):
        return f"{cells.verdict[0].upper()}{cells.verdict[1:]}: nobody is ahead, whatever the race says"
    return verdict(fitted.race.rows) + (f". {cells.verdict}" if cells is not None else "")


def cells_section(cells: CellPart) -> Section:
    """The verdict on signal, the agreement of halves along each direction, and which cells answer."""
    kind = "counts" if cells.kind == "counts" else "log1p expression"
    behind = ", behind which the counts were found" if cells.kind == "log1p" and cells.counted else ""
    text = [
        f"{cells.verdict[0].upper()}{cells.verdict[1:]}.",
        "A response is the mean log1p expression of a condition minus that of its context's control cells. Directions "
        "are found on half of the cells and tested on two quarters, each with control cells of its own: responses that "
        "share their controls agree whatever was given.",
        "Half of a condition's cells is closer to the other half than the mean of the other conditions is by a factor "
        f"(log of squared distances, over conditions) of {cells.replicate.value:.2f} [{cells.replicate.low:.2f}, "
        f"{cells.replicate.high:.2f}]; below 0 a repeated experiment of this size says less than the others do.",
        f"{len(cells.spec.channels)} genes, read as {kind}{behind}; {len(cells.pool.of)} cells of "
        f"{len(cells.pool.dose)} populations are kept, from which predicted ones are built.",
    ]
    if cells.gain is not None:
        took = f"{cells.gain.value:.2g} [{cells.gain.low:.2g}, {cells.gain.high:.2g}]"
        kept = "it is kept" if float(cells.escape.on) else "it is not kept"
        text.append(
            f"A share of cells that do not answer takes {took} off the energy distance of held-out conditions: {kept}."
        )
    if not cells.agreement:
        return Section("Cells", tuple(text))
    caption = "Correlation of independent quarters of the cells along each direction that was tested, strongest first."
    return Section("Cells", tuple(text), to_svg(_agreement(cells)), caption)


@styled
def _agreement(cells: CellPart) -> Figure:
    figure = new_figure(6.4, 2.4)
    axes = figure.subplots()
    n = len(cells.agreement)
    axes.bar(range(1, n + 1), cells.agreement, color=BLUE, width=0.7)
    axes.axhline(0, color=FAINT)
    axes.set(xlabel="direction of the response", ylabel="agreement of quarters", ylim=(min(0, *cells.agreement), 1))
    return figure
