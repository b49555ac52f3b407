"""Columns of cells turned into numbers, times, labels and words, with every repair noted and every fault placed."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from biowm.core import units

from .columns import Time
from .tables import Table

BLANKS = frozenset({"", ".", "NA", "N/A", "n/a", "na", "NaN", "nan", "NAN", "null", "NULL", "None", "NaT", "#N/A"})
NUMBERS, DATES, ZONED = "numbers", "dates without a time zone", "dates with a time zone"
_NUMBER = r"[+-]?(?:\d+[.,]?\d*|[.,]\d+)(?:[eE][+-]?\d+)?"
_COMMA = re.compile(r"[<>≤≥]?=?\s*[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?\d{1,3},\d{3}")
_LIMIT = re.compile(rf"([<>≤≥])=?\s*({_NUMBER})")
_SWITCH = {"on": 1.0, "yes": 1.0, "true": 1.0, "y": 1.0, "off": 0.0, "no": 0.0, "false": 0.0, "n": 0.0}
_DATES = ("%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y")
_DATES += ("%d-%b-%Y", "%d %b %Y", "%d%b%Y", "%d-%b-%y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y")
_ZONE = re.compile(r":\d\d(?:[.,]\d+)?\s*(?:Z|UTC|GMT|[+-]\d\d(?::?\d\d)?)$", re.IGNORECASE)
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p")


@dataclass(frozen=True)
class Reading:
    """How the cells of a table are read: what is missing, and whether a comma is the decimal mark."""

    na: tuple[str, ...] = ()
    comma: bool = False


def text(cells: pd.Series) -> pd.Series:
    """Cells as stripped text, nothing as ''."""
    return cells.astype(object).where(cells.notna(), "").astype(str).str.strip()


def _plain(cells: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(cells) or pd.api.types.is_bool_dtype(cells)


def blank(said: pd.Series, na: Sequence[str]) -> pd.Series:
    """Which cells (stripped text) say nothing: the usual blanks, and the words in `na`, where * stands for anything."""
    unique = pd.Series(said.unique(), dtype=object)
    own = [any(fnmatch.fnmatchcase(word, pattern) for pattern in na) for word in unique]
    return said.isin(BLANKS) | said.isin(unique[own])


def _missing(said: pd.Series, table: Table, column: str, na: Sequence[str]) -> pd.Series:
    """Which cells say nothing; the user's own words for it are noted, the usual blanks are not."""
    found = blank(said, na)
    table.note("text read as missing (na)", np.flatnonzero(found & ~said.isin(BLANKS)), column)
    return found


def decimal_comma(table: Table, columns: Sequence[str]) -> bool:
    """Whether the numbers of these columns are written with a decimal comma, everywhere and beyond doubt."""
    comma = []
    for name in columns:
        cells = table.column(name)
        if _plain(cells):
            continue
        words = pd.Series(text(cells).unique())
        if words.str.fullmatch(r"[<>≤≥]?=?\s*[+-]?\d*\.\d+").any():
            return False
        comma += [word for word in words if _COMMA.fullmatch(word)]
    sure = any(not _THOUSANDS.fullmatch(word) for word in comma)
    if sure:
        table.note("table with decimal commas", np.arange(1), None, example=next(w for w in comma))
    return sure


def numbers(
    table: Table, column: str, how: Reading, *, limits: bool = False, switch: bool = False
) -> Float[np.ndarray, " rows"]:
    """A column as numbers, NaN where missing.

    `limits`: cells such as '<0.1' are read as the limit; `switch`: on/off, yes/no, true/false are 1 and 0.
    Raises BadInput at the first cell that is neither.
    """
    cells = table.column(column)
    if _plain(cells):
        value = cells.to_numpy(float, na_value=np.nan)
        marks = pd.to_numeric(pd.Series([p for p in how.na if "*" not in p], dtype=object), errors="coerce").dropna()
        hit = np.isin(value, marks.to_numpy(float))
        table.note("number read as missing (na)", np.flatnonzero(hit), column)
        value = np.where(hit, np.nan, value)
        refuse(table, column, np.isinf(value), "a finite number")
        return value
    words = text(cells)
    missing = _missing(words, table, column, how.na)
    plain = words.str.replace(",", ".", regex=False) if how.comma else words
    value = pd.to_numeric(plain, errors="coerce").to_numpy(float, copy=True)
    value[missing | ~np.isfinite(value)] = np.nan
    left = np.flatnonzero(np.isnan(value) & ~missing)
    if limits and len(left):
        left = _limits(table, column, plain, value, left)
    if switch and len(left):
        value[left] = plain.iloc[left].str.lower().map(_SWITCH).to_numpy(float)
        left = left[np.isnan(value[left])]
    if len(left):
        word = words.iloc[left[0]]
        marked = re.fullmatch(r"[+-]?[\d.,]*,[\d.,]*", word)
        why = " with one decimal mark and no thousands mark" if marked else ""
        raise table.bad(left[0], column, repr(word), f"a number{why} (declare other words for missing with the key na)")
    return value


