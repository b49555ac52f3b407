"""Exports of one plate are merged only if they count time from one moment."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from biowm.core import units

from . import cells
from .config import StudyConfig
from .tables import Table

_DATE = "Date Time"
_SHARE = 0.1  # of the gap between readings, by which rounded dates and times may differ


def agree(table: Table, export: Int[np.ndarray, " rows"], study: StudyConfig) -> None:
    """Raise BadInput where two exports of one plate (column `plate`) whose rows have dates beside their times differ.

    An export's clock starts at its dates less its times; of several ways to read a date that one is taken under which
    the start stays the same. Where it does not (summer time begins), this is noted: times are used, not dates.
    """
    frame, column = table.frame, study.time.column
    named = next((str(c) for c in frame.columns if str(c).casefold() == _DATE.casefold()), None)
    if named is None or column == named or study.time.at is not None:
        return
    said = cells.text(frame[column]).str.replace(",", ".", regex=False)
    t = pd.to_numeric(said, errors="coerce").to_numpy(float)
    dates = cells.text(frame[named])
    known = np.isfinite(t) & ~dates.isin(cells.BLANKS).to_numpy()
    if not known.any() or cells.kind_of_time(table, study.time, column) != cells.NUMBERS:
        return
    hours = units.factor("s", study.time.unit)
    starts = {}
    for name, stamps in cells.fitting(dates[known]).items():
        if stamps.notna().all():
            origin = np.full(len(frame), np.nan)
            seconds = (stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
            origin[known] = seconds.to_numpy(float) * hours - t[known]
            starts[name] = origin
    if not starts:
        return
    origin = min(starts.values(), key=lambda o: sum(np.ptp(o[known & (export == e)]) for e in np.unique(export[known])))
    _compare(table, export, origin, t, study)


def _compare(
    table: Table,
    export: Int[np.ndarray, " rows"],
    origin: Float[np.ndarray, " rows"],
    t: Float[np.ndarray, " rows"],
    study: StudyConfig,
) -> None:
    gaps = np.diff(np.unique(t[np.isfinite(t)]))
    slack = _SHARE * float(np.median(gaps)) if len(gaps) else 0.0
    first: dict[str, tuple[float, int]] = {}
    for e in np.unique(export):
        mine = np.flatnonzero((export == e) & np.isfinite(origin))
        if not len(mine):
            continue
        start = float(np.median(origin[mine]))
        odd = mine[np.abs(origin[mine] - start) > slack]
        table.note("dates that drift from the times beside them (times are used)", odd, study.time.column)
        plate = str(table.frame["plate"].iloc[mine[0]])
        other, where = first.setdefault(plate, (start, int(mine[0])))
        if abs(start - other) > slack:
            here, there = (_moment(x, study) for x in (start, other))
            found = f"times of plate {plate!r} that count from {here}, where those of {table.files[table.file[where]]} "
            expected = f"one clock (or time: {{column: {_DATE}}}, which all exports have)"
            raise table.bad(mine[0], study.time.column, f"{found}count from {there}", expected)


def _moment(start: float, study: StudyConfig) -> str:
    stamp = pd.Timestamp(0) + pd.Timedelta(seconds=round(start * units.factor(study.time.unit, "s")))
    return f"{stamp:%Y-%m-%d %H:%M}"
