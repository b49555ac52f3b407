"""The small language of goals and limits: a cursor over the text, quantities, and amounts with units."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import NamedTuple, NoReturn

from biowm.core import units
from biowm.core.errors import BadInput, place
from biowm.core.spec import WorldSpec

from .course import STATS, Band, Kind, Mark, Quantity, Stat

WORDS: tuple[Stat, ...] = ("mean", "max", "min", "final", "total", "time on", "time off", "time until")
NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
# a unit ends at an operator, at a closing bracket, at a word of the language or with the text
_UNIT = r"(?:(?!\b(?:while|and|over|to)\b)[^<>=()]|\([^()]*\))*"


class Cursor:
    """A place in a text that is read from left to right; errors name the text, the column and what was found."""

    def __init__(self, what: str, text: str):
        self.what, self.text = what, text.strip()
        self.rest = self.text

    def take(self, pattern: str) -> str:
        """The match of `pattern` here, which is passed over; empty where there is none."""
        match = re.match(pattern, self.rest)
        if match is None:
            return ""
        self.rest = self.rest[match.end() :].lstrip()
        return match.group(0)

    def need(self, pattern: str, expected: str) -> str:
        """As `take`, but BadInput where there is no match."""
        return self.take(pattern) or self.fail(expected)

    def end(self, expected: str = "the end") -> None:
        """BadInput unless all has been read."""
        if self.rest:
            self.fail(expected)

    def fail(self, expected: str, at: str | None = None) -> NoReturn:
        """BadInput here, or where `at` was still to be read."""
        self.rest = self.rest if at is None else at
        column = len(self.text) - len(self.rest) + 1
        word = re.match(r"[\w.%/^*-]+|.?", self.rest)
        found = (word.group(0) if word else "") or "the end"
        raise BadInput(f"{self.what} {self.text!r}, " + place(column=column, found=found, expected=expected))


class Named(NamedTuple):
    """A quantity as written: its statistic may be left to what follows."""

    stat: Stat | None
    name: str
    kind: Kind
    index: int
    window: float | None
    mark: Mark | None
    band: Band | None


def read_quantity(cursor: Cursor, spec: WorldSpec, *, bare: bool) -> Named:
    """Read a quantity: a statistic of a channel or an action, or a time.

    `[mean|max|min|final|total|time on|time off] NAME [over TIME]`, `time until NAME > NUMBER [over TIME]` or
    `time NAME in LOW to HIGH [over TIME]`.

    `[mean] CHANNEL at TIME` is the final one over TIME: what is read then. The statistic may be left out where `bare`.
    """
    kinds = _kinds(spec)
    start = cursor.rest
    stat = " ".join(cursor.take(rf"({'|'.join((*WORDS, 'time'))})\b".replace(" ", r"\s+")).split())
    name = _name(cursor, kinds)
    if stat and not name:  # a channel may be called `max`
        after, cursor.rest = cursor.rest, start
        stat, name = "", _name(cursor, kinds)
        cursor.rest = start if name else after
    if not name:
        cursor.fail(_names_there_are(cursor, kinds, () if cursor.rest != start else WORDS))
    kind, index = kinds[name]
    stat = "time in" if stat == "time" else stat
    if not stat and not bare:
        cursor.fail(f"{_either(STATS[kind])} before {name!r}", at=start)
    if stat and stat not in STATS[kind]:
        cursor.fail(f"{_either(STATS[kind])} of {name!r}, a {kind}", at=start)
    cursor.take(re.escape(name))
    mark = read_mark(cursor, spec.channels[index].unit) if stat == "time until" else None
    band = read_band(cursor, spec.channels[index].unit) if stat == "time in" else None
    window = None
    at = kind == "channel" and stat in ("", "mean", "final") and bool(cursor.take(r"at\b"))
    if at or cursor.take(r"over\b"):
        start, stat = cursor.rest, "final" if at else stat
        window = read_amount(cursor, spec.clock, "a time")
        if window <= 0:
            cursor.fail("a time above 0", at=start)
    return Named(stat or None, name, kind, index, window, mark, band)  # pyright: ignore[reportArgumentType]


def read_mark(cursor: Cursor, unit: str) -> Mark:
    """Read `> NUMBER [UNIT]` or `< NUMBER [UNIT]`."""
    above = cursor.need(r"<=|>=|<|>", "'>' or '<' and a level")[0] == ">"
    return Mark(above, read_amount(cursor, unit, "a level", bare=True), unit)


def read_band(cursor: Cursor, unit: str) -> Band:
    """Read `in LOW [UNIT] to HIGH [UNIT]`."""
    cursor.need(r"in\b", "'in' and a range such as 70 to 180")
    low = read_amount(cursor, unit, "the lower end of a range", bare=True)
    cursor.need(r"to\b", "'to' and the upper end of the range")
    start = cursor.rest
    high = read_amount(cursor, unit, "the upper end of a range", bare=True)
    if high <= low:
        cursor.fail(f"an upper end above {low:g}", at=start)
    return Band(low, high, unit)


def read_outcome(text: str, spec: WorldSpec) -> Quantity:
    """Read what is measured in a patient, such as `mean psa at 90 d`, `max psa over 90 d`, `time until psa > 10 ng/mL`.

    Raises BadInput where it is not about a channel.
    """
    cursor = Cursor("outcome", text)
    start = cursor.rest
    named = read_quantity(cursor, spec, bare=True)
    if named.kind != "channel":
        cursor.fail("a channel, as doses are decided, not measured", at=start)
    cursor.end("at TIME, over TIME or the end")
    return complete(cursor, named, "mean", spec)


def read_amount(cursor: Cursor, unit: str, what: str, *, bare: bool = False) -> float:
    """Read `NUMBER UNIT` as a number in `unit`; a number alone is taken to be in it where `bare`."""
    shown = f"{what} such as 30 {unit}".strip()
    start = cursor.rest
    number = float(cursor.need(NUMBER, shown))
    written = cursor.take(_UNIT).strip()
    try:
        if written:
            return number * units.factor(written, unit)
    except units.UnitError as error:
        cursor.fail(f"{shown} ({error})", at=start)
    if not bare:
        cursor.fail(f"a unit after {number:g}: {shown}")
    return number


def complete(cursor: Cursor, named: Named, stat: Stat, spec: WorldSpec) -> Quantity:
    """The quantity with its unit, under `stat` where none was written."""
    stat = named.stat or stat
    if stat not in STATS[named.kind]:
        cursor.fail(f"{_either(STATS[named.kind])} of {named.name!r}: the {stat} of a {named.kind} says nothing")
    unit = (spec.channels if named.kind == "channel" else spec.actions)[named.index].unit
    if stat.startswith("time"):
        unit = spec.clock
    elif (named.kind, stat) == ("rate", "total"):
        unit = _product(unit, spec.clock, "*")
    elif (named.kind, stat) == ("bolus", "mean"):
        unit = _product(unit, spec.clock, "/")
    return Quantity(stat, named.name, named.kind, named.index, unit, named.window, spec.clock, named.mark, named.band)


def _product(unit: str, clock: str, operator: str) -> str:
    product = units.parse(f"({unit or 'dimensionless'}) {operator} ({clock})")
    return f"{product:~C}"


def _kinds(spec: WorldSpec) -> dict[str, tuple[Kind, int]]:
    kinds: dict[str, tuple[Kind, int]] = {c.name: ("channel", i) for i, c in enumerate(spec.channels)}
    for i, card in enumerate(spec.actions):
        if card.kind != "set-member" or card.name not in kinds:  # of a gene that is switched and read, what is read
            kinds[card.name] = ("bolus" if card.kind == "bolus" else "rate", i)
    return kinds


def _name(cursor: Cursor, kinds: dict[str, tuple[Kind, int]]) -> str:
    """The longest known name that stands here as a whole word, or nothing."""
    for name in sorted(kinds, key=len, reverse=True):
        if re.match(re.escape(name) + r"(?![\w-])", cursor.rest):
            return name
    return ""


def _names_there_are(cursor: Cursor, kinds: dict[str, tuple[Kind, int]], words: tuple[str, ...]) -> str:
    known = [*words, *kinds]
    word = cursor.rest.split()[0].rstrip(")<>=") if cursor.rest else ""
    folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), folded, n=1, cutoff=0.5)
    hint = f"; did you mean {folded[close[0]]!r}?" if close else ""
    return f"{_either(known)}{hint}"


def _either(words: Sequence[str]) -> str:
    return " or ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else words[0]
