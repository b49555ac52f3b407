"""The table of growth rate metrics: units, replicates, order, and errors that say where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biowm.core.errors import BadInput
from biowm.core.growth_rate import sigmoid
from biowm.evaluate.growth_rates import growth_rate_table, write_growth_rates

TRUTH = {("MCF7", "a"): (-0.4, 0.2, 1.5), ("MCF7", "b"): (0.1, 2.0, 1.0), ("T47D", "a"): (0.3, 0.05, 2.0)}


def counts() -> pd.DataFrame:
    """Wells of three pairs, half of them with their concentration in nmol/L."""
    rows = []
    for (line, drug), truth in TRUTH.items():
        for i, c in enumerate(10.0 ** np.arange(-3, 2.1, 0.5)):
            treated = 200 * 2 ** (2.5 * np.log2(sigmoid(np.array([c]), *truth)[0] + 1))
            given = (1e3 * c, "nmol/L") if i % 2 else (c, "umol/L")
            rows.append((line, drug, *given, 200.0, 200 * 2**2.5, treated))
    names = ["cell_line", "drug", "concentration", "unit", "cell_count__time0", "cell_count__ctrl", "cell_count"]
    return pd.DataFrame(rows, columns=names)


def test_every_pair_is_found_again_in_the_unit_that_is_asked(tmp_path: Path):
    counts().to_csv(tmp_path / "counts.csv", index=False)
    found = write_growth_rates(tmp_path / "counts.csv", tmp_path / "gr.csv", unit="nmol/L").metrics
    assert list(zip(found["cell_line"], found["drug"], strict=True)) == list(TRUTH)
    truth = np.array(list(TRUTH.values())) * [1.0, 1e3, 1.0]
    np.testing.assert_allclose(found[["gr_inf", "gec50", "hill"]].to_numpy(), truth, rtol=1e-3)
    assert set(found["unit"]) == {"nmol/L"}
    again = pd.read_csv(tmp_path / "gr.csv")
    np.testing.assert_allclose(again["gr50"], found["gr50"])


@pytest.mark.parametrize(
    ("row", "column", "value", "says"),
    [
        (3, "cell_count", "many", r"row 5, column cell_count: found 'many', expected a number"),
        (0, "cell_count", -1.0, r"row 2, column cell_count: found '-1.0', expected a count"),
        (1, "concentration", 0.0, r"row 3, column concentration: found '0.0', expected a number above 0"),
        (2, "cell_count__ctrl", 150.0, r"row 4, column cell_count__ctrl: found '150.0', expected more than"),
        (4, "cell_count__time0", 0.0, r"row 6, column cell_count__time0: found '0.0', expected above 0"),
        (5, "drug", " ", r"row 7, column drug: found ' ', expected a name"),
        (6, "unit", "mg/L", r"row 8, column unit: expected a unit like umol/L: unit mismatch"),
        (6, "unit", "bananas", r"row 8, column unit: expected a unit like umol/L: unknown unit 'bananas'"),
    ],
)
def test_errors_say_where(row: int, column: str, value: object, says: str):
    table = counts().astype(object)
    table.loc[row, column] = value
    with pytest.raises(BadInput, match=says):
        growth_rate_table(table)


def test_a_column_or_a_curve_that_is_missing_is_told(tmp_path: Path):
    with pytest.raises(BadInput, match=r"column cell_count__ctrl: found .*, expected columns cell_line"):
        growth_rate_table(counts().drop(columns="cell_count__ctrl"))
    with pytest.raises(BadInput, match=r"row 2, column cell_line and drug: MCF7, a: found 2 readings"):
        growth_rate_table(counts().iloc[:2])
    with pytest.raises(BadInput, match="found 'no rows'"):
        growth_rate_table(counts().iloc[:0])
    with pytest.raises(BadInput, match="no such file"):
        write_growth_rates(tmp_path / "none.csv", tmp_path / "gr.csv")
