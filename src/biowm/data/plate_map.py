"""What each well holds and was given, from a plate map, as columns of the long table of readings.

A plate map is a table with a row a well (columns well, and plate where maps differ; or agent, dose and unit, a row
for each thing given), or grids of one quantity each, named in the corner, in the line above or by the sheet. A dose
names its unit in its cell ('30 nM'), its header ('drug (nM)') or the column unit; it becomes one in the unit of the
study's action. Several files of grids are maps of the plates after which they are named.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from biowm.core import units

from . import cells, subjects, values
from .columns import Action, Constant
from .config import StudyConfig
from .faults import fault
from .keys import closest
from .layouts import PlateMap
from .sheets import Sheet, read_sheets
from .tables import Repair, Table
from .wells import grids, said, well

_AGENT, _DOSE, _UNIT, _ROLE = "agent", "dose", "unit", "role"
_NAMED = re.compile(r"(.+?)\s*[(\[]\s*([^()\[\]]+?)\s*[)\]]")
_NUMBER = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S.*)?")
_COMMA = re.compile(r"(?!\d{1,3},\d{3}\b)\d+,\d+\b.*")  # a decimal comma, beyond doubt: 1,000 may be a thousand


@dataclass
class _Maps:
    """Wells as they are read: by plate ('': all) and well the text of each column, and where the well is said."""

    study: StudyConfig
    said: dict[tuple[str, str], dict[str, str]] = field(default_factory=dict)
    place: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)

    def put(self, key: tuple[str, str], column: str, text: str, sheet: Sheet, line: int, unit: str = "") -> None:
        """Say `text` in `column` of a well, a number in the unit of what the study declares under that column."""
        row = f"{sheet.row(line)}, well {key[1]}"
        name, inside = column, unit
        match = _NAMED.fullmatch(column)
        if match is not None and _declared(self.study, column) is None and _declared(self.study, match[1]) is not None:
            name, inside = match[1], match[2]
        one = self.said.setdefault(key, {})
        self.place.setdefault(key, (str(sheet.path), f"of well {key[1]}"))
        if name in one:
            raise fault(f"{name} of this well again", "it once", file=sheet.path, row=row, column=column)
        try:
            one[name] = _converted(text, inside, _declared(self.study, name), self.study)
        except ValueError as error:
            raise fault(f"{text!r}", str(error), file=sheet.path, row=row, column=column) from None

    def table(self, spec: PlateMap, repairs: list[Repair]) -> Table:
        """One row a well, as any table, so that what is wrong in it has its place."""
        keys = list(self.said)
        names = list(dict.fromkeys(name for one in self.said.values() for name in one))
        frame = pd.DataFrame([[self.said[k].get(n, "") for n in names] for k in keys], columns=names, dtype=object)
        for name in names:  # numbers as such: how readings write theirs (a decimal comma) is not how these are written
            one, text = _declared(self.study, name), cells.text(frame[name])
            if one is not None and pd.to_numeric(text[text != ""], errors="coerce").notna().all():
                frame[name] = pd.to_numeric(text, errors="coerce")
        frame.insert(0, spec.well, [k[1] for k in keys])
        if any(k[0] for k in keys):
            frame.insert(0, spec.plate, [k[0] for k in keys])
        files = np.array([self.files.index(self.place[k][0]) for k in keys], np.int32)
        rows = np.array([self.place[k][1] for k in keys], dtype=object)
        header = frozenset(frame.columns)
        return Table(frame, tuple(self.files), files, rows, (header,) * len(self.files), repairs)


def read(paths: Sequence[Path], spec: PlateMap, study: StudyConfig) -> tuple[Table, str]:
    """The map as a table with a row a well, and the sha256 of its files. Raises BadInput with file, row and column."""
    maps, running, repairs = _Maps(study), hashlib.sha256(), list[Repair]()
    for path in paths:
        content = path.read_bytes()
        running.update(content)
        maps.files.append(str(path))
        before = len(maps.said)
        for sheet in read_sheets(path, content, lambda row: _tidy_header(row, spec) or _grid_header(row), repairs):
            if sheet.lines and _tidy_header(sheet.lines[0][1], spec):
                _tidy(maps, sheet, spec)
            else:
                _grids(maps, sheet, path.name.split(".")[0] if len(paths) > 1 else "")
        if len(maps.said) == before and len(paths) > 1:
            raise fault("no well", "grids of wells, or a row a well", file=path)
    if not maps.said:
        expected = (
            f"a table with the column {spec.well!r}, or grids whose columns are numbered 1, 2, ... and rows A, B, ..."
        )
        raise fault("neither", expected, file=paths[0])
    return maps.table(spec, repairs), running.hexdigest()


def joined(table: Table, plates: Table, spec: PlateMap, study: StudyConfig) -> Table:
    """The readings with the columns of the map.

    Wells that were never read and that the map leaves out are left out, too (noted). Raises BadInput for a well that
    was read and is not in the map, one in the map that was not read, and a column that both have.
    """
    for name, action in study.actions.items():
        if (action.column or name) in plates.frame.columns:
            values.amounts(plates, name, action, cells.Reading(study.na))
    for name, trait in study.traits.items():
        if trait.kind == "real" and (trait.column or name) in plates.frame.columns:
            cells.numbers(plates, trait.column or name, cells.Reading(study.na))
    by_plate = spec.plate in plates.frame.columns
    new = [c for c in plates.frame.columns if c not in (spec.plate, spec.well)]
    both = next((c for c in new if c in table.frame.columns), None)
    if both is not None:
        raise fault("this column in the readings, too", "it in one of them", file=plates.files[0], column=both)
    here, there = _keys(table, spec, by_plate), _keys(plates, spec, by_plate)
    index = pd.Index(there).get_indexer(pd.Index(here))
    read = np.isin(here, list({key for key, seen in zip(here, subjects.read(table, study), strict=True) if seen}))
    missed = np.flatnonzero((index < 0) & read)
    if len(missed):
        found = f"well {_shown(str(here[missed[0]]))}, which the plate map {plates.files[0]} misses"
        raise table.bad(missed[0], spec.well, found, "every well that was read, in the map")
    unread = np.flatnonzero(~np.isin(there, list(set(here[read]))))
    if len(unread):
        found = f"well {_shown(str(there[unread[0]]))}, which {', '.join(table.files[:2])} never read"
        raise plates.bad(unread[0], spec.well, found, "wells that were read (or leave the well empty in the map)")
    out = index < 0
    table.note("rows of wells without a reading, not in the plate map", np.flatnonzero(out), spec.well)
    kept, index = table.keep(~out), index[~out]
    frame = pd.concat([kept.frame, *(plates.frame[[c]].iloc[index].reset_index(drop=True) for c in new)], axis=1)
    kept.repairs.extend(plates.repairs)
    return Table(frame, kept.files, kept.file, kept.row, tuple(h | set(new) for h in kept.headers), kept.repairs)


def _keys(table: Table, spec: PlateMap, by_plate: bool) -> np.ndarray:
    words = cells.labels(table, (spec.well,), "the name of a well")
    names = np.array([well(word) or word for word in words], dtype=object)
    if by_plate:
        names = cells.labels(table, (spec.plate,), "the name of a plate") + "/" + names
    return names


def _shown(key: str) -> str:
    plate, _, name = key.rpartition("/")
    return f"{name} of plate {plate}" if plate else name


def _tidy_header(row: Sequence[Any], spec: PlateMap) -> bool:
    return any(said(c).casefold() in (spec.well.casefold(), "well") for c in row) and not any(well(c) for c in row)


def _grid_header(row: Sequence[Any]) -> bool:
    return [said(c) for c in row[1:3]] in (["1", "2"], ["1"])


def _tidy(maps: _Maps, sheet: Sheet, spec: PlateMap) -> None:
    line, header = sheet.lines[0][0], [said(c) for c in sheet.lines[0][1]]
    known = {spec.well.casefold(): spec.well, "well": spec.well, spec.plate.casefold(): spec.plate}
    header = [known.get(name.casefold(), name) for name in header]
    twice = next((n for n in header if n and header.count(n) > 1), None)
    if twice is not None:
        raise fault("this name twice", "one such column", file=sheet.path, row=sheet.row(line), column=twice)
    lower = {name.casefold(): name for name in header}
    agent, dose, unit = (lower.get(name, "") for name in (_AGENT, _DOSE, _UNIT))
    long = bool(agent and dose)
    for line, row in sheet.lines[1:]:
        one = dict(zip(header, [*map(said, row), *[""] * len(header)], strict=False))
        name = well(one[spec.well])
        if name is None:
            raise fault(
                repr(one[spec.well]), "a well such as B7", file=sheet.path, row=sheet.row(line), column=spec.well
            )
        if one.get(lower.get(_ROLE, ""), "").casefold() == "empty":
            continue
        key = (one.get(spec.plate, ""), name)
        rest = {
            c: t
            for c, t in one.items()
            if c and c not in (spec.well, spec.plate, *((agent, dose, unit) if long else ()))
        }
        if key in maps.said:
            same = all(maps.said[key].get(c, "") == t for c, t in rest.items() if _declared(maps.study, c) is None)
            if not (long and one[agent] and same):
                found = f"well {name} again (first in row {maps.place[key][1].split(',')[0]})"
                raise fault(found, "each well once", file=sheet.path, row=sheet.row(line), column=spec.well)
        else:
            maps.said.setdefault(key, {})
            maps.place[key] = (str(sheet.path), f"{sheet.row(line)}, well {name}")
            for column, text in rest.items():
                if column != unit or not dose:
                    maps.put(key, column, text, sheet, line, one[unit] if unit and column == dose else "")
        if long and one[agent] and one[agent] not in (*cells.BLANKS, *maps.study.na):
            _given(maps, key, one[agent], one[dose], one[unit] if unit else "", sheet, line)


def _given(maps: _Maps, key: tuple[str, str], agent: str, dose: str, unit: str, sheet: Sheet, line: int) -> None:
    """Say that a well was given a dose of an agent, one of the study's actions."""
    named = {a.column or n for n, a in maps.study.actions.items()}
    if agent not in named:
        found = f"{agent!r}{closest(agent, named)}"
        raise fault(found, "a declared action", file=sheet.path, row=f"{sheet.row(line)}, well {key[1]}", column=_AGENT)
    maps.put(key, agent, dose, sheet, line, unit)


