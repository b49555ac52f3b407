"""Cells on disk: rows and chunks are those asked for, and memory does not hold the matrix."""

from __future__ import annotations

import anndata
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse
from tests.support.many_cells import cost_of_reading, write_cells_of

from biowm.data.cell_matrix import Cells, Held
from biowm.data.screens import load_screen

X = np.random.default_rng(1).poisson(0.5, (300, 7)).astype(np.float32)
GENES = np.array([5, 0, 3])


@pytest.fixture(scope="module", params=["sparse", "dense"])
def stored(request, tmp_path_factory) -> Cells:
    """Every third cell of a file, three of its genes."""
    file = tmp_path_factory.mktemp("cells") / "c.h5ad"
    table = anndata.AnnData(sparse.csr_matrix(X) if request.param == "sparse" else X)
    table.obs["target_gene"] = np.where(np.arange(300) % 2, "A", "non-targeting")
    table.write_h5ad(file)
    matrix = load_screen(file, {"regime": "cloud"}).cells.matrix
    assert not isinstance(matrix, Held)
    return Cells(matrix, np.arange(0, 300, 3), GENES)


@given(index=st.lists(st.integers(0, 99), max_size=30))
def test_any_rows_in_any_order(stored: Cells, index):
    index = np.array(index, int)
    found = stored.rows(index)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, X[::3][index][:, GENES])


@given(size=st.integers(1, 120), seed=st.integers(0, 5))
def test_chunks_hold_every_cell_once_in_any_order_of_blocks(stored: Cells, size, seed):
    order = stored.shuffled(size, seed)
    pieces = list(stored.chunks(size, order))
    assert sorted(order.tolist()) == list(range(stored.blocks(size)))
    for index, x in pieces:
        assert (np.diff(index) == 1).all()  # a block is one piece of the file
        np.testing.assert_array_equal(x, X[::3][index][:, GENES])
    assert np.sort(np.concatenate([index for index, _ in pieces])).tolist() == list(range(100))
    whole = np.concatenate([x for _, x in stored.chunks(size)])
    np.testing.assert_array_equal(whole, X[::3][:, GENES])


def test_a_part_of_the_cells_is_the_same_cells(stored: Cells):
    part = stored.only(np.array([4, 50, 99]))
    assert part.shape == (3, 3)
    np.testing.assert_array_equal(part.rows(np.arange(3)), stored.rows(np.array([4, 50, 99])))


@pytest.mark.slow
def test_memory_does_not_hold_the_matrix(tmp_path):
    """20,000 cells x 1,000 genes are 80 MB, and 16 MB without their zeros."""
    write_cells_of(tmp_path / "warm.h5ad", 2_000, 1_000)
    total = write_cells_of(tmp_path / "large.h5ad", 20_000, 1_000)
    cost = cost_of_reading(tmp_path / "warm.h5ad", tmp_path / "large.h5ad")
    assert cost["cells"] == 20_000
    assert cost["total"] == total
    assert cost["grown_mb"] < 40  # 9 measured
