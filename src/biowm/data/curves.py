"""Books of growth curves as the glioma data come: one sheet a fractionation scheme, one row a curve, one column a time.

A sheet's name tells the scheme ("four fraction of 4 Gy"). In it lie blocks: a line that names the cells and the imaging
interval ("9L, collected every 4 hours"), a line that names the part ("Training" or "Validation"), a line of times, and
the curves. Sheets that name no scheme hold other assays and are left out. In one block the curves have one reading more
than its line of times: intervals are even, so reading k is at k intervals.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from .faults import fault

COLUMNS = ("curve", "line", "scheme", "fractions", "campaign", "interval", "part", "time", "confluence", "dose")
_SCHEME = re.compile(r"\s*(two|three|four) fractions? of ([\d.]+)\s*Gy\s*", re.IGNORECASE)
_BLOCK = re.compile(r"(\w+),? collected every (\d+) hours")
_PARTS = {"training": "train", "validation": "test"}
_WORDS = {"two": 2, "three": 3, "four": 4}
_BETWEEN = 24.0  # hours between fractions, the first at time 0


@dataclass(frozen=True)
class _Block:
    """Where a run of curves stands: cells, imaging interval (hours) and part of the published split."""

    line: str = ""
    interval: float = 0.0
    part: str = ""


def read_curves(path: Path, content: bytes) -> tuple[pd.DataFrame, Shaped[np.ndarray, " rows"]]:
    """A tidy table of all curves (see `COLUMNS`), and the sheet and row of each of its rows.

    `dose` is in Gy, given just after the reading at its time, and 0 elsewhere; `campaign` is the total dose, which
    tells the two experiments apart. Raises BadInput where a row is not as described.
    """
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    records: list[tuple] = []
    places: list[str] = []
    for sheet in book.worksheets:
        scheme = _SCHEME.fullmatch(sheet.title)
        if scheme is None:
            continue
        fractions, dose = _WORDS[scheme[1].lower()], float(scheme[2])
        for curve, block, place, values in _curves(path, sheet.title, sheet.iter_rows(values_only=True)):
            same = (curve, block.line, f"{fractions}x{dose:g}", fractions, _campaign(fractions * dose), block.interval)
            given = {_BETWEEN * k for k in range(fractions)}
            for k, y in enumerate(values):
                t = k * block.interval
                records.append((*same, block.part, t, y, dose if t in given else 0.0))
                places.append(place)
    book.close()
    if not records:
        raise fault("no sheet named like 'two fractions of 8 Gy' with curves", "at least one", file=path)
    return pd.DataFrame(records, columns=pd.Index(COLUMNS, dtype=object)), np.array(places, dtype=object)


def _curves(path: Path, title: str, rows: Iterable[tuple[Any, ...]]) -> Iterator[tuple[str, _Block, str, list[float]]]:
    """Each curve of a sheet: its name, its block, where it is, and its values."""
    block = _Block()
    for n, cells in enumerate(rows, start=1):
        first = cells[0] if cells else None
        place = f"{n} of sheet {title.strip()!r}"
        if isinstance(first, str):
            block = _follow(block, first.strip())
            if first.replace(" ", "").lower() == "time:0" and cells[1] != block.interval:
                raise fault(f"{cells[1]} h as the second time", f"{block.interval:g} h", file=path, row=place)
        elif first is not None:
            if not (block.line and block.part):
                raise fault("a curve before its cells and part were named", "those first", file=path, row=place)
            values = _filled(cells)
            odd = [v for v in values if not isinstance(v, float | int)]
            if odd:
                raise fault(f"{odd[0]!r} in a curve", "a number", file=path, row=place)
            scheme = "".join(re.findall(r"[\d.]+", title)) + "Gy"
            yield f"{block.line}-{scheme}-{block.interval:g}h-{n}", block, place, values


def _follow(block: _Block, text: str) -> _Block:
    """The block after a line of text; sentences that describe nothing change nothing."""
    named = _BLOCK.match(text)
    if named is not None:
        return _Block(named[1], float(named[2]))
    part = _PARTS.get(text.lower())
    return block if part is None else _Block(block.line, block.interval, part)


def _filled(cells: Sequence[Any]) -> list[Any]:
    """The cells without the empty ones at the end."""
    cells = list(cells)
    while cells and cells[-1] is None:
        cells.pop()
    return cells


def _campaign(total: float) -> str:
    """16 Gy or 20 Gy: 3 x 5.3 and 3 x 6.7 are meant as these."""
    return f"{round(total / 4) * 4} Gy"
