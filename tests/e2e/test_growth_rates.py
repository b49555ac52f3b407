"""`biowm data growth-rates`: from a table of wells to metrics and a picture, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biowm.core.growth_rate import sigmoid

from .conftest import biowm

TRUTH = {("MCF7", "a"): (-0.4, 0.2, 1.5), ("MCF7", "b"): (0.1, 2.0, 1.0), ("T47D", "a"): (1.0, 1.0, 1.0)}


@pytest.fixture
def wells(tmp_path: Path) -> Path:
    """Three curves by concentration; cells double 2.5 times. The third drug does nothing."""
    rows = []
    for (line, drug), truth in TRUTH.items():
        for c in 10.0 ** np.arange(-3, 2.1, 0.5):
            gr = sigmoid(np.array([c]), *truth)[0]
            rows.append((line, drug, c, "umol/L", 200 * 2 ** (2.5 * np.log2(gr + 1)), 200.0, 200 * 2**2.5))
    names = ["cell_line", "drug", "concentration", "unit", "cell_count", "cell_count__time0", "cell_count__ctrl"]
    pd.DataFrame(rows, columns=names).to_csv(tmp_path / "wells.csv", index=False)
    return tmp_path / "wells.csv"


def test_a_table_of_wells_gives_metrics_and_a_picture(wells: Path):
    out, picture = wells.parent / "new" / "gr.csv", wells.parent / "curves.png"
    said = biowm("data", "growth-rates", wells, "--out", out, "--unit", "nmol/L", "--plot", picture)
    assert said.code == 0, said.err
    found = pd.read_csv(out)
    assert list(zip(found["cell_line"], found["drug"], strict=True)) == list(TRUTH)
    assert found["fit"].tolist() == ["sigmoid", "sigmoid", "flat"]
    np.testing.assert_allclose(found["gec50"][:2], [200.0, 2000.0], rtol=1e-2)
    np.testing.assert_allclose(found["hill"][:2], [1.5, 1.0], rtol=1e-2)
    # half effect where 1.4 / (1 + (c / .2)^1.5) = .9, and for the second .9 / (1 + c / 2) = .4
    np.testing.assert_allclose(found["gr50"][:2], [200 * (5 / 9) ** (2 / 3), 2500.0], rtol=1e-2)
    assert np.isinf(found["gr50"][2])
    np.testing.assert_allclose(found["gr_aoc"][2], 0.0, atol=1e-9)
    assert picture.read_bytes().startswith(b"\x89PNG")
    for part in ("MCF7", "T47D", "GR50 (nmol/L)", "GR_AOC", "flat"):
        assert part in said.out
    assert str(out) in said.err


def test_what_is_wrong_is_told(wells: Path):
    out = wells.parent / "gr.csv"
    table = pd.read_csv(wells)
    table.loc[3, "cell_count__ctrl"] = 100.0
    table.to_csv(wells, index=False)
    biowm("data", "growth-rates", wells, "--out", out).refused("row 5", "cell_count__ctrl", "a control grows")
    table.drop(columns="drug").to_csv(wells, index=False)
    biowm("data", "growth-rates", wells, "--out", out).refused("column drug", "expected columns cell_line")
    wells.write_text("")
    biowm("data", "growth-rates", wells, "--out", out).refused("wells.csv", "a CSV of counts")
    biowm("data", "growth-rates", wells.parent / "none.csv", "--out", out).refused("no such file")
    biowm("data", "growth-rates", wells, "--out", out, "--unit", "bananas").refused("--unit", "bananas")
    assert not out.exists()
    helped = biowm("data", "growth-rates", "--help")
    assert "biowm data growth-rates wells.csv --out gr.csv" in helped.out
    assert "10.1038/nmeth.3853" in helped.out
