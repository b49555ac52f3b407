"""Rows put in order: sorted, exact duplicates dropped, rows of one moment joined, contradictions refused."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool

from biowm.core.errors import place

from .tables import Table

MOMENT = ["subject", "t"]
JOINED = "rows of one moment joined"


@dataclass(frozen=True)
class Rows:
    """`readings`: every row kept, in order; `moments`: one row for each subject and time. Indexed by table position."""

    readings: pd.DataFrame
    moments: pd.DataFrame


def tidy(
    cells: pd.DataFrame,
    table: Table,
    doses: list[str],
    duplicates: Literal["replicate", "mean"] | None,
    levels: Collection[str] = (),
) -> Rows:
    """Sort `cells` (columns subject, t and values, one row per table row) and settle rows of one moment.

    The mean of `levels`, columns that take no value in between, is their lower median.
    Raises BadInput naming both rows where two rows of one subject and time disagree and `duplicates` does not
    say what that means (for the columns `doses`: unless it says mean).
    """
    before = cells.groupby("subject", sort=False)["t"].shift()
    table.note("rows out of order in time, sorted", np.flatnonzero(cells["t"] < before), None)
    values = [c for c in cells.columns if c not in MOMENT]
    cells = cells.sort_values(MOMENT + values, kind="stable")
    same = cells.duplicated()
    table.note("exact duplicate rows dropped", cells.index[same].to_numpy(), None)
    cells = cells[~same]
    many = cells.duplicated(MOMENT, keep=False)
    if not many.any():
        return Rows(cells, cells)
    shared = cells[many]
    kinds = shared.groupby(MOMENT, sort=False)[values].transform("nunique")
    for column in values:
        if duplicates is None or (duplicates == "replicate" and column in doses):
            _refuse(shared, kinds[column].to_numpy() > 1, table, column, duplicates)
    clash = (kinds > 1).any(axis=1)
    positions = shared.index.to_numpy()
    table.note(JOINED, positions[~clash.to_numpy()], None)
    table.note(f"rows of one moment that differ ({duplicates})", positions[clash.to_numpy()], None)
    usual = "mean" if duplicates == "mean" else "first"
    how = {c: lower_median if duplicates == "mean" and c in levels else usual for c in values}
    moments = _merge(cells, many, how)
    return Rows(cells if duplicates == "replicate" else moments, moments)


def _merge(cells: pd.DataFrame, many: pd.Series, how: Mapping[str, str | Callable[[pd.Series], float]]) -> pd.DataFrame:
    """One row a moment, keeping the position of its first row; `how` joins each column."""
    shared = cells[many]
    merged = shared.groupby(MOMENT, sort=False).agg(how).reset_index()
    merged.index = shared.index[~shared.duplicated(MOMENT)]
    return pd.concat([cells[~many], merged]).sort_values(MOMENT, kind="stable")


def lower_median(column: pd.Series) -> float:
    """The median, of an even number the lower of the two in the middle: always a value that was read."""
    return column.quantile(0.5, interpolation="lower")


def _refuse(
    shared: pd.DataFrame, clash: Bool[np.ndarray, " rows"], table: Table, column: str, duplicates: str | None
) -> None:
    if not clash.any():
        return
    wrong = shared[clash]
    first = wrong.index.min()
    subject, t = wrong.loc[first, MOMENT]
    pair = wrong[(wrong["subject"] == subject) & (wrong["t"] == t)].dropna(subset=[column]).sort_index()
    one, other = pair.index[0], pair.index[pair[column] != pair[column].iloc[0]][0]
    raise table.bad(
        int(other),
        column,
        f"{pair[column][other]} at the same subject and time as {place(**table.place(one))}, "
        f"which says {pair[column][one]}",
        "one value" if duplicates else "one value (or say duplicates: replicate, or mean)",
    )
