"""Files of cells as numbered lines, before anything is known of a header: every sheet of a book, or one text."""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .faults import fault
from .tables import Repair, decode

_MARKS = "\t;,|"


@dataclass(frozen=True)
class Sheet:
    """Numbered lines of cells, blank ones left out; `title` is '' where a file has no sheets."""

    path: Path
    title: str
    lines: tuple[tuple[int, Sequence[Any]], ...]

    def row(self, line: int) -> str:
        """How a person finds a line."""
        return f"{line} of sheet {self.title!r}" if self.title else str(line)


def read_sheets(
    path: Path, content: bytes, header: Callable[[Sequence[Any]], bool], repairs: list[Repair]
) -> list[Sheet]:
    """All sheets of a spreadsheet, or a text whose separator is the one under which a line is a `header`.

    Where no line is one, the separator is that of the line with most of them. Raises BadInput for another ending, and
    for a file that is damaged.
    """
    try:
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        suffix = next((s for s in reversed([s.lower() for s in path.suffixes]) if s != ".gz"), "")
        if suffix in (".xlsx", ".xlsm"):
            return _book(path, content)
        if suffix in (".csv", ".txt", ".tsv", ".tab"):
            return [_text(path, decode(path, content, repairs), header)]
    except (OSError, EOFError, zipfile.BadZipFile, csv.Error, ValueError, KeyError) as error:
        raise fault(f"{type(error).__name__}: {error}", "a table", file=path) from None
    raise fault(f"the ending {path.suffix!r}", "csv, tsv, txt or xlsx", file=path)


def _book(path: Path, content: bytes) -> list[Sheet]:
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    found = [Sheet(path, s.title, _filled(enumerate(s.iter_rows(values_only=True), start=1))) for s in book.worksheets]
    book.close()
    return found


def _text(path: Path, text: str, header: Callable[[Sequence[Any]], bool]) -> Sheet:
    lines = text.splitlines()
    usual = max(_MARKS, key=lambda mark: max((line.count(mark) for line in lines), default=0))
    for mark in (usual, *(m for m in _MARKS if m != usual)):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=mark != "\t")
        rows = _filled((reader.line_num, cells) for cells in reader)
        if any(header(cells) for _, cells in rows):
            return Sheet(path, "", rows)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=usual, skipinitialspace=usual != "\t")
    return Sheet(path, "", _filled((reader.line_num, cells) for cells in reader))


def _filled(rows: Any) -> tuple[tuple[int, Sequence[Any]], ...]:
    return tuple((n, cells) for n, cells in rows if any(c is not None and str(c).strip() for c in cells))
