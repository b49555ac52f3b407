"""The readings of single cells, where they lie: pieces of rows are read, never the whole matrix."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from biowm.core.errors import BadInput

_GAP = 64  # rows not asked for that are read all the same, where they lie between rows that are


@dataclass(frozen=True, eq=False)
class Matrix(abc.ABC):
    """Rows of numbers somewhere; `shape` is (rows, columns)."""

    shape: tuple[int, int]

    @abc.abstractmethod
    def opened(self) -> AbstractContextManager[Any]:
        """What `piece` reads from, open for as long as pieces are read."""

    @abc.abstractmethod
    def piece(self, handle: Any, start: int, stop: int) -> Float[np.ndarray, "m w"]:
        """The rows from `start` to before `stop`, dense."""


@dataclass(frozen=True, eq=False)
class Held(Matrix):
    """A matrix in memory: a NumPy array or a sparse matrix in rows (CSR)."""

    values: Any

    def opened(self) -> AbstractContextManager[Any]:
        return nullcontext(self.values)

    def piece(self, handle: Any, start: int, stop: int) -> Float[np.ndarray, "m w"]:
        rows = handle[start:stop]
        return np.asarray(rows if isinstance(rows, np.ndarray) else rows.toarray(), np.float32)


@dataclass(frozen=True, eq=False)
class Stored(Matrix):
    """A matrix in a file (h5ad) or folder (zarr) under `key`; sparse ones (CSR) have `indptr`, dense ones None."""

    file: Path
    key: str
    indptr: Int[np.ndarray, " r"] | None = field(repr=False)

    def opened(self) -> AbstractContextManager[Any]:
        return open_store(self.file)

    def piece(self, handle: Any, start: int, stop: int) -> Float[np.ndarray, "m w"]:
        node = handle[self.key]
        if self.indptr is None:
            return np.asarray(node[start:stop], np.float32)
        from scipy import sparse

        where = self.indptr[start : stop + 1]
        first, last = int(where[0]), int(where[-1])
        values = np.asarray(node["data"][first:last], np.float32)
        rows = sparse.csr_matrix((values, node["indices"][first:last], where - first), (stop - start, self.shape[1]))
        return rows.toarray()


def open_store(file: Path) -> AbstractContextManager[Any]:
    """An h5ad file or a zarr folder, open to be read; both are read by the same words."""
    if file.is_dir():
        try:
            import zarr
        except ImportError:
            raise BadInput(f"file {file}: no package zarr, which reads it: pip install 'biowm[fields]'") from None
        return nullcontext(zarr.open_group(file, mode="r"))
    import h5py

    return h5py.File(file, "r")


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a screen: rows `taken` of a matrix in the order of the file, its `genes` (columns) alone."""

    matrix: Matrix
    taken: Int[np.ndarray, " n"]
    genes: Int[np.ndarray, " g"]

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and genes."""
        return len(self.taken), len(self.genes)

    def rows(self, index: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m g"]:
        """The readings of the cells `index` (positions among these cells, in any order), in the matrix's own kind."""
        with self.matrix.opened() as handle:
            return self._read(handle, np.asarray(index))

    def chunks(
        self, size: int, order: Int[np.ndarray, " b"] | None = None
    ) -> Iterator[tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m g"]]]:
        """Every cell once, `size` at a time: (positions, readings), neighbours on disk together.

        `order` is the order of the blocks, by default that of the file; see `shuffled`.
        """
        blocks = np.arange(self.blocks(size)) if order is None else order
        with self.matrix.opened() as handle:
            for block in blocks:
                index = np.arange(int(block) * size, min((int(block) + 1) * size, len(self.taken)))
                yield index, self._read(handle, index)

    def blocks(self, size: int) -> int:
        """How many chunks of `size` cells there are."""
        return -(-len(self.taken) // size)

    def shuffled(self, size: int, seed: int) -> Int[np.ndarray, " b"]:
        """An order of blocks for `chunks`: random, and each block in one piece on disk."""
        return np.random.default_rng(seed).permutation(self.blocks(size))

    def only(self, index: Int[np.ndarray, " m"]) -> Cells:
        """The cells `index` alone (sorted positions); nothing is read."""
        return replace(self, taken=self.taken[index])

    def _read(self, handle: Any, index: Int[np.ndarray, " m"]) -> Float[np.ndarray, "m g"]:
        """Rows by runs that lie together on disk."""
        found = np.empty((len(index), len(self.genes)), np.float32)
        lie = self.taken[index]
        order = np.argsort(lie, kind="stable")
        for run in np.split(order, np.flatnonzero(np.diff(lie[order]) > _GAP) + 1):
            if len(run):
                start, stop = int(lie[run[0]]), int(lie[run[-1]]) + 1
                found[run] = self.matrix.piece(handle, start, stop)[lie[run] - start][:, self.genes]
        return found