def _limits(
    table: Table, column: str, plain: pd.Series, value: Float[np.ndarray, " rows"], left: Int[np.ndarray, " odd"]
) -> Int[np.ndarray, " rest"]:
    """Put the limit of cells such as '<0.1' into `value`; returns the positions that are no such cell."""
    parts = plain.iloc[left].str.extract(rf"^{_LIMIT.pattern}$")
    hit = parts[0].notna().to_numpy()
    value[left[hit]] = parts[1][hit].astype(float)
    below = parts[0].isin(["<", "≤"]).to_numpy()
    table.note("left-censored cells read as their limit", left[hit & below], column)
    table.note("right-censored cells read as their limit", left[hit & ~below], column)
    return left[~hit]


def refuse(table: Table, column: str, wrong: Bool[np.ndarray, " rows"], expected: str) -> None:
    """Raise BadInput at the first wrong cell."""
    where = np.flatnonzero(wrong)
    if len(where):
        raise table.bad(where[0], column, repr(str(table.frame[column].iloc[where[0]])), expected)


def bounded(
    table: Table, column: str, value: Float[np.ndarray, " rows"], low: float | None, high: float | None, unit: str
) -> None:
    """Raise BadInput at the first value outside [low, high]."""
    for bound, wrong, word in ((low, np.less, "at least"), (high, np.greater, "at most")):
        if bound is not None:
            refuse(table, column, wrong(value, bound), f"{word} {bound:g} {unit}".strip())


def labels(table: Table, columns: Sequence[str], what: str) -> Shaped[np.ndarray, " rows"]:
    """Identifiers from one column or several (joined with '/'), as text; whole numbers lose their '.0'."""
    parts = []
    for column in columns:
        cells = table.column(column)
        if pd.api.types.is_float_dtype(cells) and (cells.dropna() % 1 == 0).all():
            cells = cells.astype("Int64")
        words = text(cells)
        if cells.dtype == object:
            whole = cells.map(lambda cell: isinstance(cell, float) and cell.is_integer())
            words = words.where(~whole, words.str.removesuffix(".0"))
        empty = np.flatnonzero(words == "")
        if len(empty):
            raise table.bad(empty[0], column, "an empty cell", what)
        parts.append(words)
    joined = parts[0]
    for more in parts[1:]:
        joined = joined + "/" + more
    return joined.to_numpy(object)


def words(table: Table, column: str, na: Sequence[str]) -> Shaped[np.ndarray, " rows"]:
    """A column of words, '' where missing."""
    cells = text(table.column(column))
    return cells.mask(_missing(cells, table, column, na), "").to_numpy(object)


