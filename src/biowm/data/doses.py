"""What was given: rows of a table turned into interventions with onset and stop."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from biowm.core.schedule import Entry, Schedule, schedule
from biowm.core.spec import ActionKind

from .config import StudyConfig
from .rows import MOMENT
from .subjects import Who
from .tables import Table

COLUMNS = ["subject", "card", "dose", "onset", "stop"]


def doses(
    card: int,
    subject: Int[np.ndarray, " rows"],
    dose: Float[np.ndarray, " rows"],
    onset: Float[np.ndarray, " rows"],
    stop: Float[np.ndarray, " rows"],
) -> pd.DataFrame:
    """Interventions of one action as rows; a bolus stops at its onset."""
    return pd.DataFrame(dict(zip(COLUMNS, (subject, card, dose, onset, stop), strict=True)))


def recorded(
    moments: pd.DataFrame,
    column: str,
    card: int,
    kind: ActionKind,
    meaning: Literal["until_next", "since_last"],
    last: pd.Series | None = None,
) -> pd.DataFrame:
    """The interventions that a column records in rows sorted by subject and t.

    A rate or switch holds until the subject's next row, or since the one before. The last row's value ends with
    that row, or at `last` (by subject) where the readings go on beyond it.
    """
    subject, t = moments["subject"].to_numpy(), moments["t"].to_numpy()
    dose = moments[column].to_numpy()
    if kind == "bolus":
        return doses(card, subject, dose, t, t)[dose != 0]
    beside = moments.groupby("subject", sort=False)["t"].shift(-1 if meaning == "until_next" else 1)
    if meaning == "until_next" and last is not None:
        beside = beside.fillna(moments["subject"].map(last))
    edge = beside.fillna(moments["t"]).to_numpy()
    onset, stop = (t, edge) if meaning == "until_next" else (edge, t)
    return doses(card, subject, dose, onset, stop)[(dose != 0) & (stop > onset)]


def held(moments: pd.DataFrame, column: str, card: int, study: StudyConfig, table: Table) -> pd.DataFrame:
    """The members of sets that a column records: one dose a subject, held from its onset to the subject's last row.

    Raises BadInput where the dose changes from row to row, or a subject has no row after the onset.
    """
    action = study.actions[column]
    onset = action.onset or 0.0
    by = moments.groupby("subject", sort=False)
    clash = np.flatnonzero(by[column].transform("nunique").to_numpy() > 1)
    if len(clash):
        row = moments.iloc[clash[-1]]
        found = f"{row[column]:g} in a row of a condition whose other rows say otherwise"
        where = int(moments.index.to_numpy()[clash[-1]])
        raise table.bad(where, action.column or column, found, "one dose for each condition")
    dose, last = by[column].first(), by["t"].max()
    late = np.flatnonzero((dose != 0).to_numpy() & (last <= onset).to_numpy())
    if len(late):
        here = np.flatnonzero((moments["subject"] == dose.index.to_numpy()[late[0]]).to_numpy())
        row = int(moments.index.to_numpy()[here[0]])
        found = f"a condition that is last read at {last.iloc[late[0]]:g} {study.time.unit}"
        raise table.bad(row, action.column or column, found, f"a reading after the onset, {onset:g} {study.time.unit}")
    who = dose.index.to_numpy(int)
    given = doses(card, who, dose.to_numpy(float), np.full(len(who), onset), last.to_numpy(float))
    return given[given["dose"] != 0]


def nothing_at(starts: Float[np.ndarray, " n"]) -> pd.DataFrame:
    """No dose at the start of every subject: where a path begins, whether or not something was read or given then."""
    n = len(starts)
    return doses(-1, np.arange(n), np.zeros(n), starts, starts)


def with_doses(readings: pd.DataFrame, given: pd.DataFrame, who: Who) -> pd.DataFrame:
    """The readings, with an empty row where something was given (or its giving ended) and nothing was read.

    Between two rows of a path a dose has no time of its own: what is given there counts from the first of them.
    """
    edges = np.concatenate([given["onset"].to_numpy(float), given["stop"].to_numpy(float)])
    edge = pd.DataFrame({"subject": np.tile(given["subject"].to_numpy(int), 2), "t": edges}).drop_duplicates()
    last = edge["subject"].map(readings.groupby("subject")["t"].max())
    edge = edge[edge["t"] < last]
    read = pd.MultiIndex.from_frame(readings[MOMENT])
    edge = edge[~pd.MultiIndex.from_frame(edge).isin(read)]
    first = pd.Series(np.arange(len(who.code))).groupby(who.code).first()
    empty = edge.set_index(pd.Index(edge["subject"].map(first).to_numpy(int))).reindex(columns=readings.columns)
    whole = pd.concat([empty, readings]).astype(readings.dtypes.to_dict())
    return whole.sort_values(MOMENT, kind="stable")


def joined(given: Iterable[pd.DataFrame]) -> pd.DataFrame:
    """All interventions in order, with equal doses that follow each other without a gap made one."""
    rows = pd.concat([pd.DataFrame(columns=COLUMNS, dtype=float), *(g for g in given if len(g))], ignore_index=True)
    rows = rows.sort_values(["subject", "card", "onset", "stop", "dose"], kind="stable", ignore_index=True)
    before = rows.shift()
    goes_on = (rows[["subject", "card", "dose"]] == before[["subject", "card", "dose"]]).all(axis=1)
    goes_on &= (rows["onset"] == before["stop"]) & (rows["stop"] > rows["onset"])
    goes_on &= before["stop"] > before["onset"]
    run = (~goes_on).cumsum()
    merged = rows.groupby(run, sort=False).agg(
        {"subject": "first", "card": "first", "dose": "first", "onset": "first", "stop": "last"}
    )
    return merged.sort_values(["subject", "onset", "card"], kind="stable", ignore_index=True)


def schedules(given: pd.DataFrame, starts: Float[np.ndarray, " n"], assigned: bool) -> tuple[Schedule, ...]:
    """One schedule a subject (coded 0, 1, ...), with times counted from the subject's start."""
    subject = given["subject"].to_numpy(int)
    onset, stop = (given[name].to_numpy(float) - starts[subject] for name in ("onset", "stop"))
    card, dose = given["card"].to_numpy(int), given["dose"].to_numpy(float)
    edges = np.searchsorted(subject, np.arange(len(starts) + 1))
    columns = [a.tolist() for a in (card, dose, onset, stop)]
    plans = []
    for a, b in itertools.pairwise(edges):
        rows = zip(*(c[a:b] for c in columns), strict=True)
        plans.append(schedule(Entry(c, d, on, off, assigned) for c, d, on, off in rows))
    return tuple(plans)
