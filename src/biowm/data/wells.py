"""Names of wells as instruments and plate maps write them, and grids of wells (rows A, B, ..., columns 1, 2, ...)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_NAME = r"([A-Pa-p]|[Aa][A-Fa-f])0*([1-9]\d?)"  # up to 32 rows and 48 columns
_PLAIN = re.compile(rf":?\s*{_NAME}\s*(?:[,(]\s*(.*?)\)?)?\s*")
_LABELLED = re.compile(rf".*\({_NAME}\)\s*(?:[,(]\s*(.*?)\)?)?\s*")
_ROW = re.compile(r"[A-P]|A[A-F]", re.IGNORECASE)
_SPREAD = re.compile(r"std|err|s\.?e\.?m\b|s\.?d\b", re.IGNORECASE)
_COLUMNS = 48


@dataclass(frozen=True)
class Head:
    """What a column of an export holds: readings of one `well` (of one `image` in it), or their `spread`."""

    well: str
    image: str = ""
    spread: bool = False


@dataclass(frozen=True)
class Cell:
    """What a grid says of one well, and the line it is in."""

    well: str
    text: str
    line: int


@dataclass(frozen=True)
class Grid:
    """What is written into the wells of a plate under one `name`; empty cells are left out."""

    name: str
    line: int
    cells: tuple[Cell, ...]


def well(text: object) -> str | None:
    """The name of a well in one spelling (b07 is B7); None for anything else."""
    match = re.fullmatch(_NAME, said(text))
    if match is None or int(match[2]) > _COLUMNS:
        return None
    return f"{match[1].upper()}{int(match[2])}"


def head(text: object) -> Head | None:
    """What a header such as 'A1', ': B2, Image 1', 'line 5K / well (A2)' or 'A1 (Std Err Well)' means."""
    match = _PLAIN.fullmatch(said(text)) or _LABELLED.fullmatch(said(text))
    if match is None or int(match[2]) > _COLUMNS:
        return None
    name, more = f"{match[1].upper()}{int(match[2])}", (match[3] or "").strip()
    spread = bool(_SPREAD.search(more))
    return Head(name, "" if spread else re.sub(r"(?i)^image\s*", "", more), spread)


def said(cell: Any) -> str:
    """A cell as text; a whole number that a spreadsheet holds loses its '.0'."""
    if cell is None:
        return ""
    return f"{cell:g}" if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def grids(lines: Sequence[tuple[int, Sequence[Any]]], title: str = "") -> list[Grid]:
    """All grids in numbered lines of cells.

    A grid is a line that numbers the columns 1, 2, ... and lines that begin with the letter of a row. Its name is in
    the corner, alone in the line above, or else `title`.
    """
    found: list[Grid] = []
    above, k = "", 0
    while k < len(lines):
        line, cells = lines[k][0], [said(c) for c in lines[k][1]]
        columns = _numbered(cells)
        filled = [c for c in cells if c]
        k += 1
        if not columns:
            above = filled[0] if len(filled) == 1 else above if not filled else ""
            continue
        inside: list[Cell] = []
        while k < len(lines) and _ROW.fullmatch(said(lines[k][1][0]) if lines[k][1] else ""):
            number, row = lines[k][0], [said(c) for c in lines[k][1]]
            inside += [Cell(f"{row[0].upper()}{c}", row[c], number) for c in range(1, len(row)) if row[c]]
            k += 1
        found.append(Grid(cells[0] or above or title, line, tuple(inside)))
        above = ""
    return found


def _numbered(cells: Sequence[str]) -> int:
    """How many columns a line numbers from 1 on; 0 where it is no such line."""
    numbers = list(cells[1:])
    while numbers and not numbers[-1]:
        numbers.pop()
    return len(numbers) if numbers and numbers == [str(i + 1) for i in range(len(numbers))] else 0