def _grids(maps: _Maps, sheet: Sheet, plate: str) -> None:
    for grid in grids(sheet.lines, sheet.title):
        if not grid.name:
            expected = "what it is of, in its corner or alone in the line above"
            raise fault("a grid of wells without a name", expected, file=sheet.path, row=sheet.row(grid.line))
        for cell in grid.cells:
            maps.put((plate, cell.well), grid.name, cell.text, sheet, cell.line)


def _declared(study: StudyConfig, column: str) -> Action | Constant | None:
    """The action or the numeric trait that reads this column; None where there is none."""
    numeric = {n: t for n, t in study.traits.items() if t.kind == "real"}
    return next((one for name, one in (study.actions | numeric).items() if (one.column or name) == column), None)


def _converted(text: str, unit: str, one: Action | Constant | None, study: StudyConfig) -> str:
    """The text, with its number in the unit of what it is read as. Raises ValueError saying what was expected."""
    if one is None or not text or not one.unit or text in cells.BLANKS or text in study.na:
        return text
    match = _NUMBER.fullmatch(text.replace(",", ".", 1) if _COMMA.fullmatch(text) else text)
    if match is None:
        if isinstance(one, Action) and one.kind == "switch":
            return text  # on, off
        raise ValueError(f"a number, with or without a unit like {one.unit}")
    mine = (match[2] or unit).strip()
    if not mine or mine == one.unit:
        return match[1]
    try:
        return f"{float(match[1]) * units.factor(mine, one.unit):.12g}"
    except units.UnitError as error:
        raise ValueError(f"a unit like {one.unit} ({error})") from None
