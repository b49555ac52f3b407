"""The numbers of a screen are what they are said to be: counts or log1p, whole and never below zero."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from .cell_matrix import Cells
from .faults import fault
from .screen_config import Filled
from .screen_file import Source
from .tables import Repair

_PIECE = 1 << 22  # numbers in memory at a time
_MOST = 20.0  # log1p of anything countable in a cell is below
_SIZE = 1e4  # counts of a cell are brought to this many before their logarithm


@dataclass(frozen=True, eq=False)
class Seen:
    """What a whole look at the numbers says: their kind, the share of zeros, each gene's variance over controls."""

    kind: Literal["counts", "log1p"]
    sparsity: float
    variance: Float[np.ndarray, " w"]


def scan(
    config: Filled,
    source: Source,
    cells: Cells,
    control: Bool[np.ndarray, " n"],
    say: Callable[[Repair], None],
) -> Seen:
    """Look at every number once, a piece at a time. Raises BadInput naming cell and gene of the first bad one."""
    n, g = cells.shape
    size = max(1, _PIECE // max(g, 1))
    zeros, largest, whole = 0, 0.0, True
    fraction: tuple[int, int, float] | None = None
    large: tuple[int, int, float] | None = None
    sums, squares = np.zeros((2, g)), np.zeros((2, g))  # of numbers as they are, and of log1p of counts
    for index, x in cells.chunks(size):
        _refuse(source, config, cells, index, x, ~np.isfinite(x), "a number")
        _refuse(source, config, cells, index, x, x < 0, "no reading below 0 (neither scaled nor centred)")
        zeros += int(np.sum(x == 0))
        top = float(x.max(initial=0))
        if top > _MOST and large is None:
            large = _first(index, x, x > _MOST)
        largest = max(largest, top)
        if whole and (odd := x != np.floor(x)).any():
            whole, fraction = False, _first(index, x, odd)
        mine = x[control[index]].astype(np.float64)
        total = mine.sum(1, keepdims=True)
        for j, values in enumerate((mine, np.log1p(mine * _SIZE / np.where(total > 0, total, 1)))):
            sums[j] += values.sum(0)
            squares[j] += (values**2).sum(0)
    kind = config.layer.kind or ("counts" if whole else "log1p")
    if kind == "counts" and fraction is not None:
        expected = "whole counts (key layer: kind: log1p where these are logarithms)"
        raise _bad(source, config, cells, fraction, expected)
    if kind == "log1p" and large is not None:
        raise _bad(source, config, cells, large, f"log1p values, at most {_MOST:g} (key layer: kind: counts, a layer?)")
    if kind == "log1p" and whole and largest > 0:
        raise fault(
            f"whole numbers alone, up to {largest:g}",
            "fractional values of log1p (key layer: kind: counts)",
            file=source.file, column=_name(config),
        )  # fmt: skip
    if config.layer.kind is None:
        what = "whole numbers" if whole else f"fractional values up to {largest:.3g}"
        say(Repair(f"kind of the readings not declared (key layer: kind): {what}, read as {kind}", 1, source.file))
    j, many = (1 if kind == "counts" else 0), max(int(control.sum()), 1)
    return Seen(kind, zeros / max(n * g, 1), squares[j] / many - (sums[j] / many) ** 2)


def _first(index: np.ndarray, x: np.ndarray, wrong: np.ndarray) -> tuple[int, int, float]:
    row, gene = (int(k) for k in np.argwhere(wrong)[0])
    return int(index[row]), gene, float(x[row, gene])


def _refuse(
    source: Source, config: Filled, cells: Cells, index: np.ndarray, x: np.ndarray, wrong: np.ndarray, text: str
) -> None:
    if wrong.any():
        raise _bad(source, config, cells, _first(index, x, wrong), text)


def _bad(source: Source, config: Filled, cells: Cells, at: tuple[int, int, float], expected: str):
    cell = source.annotations.obs.index[cells.taken[at[0]]]
    gene = source.annotations.var.index[at[1]]
    return fault(f"{at[2]:g}", expected, file=source.file, row=cell, column=f"{gene} of {_name(config)}")


def _name(config: Filled) -> str:
    return "X" if config.layer.name is None else f"layer {config.layer.name}"
