"""Events of some subjects of a MEDS folder, on the clock of a study and within its window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from biowm.core import units

from .codes import Codes, conversion, match, select
from .config import StudyConfig
from .meds_keys import CODE, MICROSECOND, SUBJECT, TIME, VALUE
from .rows import JOINED
from .subjects import Who
from .tables import Table


@dataclass(frozen=True, eq=False)
class Events:
    """A table of events; `t` is in the clock of the study, counted from 1970 (NaN: static).

    `name` is the code of each event as a number in the categories of the table, `low` and `high` the window of each
    subject (infinite: all of its record).
    """

    table: Table
    study: StudyConfig
    who: Who
    t: Float[np.ndarray, " n"]
    name: Int[np.ndarray, " n"]
    low: Float[np.ndarray, " subjects"]
    high: Float[np.ndarray, " subjects"]

    @property
    def names(self) -> list[str]:
        """The codes that events have, by number."""
        return [str(code) for code in self.table.frame[CODE].cat.categories]

    @property
    def inside(self) -> Bool[np.ndarray, " n"]:
        """Which events have a time within the window of their subject."""
        return (self.t >= self.low[self.who.code]) & (self.t <= self.high[self.who.code])

    def of(self, codes: Codes) -> Bool[np.ndarray, " n"]:
        """Which events are meant by `codes`."""
        return self._among(select(codes, self.names)) & ~np.isnan(self.t)

    def amounts(self, codes: Codes, unit: str) -> tuple[Bool[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Which events (static ones too) are meant by `codes`, and their values in `unit`, NaN elsewhere."""
        meant = select(codes, self.names)
        pairs = [conversion(codes, meant[n], unit) if n in meant else (np.nan, np.nan) for n in self.names]
        scale, offset = np.array(pairs, float).reshape(-1, 2)[self.name].T
        return self._among(meant), self.table.frame[VALUE].to_numpy(float) * scale + offset

    def words(self, codes: Codes) -> tuple[Bool[np.ndarray, " n"], list[str]]:
        """Which events are meant by `codes`, and what the * of theirs stands for in each code (or all of the code)."""
        meant = select(codes, self.names)
        return self._among(meant), [(match(meant[n], n) or n) if n in meant else "" for n in self.names]

    def _among(self, meant: Mapping[str, str]) -> Bool[np.ndarray, " n"]:
        return np.array([name in meant for name in self.names], bool)[self.name]

    def rows(self, mask: Bool[np.ndarray, " n"]) -> pd.DataFrame:
        """Subject and time of some events, indexed by their position in the table."""
        return pd.DataFrame({"subject": self.who.code, "t": self.t})[mask]

    def quiet(self) -> Table:
        """The table, with repairs noted elsewhere."""
        return replace(self.table, repairs=[])

    def note_all(self, quiet: Table) -> None:
        """Note what was noted in `quiet`, but not that events of one moment are one row: they always are."""
        self.table.repairs.extend(r for r in quiet.repairs if r.what != JOINED)


def timed(table: Table, study: StudyConfig) -> Events:
    """The events of a chunk on the study's clock. Subjects without an event that opens the window have none inside."""
    ids, code = np.unique(table.frame[SUBJECT].to_numpy(), return_inverse=True)
    time = table.frame[TIME].to_numpy()
    t = np.where(np.isnat(time), np.nan, time.astype(np.int64) * units.factor(MICROSECOND, study.time.unit))
    low, high = np.full(len(ids), -np.inf), np.full(len(ids), np.inf)
    who = Who(tuple(str(i) for i in ids), code)
    events = Events(table, study, who, t, table.frame[CODE].cat.codes.to_numpy(), low, high)
    if study.window is None:
        return events
    opened = events.rows(events.of(study.window.code)).groupby("subject")["t"].min()
    low = opened.reindex(range(len(ids))).fillna(np.inf).to_numpy(float)
    return replace(events, low=low, high=low + units.quantity(study.window.length, study.time.unit))
