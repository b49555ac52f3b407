"""Readings of cells as they are compared: log(1 + counts of a cell scaled to a common total), and back.

A matrix is declared as counts or as log1p. Where log1p values are those of scaled counts, the scale of each cell can be
read off (its smallest value is one count), and the counts are there after all.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

Kind = Literal["counts", "log1p"]
TOTAL = 1e4  # counts a cell is scaled to
_WHOLE, _MOST = 0.02, 0.99  # how far from a whole number, and of how many values, counts may be


class Read(NamedTuple):
    """Cells as `log1p` [m g], and the `size` [m] by which their counts were scaled (NaN: not known)."""

    log1p: Float[np.ndarray, "m g"]
    size: Float[np.ndarray, " m"]


def read_cells(x: Float[np.ndarray, "m g"], kind: Kind) -> Read:
    """Cells of a matrix of this kind; a cell without any count is 0 throughout."""
    if kind == "counts":
        total = x.sum(1)
        size = TOTAL / np.maximum(total, 1.0)
        return Read(np.log1p(x * size[:, None]), size)
    scaled = np.expm1(x)
    smallest = np.where(x > 0, scaled, np.inf).min(1)
    return Read(x, np.where(np.isfinite(smallest), smallest, np.nan))


def counts_of(read: Read) -> Float[np.ndarray, "m g"]:
    """The counts behind cells, rounded; 0 throughout where a cell has none."""
    size = np.where(np.isfinite(read.size), read.size, 1.0)
    return np.rint(np.expm1(read.log1p) / size[:, None]).astype(np.float32)


def pooled(read: Read, counted: bool) -> tuple[Float[np.ndarray, "m g"], Float[np.ndarray, " m"]]:
    """Readings as decoders know them (counts where there are any, else log1p), and the scale of each cell."""
    size = np.where(np.isfinite(read.size), read.size, TOTAL).astype(np.float32)
    return (counts_of(read) if counted else read.log1p), size


def are_counts(read: Read) -> bool:
    """Whether the values are those of scaled counts: whole multiples of each cell's smallest (99 of 100 values)."""
    size = np.where(np.isfinite(read.size), read.size, 1.0)
    multiple = (np.expm1(read.log1p) / size[:, None])[read.log1p > 0]
    if not len(multiple):
        return False
    off = np.abs(multiple - np.rint(multiple))
    return bool((off <= _WHOLE * np.maximum(multiple, 1.0) ** 0.5).mean() >= _MOST and (multiple < 1.5).mean() > 0.05)
