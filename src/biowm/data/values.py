"""Columns of readings and doses as numbers within their declared range; what a blank cell means."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from jaxtyping import Float

from . import cells
from .columns import Action, Covariate, Measured
from .tables import Table

_ON_LEVEL = 1e-6


def readings(table: Table, name: str, channel: Measured | Covariate, how: cells.Reading) -> Float[np.ndarray, " rows"]:
    """The readings of one channel. Raises BadInput at a cell that is no number or out of range."""
    column = channel.column or name
    value = cells.numbers(table, column, how, limits=True)
    low = 0.0 if channel.low is None and channel.link == "log" else channel.low
    cells.bounded(table, column, value, low, channel.high, channel.unit)
    if isinstance(channel, Measured) and channel.link == "ordinal" and channel.low is not None:
        steps = (value - channel.low) / channel.step
        level = f"a level: from {channel.low:g} to {channel.high:g} in steps of {channel.step:g}"
        cells.refuse(table, column, np.abs(steps - np.rint(steps)) > _ON_LEVEL, level)
    if isinstance(channel, Measured) and channel.lloq is not None:
        below = value < channel.lloq
        table.note("readings below the limit of quantification read as the limit", np.flatnonzero(below), column)
        value = np.where(below, channel.lloq, value)
    if isinstance(channel, Measured) and channel.uloq is not None:
        above = value > channel.uloq
        table.note("readings above the limit of quantification read as the limit", np.flatnonzero(above), column)
        value = np.where(above, channel.uloq, value)
    return value


def levelled(declared: Mapping[str, Measured | Covariate | Action]) -> set[str]:
    """The names of those that take no value between their levels: ordinal channels and switches."""
    return {n for n, c in declared.items() if (c.kind == "switch" if isinstance(c, Action) else c.link == "ordinal")}


def check_order(rows: pd.DataFrame, table: Table, channels: dict[str, Measured]) -> None:
    """Raise BadInput at the first moment at which a channel exceeds the one that it must stay below."""
    for name, channel in channels.items():
        if channel.below is not None:
            wrong = np.flatnonzero(rows[name] > rows[channel.below])
            if len(wrong):
                other = channels[channel.below].column or channel.below
                expected = f"at most {other}, {rows[channel.below].iloc[wrong[0]]:g} at the same moment (below)"
                found = f"{rows[name].iloc[wrong[0]]:g}"
                raise table.bad(int(rows.index.to_numpy()[wrong[0]]), channel.column or name, found, expected)


def amounts(table: Table, name: str, action: Action, how: cells.Reading) -> Float[np.ndarray, " rows"]:
    """The doses of one action. Raises BadInput at a cell that is no number or out of range."""
    column = action.column or name
    value = cells.numbers(table, column, how, switch=action.kind == "switch")
    bounds(table, column, value, action)
    return value


def bounds(table: Table, column: str, value: Float[np.ndarray, " rows"], action: Action) -> None:
    """Raise BadInput at the first dose that `action` does not admit."""
    if action.kind == "switch":
        cells.refuse(table, column, np.isfinite(value) & (value != 0) & (value != 1), "0 or 1 (a switch)")
    else:
        cells.bounded(table, column, value, action.low, action.high, action.unit)


def fill_doses(moments: pd.DataFrame, table: Table, actions: dict[str, Action]) -> pd.DataFrame:
    """Blank dose cells as declared, or 0; noted unless the study file says what they mean."""
    filled = moments.copy()
    for name, action in actions.items():
        if name in filled:
            if action.blank is None:
                where = filled.index[filled[name].isna()].to_numpy()
                table.note("blank dose cells read as 0", where, action.column or name)
            filled[name] = filled[name].fillna(action.blank or 0.0)
    return filled


def fill_readings(rows: pd.DataFrame, table: Table, channels: dict[str, Measured]) -> pd.DataFrame:
    """Blank cells of the channels whose blanks have a declared meaning."""
    filled = rows.copy()
    for name, channel in channels.items():
        if channel.blank is not None:
            where = filled.index[filled[name].isna()].to_numpy()
            table.note(f"blank cells read as {channel.blank:g}", where, channel.column or name)
            filled[name] = filled[name].fillna(channel.blank)
    return filled
