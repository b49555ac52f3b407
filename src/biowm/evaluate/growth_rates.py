"""A table of growth rate metrics: one row for each cell line and drug of a table of counts.

The table of counts is tidy, a row a well: `cell_line`, `drug`, `concentration`, `unit` (of the concentration),
`cell_count__time0`, `cell_count__ctrl` and `cell_count` (at the start, and at the end without and with drug).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from biowm.core.errors import BadInput, place
from biowm.core.growth_rate import fit_growth_rate, growth_rate_inhibition
from biowm.core.units import UnitError, factor

GROUP = ("cell_line", "drug")
COUNTS = ("cell_count", "cell_count__time0", "cell_count__ctrl")
COLUMNS = (*GROUP, "concentration", "unit", *COUNTS)


@dataclass(frozen=True, eq=False)
class GrowthRates:
    """`metrics`: a row for each pair of cell line and drug; `readings`: GR of every well, concentrations in `unit`."""

    metrics: pd.DataFrame
    readings: pd.DataFrame
    unit: str


def growth_rates(table: pd.DataFrame, *, unit: str = "umol/L", file: str | None = None) -> GrowthRates:
    """Metrics of every cell line and drug, and GR of every well; concentrations and GR50 in `unit`.

    Rows are numbered as lines of a file whose first line is its header. Metrics are those of `GrowthRateFit`, in the
    order of the table (doi:10.1038/nmeth.3853).
    Raises: BadInput naming file, row and column, what was found and what was expected.
    """
    missing = [c for c in COLUMNS if c not in table.columns]
    if missing:
        found = ", ".join(map(str, table.columns)) or "no column"
        raise BadInput(place(file=file, column=missing[0], found=found, expected=f"columns {', '.join(COLUMNS)}"))
    if table.empty:
        raise BadInput(place(file=file, found="no rows", expected="a row for each well"))
    names = {c: table[c].astype(str).str.strip() for c in (*GROUP, "unit")}
    for column, values in names.items():
        _refuse(values.isin(["", "nan", "None"]).to_numpy(), column, table[column], "a name", file)
    numbers = {c: _numbers(table[c], c, file) for c in ("concentration", *COUNTS)}
    _refuse(~(numbers["concentration"] > 0), "concentration", table["concentration"], "a number above 0", file)
    _refuse(~(numbers["cell_count"] >= 0), "cell_count", table["cell_count"], "a count, at least 0", file)
    _refuse(~(numbers["cell_count__time0"] > 0), "cell_count__time0", table["cell_count__time0"], "above 0", file)
    still = ~(numbers["cell_count__ctrl"] > numbers["cell_count__time0"])
    _refuse(still, "cell_count__ctrl", table["cell_count__ctrl"], "more than cell_count__time0: a control grows", file)
    scale = {text: _factor(text, unit, names["unit"], file) for text in names["unit"].unique()}
    concentration = numbers["concentration"] * names["unit"].map(scale).to_numpy(float)
    gr = growth_rate_inhibition(*(numbers[c] for c in COUNTS))
    keys = list(zip(*(names[c] for c in GROUP), strict=True))
    rows = []
    for key in dict.fromkeys(keys):
        mine = np.asarray([k == key for k in keys])
        try:
            metrics = fit_growth_rate(concentration[mine], gr[mine])
        except ValueError as error:
            row = int(np.flatnonzero(mine)[0]) + 2
            raise BadInput(
                f"{place(file=file, row=row, column=' and '.join(GROUP))}: {', '.join(key)}: {error}"
            ) from None
        rows.append({**dict(zip(GROUP, key, strict=True)), "unit": unit, **asdict(metrics)})
    readings = pd.DataFrame({**{c: names[c] for c in GROUP}, "concentration": concentration, "gr": gr})
    return GrowthRates(pd.DataFrame(rows), readings, unit)


def growth_rate_table(table: pd.DataFrame, *, unit: str = "umol/L", file: str | None = None) -> pd.DataFrame:
    """The metrics of `growth_rates` alone."""
    return growth_rates(table, unit=unit, file=file).metrics


def read_growth_rates(counts: Path, *, unit: str = "umol/L") -> GrowthRates:
    """`growth_rates` of a CSV of counts.

    Raises: BadInput as `growth_rates`, where there is no such file or it is no table, and for a unit that is none.
    """
    if not counts.is_file():
        raise BadInput(place(file=counts, found="no such file", expected="a CSV of counts"))
    try:
        factor(unit, unit)
    except UnitError as error:
        raise BadInput(f"{place(column='--unit', expected='a unit of concentration')}: {error}") from None
    try:
        table = pd.read_csv(counts, dtype=str, keep_default_na=False, skip_blank_lines=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise BadInput(f"{place(file=counts, expected='a CSV of counts')}: {error}") from None
    return growth_rates(table, unit=unit, file=str(counts))


def write_growth_rates(counts: Path, out: Path, *, unit: str = "umol/L") -> GrowthRates:
    """Read a CSV of counts, write the CSV of metrics, and return all.

    Raises: BadInput as `read_growth_rates`.
    """
    found = read_growth_rates(counts, unit=unit)
    out.parent.mkdir(parents=True, exist_ok=True)
    found.metrics.to_csv(out, index=False)
    return found


def _numbers(values: pd.Series, column: str, file: str | None) -> np.ndarray:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(float)
    _refuse(~np.isfinite(numbers), column, values, "a number", file)
    return numbers


def _refuse(wrong: np.ndarray, column: str, values: pd.Series, expected: str, file: str | None) -> None:
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise BadInput(place(file=file, row=i + 2, column=column, found=str(values.iloc[i]), expected=expected))


def _factor(text: str, unit: str, column: pd.Series, file: str | None) -> float:
    try:
        return factor(text, unit)
    except UnitError as error:
        row = int(np.flatnonzero((column == text).to_numpy())[0]) + 2
        raise BadInput(f"{place(file=file, row=row, column='unit', expected=f'a unit like {unit}')}: {error}") from None
