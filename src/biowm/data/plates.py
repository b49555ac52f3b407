"""Exports of plate readers and incubator microscopes (IncuCyte): rows are times, columns are wells, made a long table.

Above the header stand lines such as 'Vessel Name: P1' and 'Metric: Phase Object Confluence (Percent)': each becomes a
column, the vessel is the `plate`, and the readings are called as the metric (`value` where there is none). The header
is the first line that has the study's column of times and a well, such as 'Date Time', 'Elapsed', 'A1', 'A2'.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from . import clocks
from .config import StudyConfig
from .faults import fault
from .sheets import Sheet, read_sheets
from .tables import Repair, Table
from .wells import Head, head, said

PLATE, WELL, IMAGE, VALUE = "plate", "well", "image", "value"
_VESSEL, _METRIC = "vessel name", "metric"


@dataclass(frozen=True)
class _Export:
    """One sheet made long: its rows, and where each is."""

    sheet: Sheet
    frame: pd.DataFrame
    rows: tuple[str, ...]


def read(paths: Sequence[Path], study: StudyConfig) -> tuple[Table, str]:
    """The long table of all exports, and the sha256 of the files in order.

    Columns: plate, well, image (where there are several a well), those beside the wells, those of the lines above the
    header, and one for each metric. Raises BadInput for a file without a header, a well that comes twice, and exports
    of one plate whose clocks disagree.
    """
    repairs: list[Repair] = []
    exports: list[_Export] = []
    running = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        running.update(content)
        sheets = read_sheets(path, content, lambda cells: _is_header(cells, study), repairs)
        found = [export for sheet in sheets if (export := _export(sheet, study, len(sheets), repairs)) is not None]
        if not found:
            expected = f"a header with {study.time.column!r} and wells such as A1 (layout: plate, key time.column)"
            raise fault("no such line", expected, file=path)
        if len(found) < len(sheets):
            left = [s.title for s in sheets if s not in [e.sheet for e in found]]
            repairs.append(Repair("sheets without a header of wells, not read", len(left), str(path), example=left[0]))
        exports += found
    return _joined(exports, study, repairs), running.hexdigest()


def from_frame(frame: pd.DataFrame, study: StudyConfig) -> Table:
    """The long table of a data frame whose columns are wells; its index labels are the row names."""
    lines = [(0, [str(c) for c in frame.columns]), *((i, list(r)) for i, r in enumerate(frame.to_numpy(object), 1))]
    repairs: list[Repair] = []
    export = _export(Sheet(Path("the data frame"), "", tuple(lines)), study, 1, repairs)
    if export is None:
        raise fault("no such columns", f"{study.time.column!r} and wells such as A1", file="the data frame")
    return _joined([export], study, repairs)


def _is_header(cells: Sequence[Any], study: StudyConfig) -> bool:
    words = {said(c).casefold() for c in cells}
    return study.time.column.casefold() in words and any(head(c) is not None for c in cells)


def _export(sheet: Sheet, study: StudyConfig, sheets: int, repairs: list[Repair]) -> _Export | None:
    at = next((i for i, (_, cells) in enumerate(sheet.lines) if _is_header(cells, study)), None)
    if at is None:
        return None
    told = _above(sheet.lines[:at])
    line, header = sheet.lines[at]
    heads = [head(cell) for cell in header]
    _refuse_twice(sheet, line, heads)
    spread = [said(header[j]) for j, h in enumerate(heads) if h is not None and h.spread]
    if spread:
        what = "columns of standard errors left out"
        repairs.append(Repair(what, len(spread), str(sheet.path), sheet.row(line), example=spread[0]))
    plate = told.pop(_VESSEL, "") or (sheet.title if sheets > 1 else "") or sheet.path.name.split(".")[0]
    metric = told.pop(_METRIC, "") or VALUE
    beside = {_spelled(said(header[j]), study): j for j, h in enumerate(heads) if h is None and said(header[j])}
    wells = [(j, h) for j, h in enumerate(heads) if h is not None and not h.spread]
    body = sheet.lines[at + 1 :]
    cells = np.array([[c[j] if j < len(c) else "" for j in range(len(header))] for _, c in body], dtype=object)
    cells = cells.reshape(len(body), len(header))
    parts, rows = [], []
    for j, h in wells:
        part = {PLATE: plate, WELL: h.well, **({IMAGE: h.image or "1"} if any(x.image for _, x in wells) else {})}
        columns = {name: cells[:, k] for name, k in beside.items()}
        parts.append(pd.DataFrame({**columns, **told, **part, metric: cells[:, j]}, dtype=object))
        rows += [f"{sheet.row(n)}, well {said(header[j]) if h.image else h.well}" for n, _ in body]
    return _Export(sheet, pd.concat(parts, ignore_index=True), tuple(rows))


def _above(lines: Sequence[tuple[int, Sequence[Any]]]) -> dict[str, str]:
    """What lines such as 'Cell Type: MCF7' say (the vessel and the metric under names of their own)."""
    told = {}
    for _, cells in lines:
        words = [said(c) for c in cells if said(c)]
        key, mark, value = ",".join(words[:1]).partition(":")
        if mark and key.strip():
            name = key.strip()
            name = name.casefold() if name.casefold() in (_VESSEL, _METRIC) else name
            told[name] = value.strip() or next(iter(words[1:]), "")
    return told


def _spelled(name: str, study: StudyConfig) -> str:
    return study.time.column if name.casefold() == study.time.column.casefold() else name


def _refuse_twice(sheet: Sheet, line: int, heads: Sequence[Head | None]) -> None:
    many = Counter(h for h in heads if h is not None and not h.spread)
    twice = next((h for h, n in many.items() if n > 1), None)
    if twice is not None:
        found = f"well {twice.well}{f', image {twice.image}' if twice.image else ''} in {many[twice]} columns"
        raise fault(found, "each well once", file=sheet.path, row=sheet.row(line), column=twice.well)


def _joined(exports: Sequence[_Export], study: StudyConfig, repairs: list[Repair]) -> Table:
    whole = pd.concat([e.frame for e in exports], ignore_index=True)
    if not len(whole):
        raise fault("no row below the header", "at least one", file=exports[0].sheet.path)
    files = tuple(dict.fromkeys(str(e.sheet.path) for e in exports))
    number = np.concatenate([np.full(len(e.frame), files.index(str(e.sheet.path)), np.int32) for e in exports])
    rows = np.array([row for e in exports for row in e.rows], dtype=object)
    table = Table(whole, files, number, rows, (frozenset(whole.columns),) * len(files), repairs)
    clocks.agree(table, np.repeat(np.arange(len(exports)), [len(e.frame) for e in exports]), study)
    return table
