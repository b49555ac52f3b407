"""Interventions as text: what `--do` reads, and back.

Written as action=dose@onset:stop, in times after the last reading used:
    cpa=200 mg/d@0:28 d                 a rate or a switch over a stretch of time
    cpa=200 mg/d@0                      without a stop: to the horizon
    dose=75 mg@0 every 21 d x6          a bolus, repeated
    KLF1=up, drug=2 uM                  a member of a set, from now to the horizon
    on=1@14 d:28 d every 42 d x3        a switch, repeated
    cpa=200 mg/d@0:28 d; on=1@0:28 d    several in one text
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import groupby, pairwise

from . import units
from .errors import BadInput
from .schedule import Entry
from .spec import ActionCard, WorldSpec

_FORM = re.compile(
    r"\s*(?P<name>[^=@]+?)\s*=\s*(?P<dose>[^@]+?)\s*@\s*(?P<onset>{time})(?:\s*:\s*(?P<stop>{time}))?"
    r"(?:\s+every\s+(?P<every>{time})\s+x\s*(?P<times>\d+))?\s*".replace("{time}", r"(?:(?!\bevery\b)[^:])+?")
)
_EXPECTED = "'action=dose@onset:stop', such as 'cpa=200 mg/d@0:28 d' or 'dose=75 mg@0 every 21 d x6'"
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SLACK = 1e-9  # relative, for what a conversion of units leaves behind


def parse_do(texts: Sequence[str], spec: WorldSpec, horizon: float, *, option: str = "--do") -> list[Entry]:
    """The assigned entries that texts ask for; times are relative to the last reading, in the world's clock.

    Args:
        texts: one or more interventions each, separated by ';' (the module says how they are written).
        spec: the world whose actions they are; doses are turned into the units of its cards.
        horizon: where an intervention without an end stops, in the clock's unit.
        option: where the texts come from, for errors.

    Raises:
        BadInput: naming the text, what was found and what was expected.
    """
    try:
        found = [
            (text, entry) for line in texts for text in line.split(";") for entry in _parse(text.strip(), spec, horizon)
        ]
        _apart(found, spec)
    except BadInput as error:
        raise BadInput(f"{option} {error}") from None
    return [entry for _, entry in found]


def _apart(found: Sequence[tuple[str, Entry]], spec: WorldSpec) -> None:
    """Refuse an action that begins while it is still given."""
    for card, group in groupby(sorted(found, key=lambda f: (f[1].card, f[1].onset)), key=lambda f: f[1].card):
        for (_, first), (text, second) in pairwise(group):
            if second.onset < first.stop - _SLACK * abs(first.stop):
                raise _bad(
                    text.strip(),
                    f"{spec.actions[card].name} from {_number(second.onset)} {spec.clock} while it is still given",
                    f"it to begin at {_number(first.stop)} {spec.clock} or later",
                )


def describe(entries: Sequence[Entry], spec: WorldSpec) -> str:
    """Entries as one text that `parse_do` reads back; equal entries at equal gaps become 'every ... x...'."""

    def same(entry: Entry) -> tuple[int, float, float]:
        return entry.card, entry.dose, round(entry.stop - entry.onset, 9)

    texts = []
    for _, group in groupby(sorted(entries, key=lambda e: (*same(e), e.onset)), key=same):
        run = list(group)
        gaps = {round(b.onset - a.onset, 9) for a, b in pairwise(run)}
        if len(gaps) == 1:
            texts.append((run[0].onset, f"{_text(run[0], spec)} every {_number(*gaps)} {spec.clock} x{len(run)}"))
        else:
            texts += [(entry.onset, _text(entry, spec)) for entry in run]
    return "; ".join(text for _, text in sorted(texts, key=lambda t: t[0]))


def _bad(text: str, found: str, expected: str) -> BadInput:
    return BadInput(f"{text!r}: found {found}, expected {expected}")


def _parse(text: str, spec: WorldSpec, horizon: float) -> list[Entry]:
    try:
        return _entries(text, spec, horizon)
    except units.UnitError as error:
        raise BadInput(f"{text!r}: {error}") from None


def _entries(text: str, spec: WorldSpec, horizon: float) -> list[Entry]:
    members = {a.name for a in spec.actions if a.kind == "set-member"}
    whole = f"{text}@0" if "@" not in text and text.split("=")[0].strip() in members else text
    match = _FORM.fullmatch(whole)
    if match is None:
        raise BadInput(f"{text!r}: expected {_EXPECTED}; {_actions(spec)}")
    names = [a.name for a in spec.actions]
    if match["name"] not in names:
        raise _bad(text, f"action {match['name']!r}", f"one that this world has; {_actions(spec)}")
    card = spec.actions[names.index(match["name"])]
    dose = _dose(text, match["dose"], card)
    onset, stop = _times(text, match["onset"], match["stop"], card, spec.clock, horizon)
    gap, count = 0.0, 1
    if match["every"] is not None:
        gap, count = units.quantity(match["every"], spec.clock, "every"), int(match["times"])
        if gap <= 0 or count < 1:
            raise _bad(text, f"every {match['every']} x{count}", "a positive gap and at least x1")
    return [Entry(names.index(card.name), dose, onset + k * gap, stop + k * gap, assigned=True) for k in range(count)]


def _dose(text: str, found: str, card: ActionCard) -> float:
    if card.kind == "set-member" and not card.unit:
        found = _word(found, card)
    if _NUMBER.fullmatch(found) and units.parse(card.unit) == units.parse(""):
        dose = float(found)
    else:
        dose = units.quantity(found, card.unit, f"dose of {card.name}")
    if card.kind == "switch" and dose not in (0.0, 1.0):
        raise _bad(text, found, f"{card.name} to be 0 or 1 (a switch)")
    high = float("inf") if card.high is None else card.high
    if not card.low - _SLACK * abs(card.low) <= dose <= high + _SLACK * abs(high):
        above = "" if card.high is None else f" and at most {_number(high)}"
        raise _bad(text, found, f"a dose of {card.name} of at least {_number(card.low)}{above} {card.unit}".rstrip())
    return dose


def _word(found: str, card: ActionCard) -> str:
    """The dose that a word stands for: 1, or -1 of a member that turns its target down."""
    if found in ("on", card.effect):
        return "-1" if card.low < 0 and card.high == 0 else "1"
    return {"up": "1", "down": "-1"}.get(found, found) if card.low < 0 else found


def _times(
    text: str, onset: str, stop: str | None, card: ActionCard, clock: str, horizon: float
) -> tuple[float, float]:
    """Onset and stop in the clock; an onset without a unit is 0 or has the unit of the stop."""
    end = horizon if stop is None else units.quantity(stop, clock, "stop")
    if _NUMBER.fullmatch(onset) and (stop is not None or float(onset) == 0):
        onset += f" {clock}" if stop is None else _NUMBER.sub("", stop, count=1)
    start = units.quantity(onset, clock, "onset")
    if start < 0:
        raise _bad(text, f"onset {onset}, in the past", "0 or later: what was given before belongs to the history")
    if start >= horizon:
        raise _bad(text, f"onset {onset}", f"a time before the horizon of {_number(horizon)} {clock}")
    if card.kind == "bolus":
        if stop is not None:
            raise _bad(text, f"stop {stop}", f"no stop: {card.name} is given at once")
        return start, start
    if end <= start:
        raise _bad(text, f"stop {stop}", f"a time after the onset, {onset}")
    return start, end


def _text(entry: Entry, spec: WorldSpec) -> str:
    card = spec.actions[entry.card]
    until = "" if card.kind == "bolus" else f":{_number(entry.stop)} {spec.clock}"
    dose = f"{_number(entry.dose)} {card.unit}".strip()
    return f"{card.name}={dose}@{_number(entry.onset)} {spec.clock}{until}"


def _number(value: float) -> str:
    return f"{value:.12g}"


def _actions(spec: WorldSpec) -> str:
    known = ", ".join(f"{a.name} ({a.kind}{', ' + a.unit if a.unit else ''})" for a in spec.actions)
    return f"actions there are: {known or 'none'}"