def times(table: Table, time: Time, column: str, how: Reading, *, required: bool = True) -> Float[np.ndarray, " rows"]:
    """A column of times in the study's clock: numbers as they are, dates counted from 1970-01-01.

    Raises BadInput at the first cell that is no time, where day and month cannot be told apart, and where only some
    cells say a time zone.
    """
    if time.at is not None:
        return np.full(len(table.frame), time.at)
    cells = table.column(column)
    said = text(cells)
    blank = said.isin(BLANKS).to_numpy()
    if required and blank.any():
        raise table.bad(np.flatnonzero(blank)[0], column, "an empty cell", f"a time in {time.unit} or a date")
    if kind_of_time(table, time, column) == NUMBERS:
        value = numbers(table, column, Reading(comma=how.comma))
        like = np.isin(np.floor(value / 1e6), (19, 20)) & (value % 1 == 0)
        if not blank.all() and like[~blank].all():
            raise table.bad(0, column, repr(said.iloc[0]), "days, or dates declared as such: time: {format: '%Y%m%d'}")
        return value
    stamps = _dates(table, column, cells, said, blank, time.format)
    seconds = (stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return seconds.to_numpy(float) * units.factor("s", time.unit)


def kind_of_time(table: Table, time: Time, column: str) -> str:
    """What a column of times holds: numbers, or dates (declared, or most of its first cells are no numbers).

    Dates say a time zone, or they do not. Raises BadInput where only some do: how far they are apart is not known.
    """
    if time.at is not None:
        return NUMBERS
    cells = table.column(column)
    if pd.api.types.is_datetime64_any_dtype(cells):
        return ZONED if isinstance(cells.dtype, pd.DatetimeTZDtype) else DATES
    said = text(cells)
    head = text(cells[cells.notna()].iloc[:200])
    head = head[~head.isin(BLANKS)].str.replace(",", ".", regex=False)
    if time.format is None and not pd.to_numeric(head, errors="coerce").isna().mean() > 0.5:
        return NUMBERS
    filled = np.flatnonzero(~said.isin(BLANKS))
    zoned = said.iloc[filled].str.contains(_ZONE).to_numpy(bool)
    if zoned.any() and not zoned.all():
        wrong = int(filled[np.flatnonzero(zoned != zoned[0])[0]])
        expected = f"{'a' if zoned[0] else 'no'} time zone, as in the rows above"
        raise table.bad(wrong, column, repr(said.iloc[wrong]), expected)
    return ZONED if zoned.any() else DATES


def _dates(
    table: Table, column: str, cells: pd.Series, said: pd.Series, blank: Bool[np.ndarray, " rows"], pattern: str | None
) -> pd.Series:
    if pd.api.types.is_datetime64_any_dtype(cells):
        return pd.to_datetime(cells, utc=True)
    said = said.mask(blank)
    if pattern:
        stamps = pd.to_datetime(said, format=pattern, errors="coerce", utc=True)
        fits = {pattern: stamps}
    else:
        fits = fitting(said)
    stamps = max(fits.values(), key=lambda s: s.notna().sum())
    wrong = np.flatnonzero(stamps.isna() & ~blank)
    if len(wrong):
        expected = (
            f"a date like {pattern!r}" if pattern else "a number or a date (say how dates are written: time.format)"
        )
        raise table.bad(wrong[0], column, repr(said.iloc[wrong[0]]), expected)
    whole = [name for name, s in fits.items() if not (s.isna() & ~blank).any()]
    differ = [name for name in whole if not fits[name].equals(fits[whole[0]])]
    if differ:
        first = np.flatnonzero((fits[whole[0]] != fits[differ[0]]) & ~blank)[0]
        choices = " or ".join(repr(name) for name in (whole[0], differ[0]))
        raise table.bad(first, column, repr(said.iloc[first]), f"dates with one reading (say time.format: {choices})")
    if not pattern and whole[0] != "ISO8601":
        table.note(f"dates read as {whole[0]}", np.flatnonzero(~blank), column)
    return stamps


def fitting(said: pd.Series) -> dict[str, pd.Series]:
    """The ways to write dates under which the first cells (and so perhaps all) are dates."""
    head = said.dropna().iloc[:20]
    day, clock = " " in "".join(head), any(":" in cell for cell in head)
    patterns = [d + c for d in _DATES for c in (_CLOCKS[1:] if clock else _CLOCKS[:1])] if day or not clock else []
    fits = {}
    for pattern in ("ISO8601", *patterns):
        if pd.to_datetime(head, format=pattern, errors="coerce", utc=True).notna().mean() > 0.5:
            fits[pattern] = pd.to_datetime(said, format=pattern, errors="coerce", utc=True)
    return fits or {"ISO8601": pd.to_datetime(said, format="ISO8601", errors="coerce", utc=True)}
