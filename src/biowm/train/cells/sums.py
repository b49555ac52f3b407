"""What cells on disk come to, in one pass: sums by condition, quarter and batch, and products of a sample of them.

Cells are dealt to four quarters within their condition, so that what two quarters say of a condition is independent:
that tells signal from noise. A fifth of the control cells is kept apart: what is held out is measured from them, so
that no prediction shares its controls with the truth. Memory holds sums, never cells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.dealt import dealt
from biowm.data.screens import Screen
from biowm.models.cells.reading import are_counts, read_cells

QUARTERS, APART, CHUNK = (0, 1, 2, 3), 4, 2048
_SAMPLED = 20_000  # cells whose products are summed


@dataclass(frozen=True)
class CellSums:
    """Sums of log1p readings [part, condition, gene], cells counted [part, condition] and [condition, batch].

    Parts are the quarters, then the control cells that are kept apart.

    `by_batch` [batch, gene] and `in_batch` are of control cells, as deviations are built from them. `gram` [gene, gene]
    sums the products of `sampled` cells around their conditions' means. `counted`: whether values are scaled counts.
    """

    total: Float[np.ndarray, "q c g"]
    cells: Float[np.ndarray, "q c"]
    mixed: Float[np.ndarray, "c b"]
    by_batch: Float[np.ndarray, "b g"]
    in_batch: Float[np.ndarray, " b"]
    gram: Float[np.ndarray, "g g"]
    sampled: int
    counted: bool


def sum_cells(
    screen: Screen, part_of: Int[np.ndarray, " n"], learned: Bool[np.ndarray, " c"], seed: int,
    tell: Callable[[float], None] = lambda share: None,
) -> CellSums:  # fmt: skip
    """Sum the cells of a screen by part (`parts_of`), streamed; products are of cells in `learned` conditions."""
    usable = learned[screen.of] & (part_of != APART)
    sampled = usable & (np.random.default_rng([seed, 8]).random(len(part_of)) < _SAMPLED / max(usable.sum(), 1))
    (n_c, n_b), g = (len(screen.conditions), len(screen.batches)), screen.cells.shape[1]
    total, cells, mixed = np.zeros((APART + 1, n_c, g)), np.zeros((APART + 1, n_c)), np.zeros((n_c, n_b))
    by_batch, in_batch, gram = np.zeros((n_b, g)), np.zeros(n_b), np.zeros((g, g), np.float32)
    sum_sampled, n_sampled = np.zeros((n_c, g)), np.zeros(n_c)
    counted = screen.kind == "counts"
    for part, x in screen.cells.chunks(CHUNK):
        of, batch = screen.of[part], screen.batch[part]
        read = read_cells(x, screen.kind)
        if part[0] == 0:
            counted = counted or are_counts(read)
        y = read.log1p
        _add(total.reshape(-1, g), part_of[part] * n_c + of, y)
        np.add.at(cells, (part_of[part], of), 1.0)
        np.add.at(mixed, (of, batch), 1.0)
        control = screen.control[of] & (part_of[part] != APART)
        _add(by_batch, batch[control], y[control])
        np.add.at(in_batch, batch[control], 1.0)
        kept = sampled[part]
        gram += y[kept].T @ y[kept]
        _add(sum_sampled, of[kept], y[kept])
        np.add.at(n_sampled, of[kept], 1.0)
        tell((part[-1] + 1) / len(part_of))
    mean = sum_sampled / np.maximum(n_sampled, 1.0)[:, None]
    gram -= (mean.T @ (mean * n_sampled[:, None])).astype(np.float32)
    return CellSums(total, cells, mixed, by_batch, in_batch, gram, int(sampled.sum()), counted)


def _add(into: Float[np.ndarray, "k g"], where: Int[np.ndarray, " m"], values: Float[np.ndarray, "m g"]) -> None:
    """Add rows into sums, by group: a sort and one sum a group, no Python loop over cells."""
    if not len(where):
        return
    order = np.argsort(where, kind="stable")
    groups, first = np.unique(where[order], return_index=True)
    into[groups] += np.add.reduceat(values[order].astype(np.float64), first, axis=0)


def parts_of(screen: Screen, seed: int, apart: bool = True) -> Int[np.ndarray, " n"]:
    """The part of every cell of a screen, dealt at random within its condition: a quarter, or kept apart (controls).

    Nothing is kept `apart` where nothing is held out that would be measured from it.
    """
    place = dealt(screen.of, np.random.default_rng([seed, 3]))
    return np.where(screen.control[screen.of] & apart, place % (APART + 1), place % APART)
