"""Tables as pharmacometricians write them (`format: nonmem`): a row is a reading, a dose or neither, and says which.

Items: DV AMT RATE EVID MDV CMT DVID CENS LLOQ ADDL II SS, of which only DV must be there. Subject and time are columns
that the study names, and any other column may be a covariate, a trait or a group. Source of what the items mean: Bauer
2019, doi:10.1002/psp4.12404.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from biowm.core.errors import BadInput

from . import cells
from .config import StudyConfig
from .faults import fault
from .subjects import identify
from .tables import Table

READING, DOSE, OTHER, RESET, RESET_DOSE = range(5)
DOSING = ("AMT", "RATE", "ADDL", "II", "SS")
_NUMBERS = (*DOSING, "EVID", "MDV", "CENS", "LLOQ")
_ITEMS = ("DV", "CMT", "DVID", *_NUMBERS)
_DATES = ("DATE", "DAT1", "DAT2", "DAT3")
_CHOICES = {
    "EVID": ((0, 1, 2, 3, 4), "0 (a reading), 1 (a dose), 2 (neither), 3 or 4 (a reset)"),
    "MDV": ((0, 1), "0, or 1 (no value)"),
    "CENS": ((-1, 0, 1), "0, 1 (below the limit) or -1 (above it)"),
}
_KINDS = {READING: "a reading", OTHER: "neither dose nor reading", RESET: "a reset"}
_OCCASIONS = "a reset only where a subject begins (an occasion may be a subject of its own: subject: [ID, OCC], "
_OCCASIONS += "groups: {person: ID}, split: {by: person})"


@dataclass(frozen=True, eq=False)
class Records:
    """The rows of a table by item: numbers are NaN where missing, the labels `cmt` and `dvid` ''.

    `event` is the EVID that a row says, or that follows from what else it says; `observed` are the rows that are
    readings. `called` is how the file writes each item, `how` how its cells are read.
    """

    table: Table
    study: StudyConfig
    subject: Int[np.ndarray, " rows"]
    t: Float[np.ndarray, " rows"]
    called: Mapping[str, str]
    how: cells.Reading
    numbers: Mapping[str, Float[np.ndarray, " rows"]]
    cmt: Shaped[np.ndarray, " rows"]
    dvid: Shaped[np.ndarray, " rows"]
    event: Int[np.ndarray, " rows"]
    observed: Bool[np.ndarray, " rows"]

    @property
    def doses(self) -> Bool[np.ndarray, " rows"]:
        """Which rows are doses."""
        return (self.event == DOSE) | (self.event == RESET_DOSE)

    def keep(self, rows: Bool[np.ndarray, " rows"]) -> Records:
        """The records of the rows where the mask `rows` is true; their subjects are numbered anew."""
        return replace(
            self,
            table=self.table.keep(rows),
            subject=np.unique(self.subject[rows], return_inverse=True)[1],
            t=self.t[rows],
            numbers={item: number[rows] for item, number in self.numbers.items()},
            cmt=self.cmt[rows],
            dvid=self.dvid[rows],
            event=self.event[rows],
            observed=self.observed[rows],
        )

    def amount(self, item: str) -> Float[np.ndarray, " rows"]:
        """An item of dosing, 0 where missing."""
        return np.nan_to_num(self.numbers[item])

    def bad(self, i: int | np.integer, item: str, expected: str) -> BadInput:
        """The message that an item of row `i` is wrong."""
        column = self.called.get(item, item)
        there = column in self.table.frame.columns
        return self.table.bad(i, column, repr(said(self, item).iloc[int(i)]) if there else "no such column", expected)

    def refuse(self, wrong: Bool[np.ndarray, " rows"], item: str, expected: str) -> None:
        """Raise BadInput at the first wrong row."""
        if wrong.any():
            raise self.bad(np.flatnonzero(wrong)[0], item, expected)


def said(r: Records, item: str) -> pd.Series:
    """The cells of an item as text."""
    return cells.text(r.table.frame[r.called[item]])


def label(word: str) -> str:
    """The name of a compartment or of a kind of reading: 1, 1.0 and '1' are one."""
    try:
        return f"{float(word):g}"
    except ValueError:
        return word


def records(table: Table, study: StudyConfig) -> Records:
    """The rows of a NONMEM table. Raises BadInput where an item is not what it may be, or contradicts another."""
    called = _called(table, study)
    numeric = [called[n] for n in ("DV", *_NUMBERS) if n in called]
    others = [c.column or name for name, c in study.covariates.items()]
    how = cells.Reading(study.na, cells.decimal_comma(table, [*numeric, *others, study.time.column]))
    unsaid = np.full(len(table.frame), np.nan)
    numbers = {n: cells.numbers(table, called[n], how) if n in called else unsaid for n in _NUMBERS}
    labels = {n: _labels(table, called.get(n), study.na) for n in ("CMT", "DVID")}
    given = np.logical_or.reduce([np.nan_to_num(numbers[n]) != 0 for n in ("AMT", "RATE", "SS")])
    hidden = numbers["MDV"] == 1
    event = np.where(np.isnan(numbers["EVID"]), np.select([given, hidden], [DOSE, OTHER], READING), numbers["EVID"])
    blank = cells.blank(cells.text(table.column(called["DV"])), study.na).to_numpy()
    found = Records(
        table=table,
        study=study,
        subject=identify(table, study).code,
        t=cells.times(table, study.time, study.time.column, how),
        called=called,
        how=how,
        numbers=numbers,
        cmt=labels["CMT"],
        dvid=labels["DVID"],
        event=event.astype(int),
        observed=(event == READING) & ~hidden & (~blank | (np.nan_to_num(numbers["CENS"]) != 0)),
    )
    _check(found, event)
    return found


def _called(table: Table, study: StudyConfig) -> dict[str, str]:
    """How the file writes each item, in capitals or not. Raises BadInput for one that is there twice, and for dates."""
    called: dict[str, str] = {}
    for name in table.frame.columns:
        word = str(name).upper()
        if word in _DATES and name != study.time.column:
            expected = (
                f"no date beside {study.time.column}: the time since a start, or date and time, in that one column"
            )
            raise fault("a column of dates", expected, file=table.files[0], column=name)
        if word in _ITEMS:
            if word in called:
                raise fault(f"{called[word]!r} and {name!r}", "one of them", file=table.files[0], column=name)
            called[word] = str(name)
    for name in (called.setdefault("DV", "DV"), *called.values()):
        table.column(name)
    return called


def _labels(table: Table, column: str | None, na: tuple[str, ...]) -> Shaped[np.ndarray, " rows"]:
    words = [""] * len(table.frame) if column is None else cells.words(table, column, na)
    return np.array([label(word) for word in words], dtype=object)


def _check(r: Records, event: Float[np.ndarray, " rows"]) -> None:
    """Refuse values that an item cannot have, and rows that say two things."""
    for item, (choices, expected) in _CHOICES.items():
        value = event if item == "EVID" else r.numbers[item]
        r.refuse(np.isfinite(value) & ~np.isin(value, choices), item, expected)
    for item in DOSING:
        for number, kind in _KINDS.items():
            r.refuse((r.amount(item) != 0) & (r.event == number), item, f"0 or nothing in a row that is {kind}")
    spoken = (r.event != READING) & (r.numbers["MDV"] == 0) & ~_wordless(r)
    r.refuse(spoken, "DV", "no value with MDV 0 in a row that is no reading (a reading has a row of its own)")
    _check_resets(r)


def note(r: Records) -> None:
    """Note the readings without a value, and values where nothing is read that no MDV hides: both are left out."""
    missing = (r.event == READING) & (r.numbers["MDV"] != 1) & ~r.observed
    r.table.note("readings without a value left out", np.flatnonzero(missing), r.called["DV"])
    unread = (r.event != READING) & np.isnan(r.numbers["MDV"]) & ~_wordless(r)
    r.table.note("values in rows that are no reading left out (EVID)", np.flatnonzero(unread), r.called["DV"])


def _wordless(r: Records) -> Bool[np.ndarray, " rows"]:
    """Which rows have no DV, or 0, which tables write where there is none."""
    words = said(r, "DV")
    zero = pd.to_numeric(words, errors="coerce").to_numpy(float) == 0
    return zero | cells.blank(words, r.study.na).to_numpy()


def _check_resets(r: Records) -> None:
    """What was in the body before an occasion cannot be forgotten within one path."""
    rows = pd.DataFrame({"subject": r.subject, "t": r.t})
    begins = ~rows["subject"].duplicated() & (rows["t"] <= rows.groupby("subject")["t"].transform("min"))
    r.refuse((r.event >= RESET) & ~begins.to_numpy(), "EVID", _OCCASIONS)
