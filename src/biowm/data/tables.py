"""Tables as they come: csv, tsv, parquet, xlsx, gzipped or not, one file or many, with or without a header."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import zipfile
import zlib
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int, Shaped

from biowm.core.errors import BadInput, place

from .curves import read_curves
from .faults import fault
from .keys import closest

_KINDS = {".csv": "csv", ".txt": "csv", ".tsv": "tsv", ".tab": "tsv", ".parquet": "parquet", ".pq": "parquet"}
_KINDS |= {".xlsx": "xlsx", ".xlsm": "xlsx"}
_FRAME = "the data frame"


@dataclass(frozen=True)
class Repair:
    """Something that was put right while reading: what, how often, and where it first happened."""

    what: str
    count: int
    file: str | None = None
    row: Any = None
    column: str | None = None
    example: str | None = None

    def __str__(self) -> str:
        first = place(file=self.file, row=self.row, column=self.column, found=self.example)
        return f"{self.what}: {self.count} (first: {first})" if first else f"{self.what}: {self.count}"


@dataclass(frozen=True, eq=False)
class Table:
    """Cells as read, with the file and the row of each as a person sees it there; repairs are noted as they happen."""

    frame: pd.DataFrame
    files: tuple[str, ...]
    file: Int[np.ndarray, " rows"]
    row: Shaped[np.ndarray, " rows"]
    headers: tuple[frozenset[str], ...]
    repairs: list[Repair] = field(default_factory=list)

    def place(self, i: int | np.integer) -> dict[str, Any]:
        """File and row of the cell at position `i`."""
        return {"file": self.files[self.file[i]], "row": self.row[i]}

    def bad(self, i: int | np.integer, column: str | None, found: str, expected: str) -> BadInput:
        """The message that the cell at position `i` is wrong."""
        return fault(found, expected, **self.place(i), column=column)

    def note(self, what: str, where: Int[np.ndarray, " hits"], column: str | None, example: Any = None) -> None:
        """Note a repair at the positions `where` (none: nothing happened)."""
        if len(where):
            first = int(np.min(where))
            if example is None and column is not None:
                example = str(self.frame[column].iloc[first])
            self.repairs.append(Repair(what, len(where), **self.place(first), column=column, example=example))

    def column(self, name: str) -> pd.Series:
        """The cells of one column. Raises BadInput listing the columns there are."""
        for file, header in zip(self.files, self.headers, strict=True):
            if name not in header:
                names = [str(c) for c in self.frame.columns if c in header]
                found = f"no column {name!r}{closest(name, names)}"
                raise BadInput(f"{place(file=file, column=name)}: {found}")
        cells = self.frame[name]
        if isinstance(cells, pd.DataFrame):
            raise fault("this name twice", "one such column", file=self.files[0], column=name)
        return cells

    def keep(self, rows: Bool[np.ndarray, " rows"] | Int[np.ndarray, " kept"]) -> Table:
        """The table with only the rows where the mask `rows` is true, or those at the positions `rows`."""
        frame = self.frame.iloc[rows].reset_index(drop=True)
        return replace(self, frame=frame, file=self.file[rows], row=self.row[rows])


def from_frame(frame: pd.DataFrame) -> Table:
    """A data frame as a table; its index labels are the row names."""
    frame = frame.rename(columns=str)
    header = frozenset(frame.columns)
    rows = np.asarray(frame.index.to_numpy(), dtype=object)
    return Table(frame.reset_index(drop=True), (_FRAME,), np.zeros(len(frame), np.int32), rows, (header,))


def read(paths: Sequence[Path], kind: str | None, columns: Sequence[str] | None) -> tuple[Table, str]:
    """One table from one file or many, and the sha256 of their contents in order.

    `kind` overrides the file name's ending (nonmem: only where that says nothing); `columns` names the columns of
    files without a header.
    """
    repairs: list[Repair] = []
    frames, rows, running = [], [], hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        running.update(content)
        frame, row = _read_one(path, content, kind, columns, repairs)
        frames.append(frame)
        rows.append(row)
    if not sum(len(frame) for frame in frames):
        raise fault("no row of data", "at least one", file=paths[0])
    whole = frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)
    table = Table(
        whole,
        tuple(str(p) for p in paths),
        np.repeat(np.arange(len(paths), dtype=np.int32), [len(frame) for frame in frames]),
        np.concatenate(rows),
        tuple(frozenset(frame.columns) for frame in frames),
        repairs,
    )
    return table, running.hexdigest()


def _read_one(
    path: Path, content: bytes, kind: str | None, columns: Sequence[str] | None, repairs: list[Repair]
) -> tuple[pd.DataFrame, Shaped[np.ndarray, " rows"]]:
    suffixes = [s.lower() for s in path.suffixes if s.lower() != ".gz"]
    ending = _KINDS.get(suffixes[-1] if suffixes else "")
    kind = (ending or "csv") if kind == "nonmem" else kind or ending
    if kind is None:
        expected = "csv, tsv, txt, parquet or xlsx (or the key format)"
        raise fault(f"the ending {path.suffix!r}", expected, file=path)
    try:
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if kind == "parquet":
            frame = pd.read_parquet(io.BytesIO(content)).reset_index(drop=True)
            return frame.rename(columns=str), np.arange(1, len(frame) + 1, dtype=object)
        if kind == "curves":
            return read_curves(path, content)
        if kind == "xlsx":
            return _read_xlsx(path, content, columns, repairs)
        return _read_text(path, content, kind, columns, repairs)
    except (
        OSError,
        EOFError,
        zlib.error,
        zipfile.BadZipFile,
        csv.Error,
        pd.errors.ParserError,
        ValueError,
        KeyError,
    ) as error:
        if isinstance(error, BadInput):
            raise
        raise fault(f"{type(error).__name__}: {error}", f"a {kind} file", file=path) from None


def _read_xlsx(
    path: Path, content: bytes, columns: Sequence[str] | None, repairs: list[Repair]
) -> tuple[pd.DataFrame, Shaped[np.ndarray, " rows"]]:
    from openpyxl import load_workbook

    book = load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    sheet = book.worksheets[0]
    if len(book.worksheets) > 1:
        repairs.append(
            Repair(f"sheets not read (only the first, {sheet.title!r}, was)", len(book.worksheets) - 1, str(path))
        )
    lines = [(n, [*cells]) for n, cells in enumerate(sheet.iter_rows(values_only=True), start=1)]
    book.close()
    return _frame(path, lines, columns, repairs)


def _read_text(
    path: Path, content: bytes, kind: str, columns: Sequence[str] | None, repairs: list[Repair]
) -> tuple[pd.DataFrame, Shaped[np.ndarray, " rows"]]:
    text = decode(path, content, repairs)
    first = next((line for line in text.splitlines() if line.strip()), "")
    told = first.casefold().startswith("sep=")  # a line that spreadsheets write before the header
    mark = "\t" if kind == "tsv" else first[4:5] if told else _separator(first)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, skipinitialspace=True)
    lines = [(reader.line_num, cells) for cells in reader if not (told and reader.line_num == 1)]
    return _frame(path, lines, columns, repairs)


def decode(path: Path, content: bytes, repairs: list[Repair]) -> str:
    """The text of a file: UTF-8 or UTF-16 with a mark, or else (noted) Windows-1252, which latin-1 files are, too."""
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return content.decode("utf-16")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        repairs.append(Repair("file that is not UTF-8 read as Windows-1252", 1, str(path)))
        return content.decode("cp1252", errors="replace")


def _separator(line: str) -> str:
    """The separator that the first line speaks for; blanks only where there is no other."""
    bare = "".join(part for i, part in enumerate(line.split('"')) if i % 2 == 0)
    seen = Counter({mark: bare.count(mark) for mark in ";\t|,"})
    mark, times = max(seen.items(), key=lambda item: item[1])
    return mark if times else (" " if " " in bare.strip() else ",")


def _frame(
    path: Path, lines: list[tuple[int, list[Any]]], columns: Sequence[str] | None, repairs: list[Repair]
) -> tuple[pd.DataFrame, Shaped[np.ndarray, " rows"]]:
    """Header and rows of a file, blank lines left out, short rows filled and long ones cut where nothing is lost."""
    lines = [(n, cells) for n, cells in lines if any(cell not in ("", None) for cell in cells)]
    if columns is None:
        if not lines:
            raise fault("an empty file", "a header and rows", file=path)
        header = _header(lines.pop(0)[1])
    else:
        header = list(columns)
    width = len(header)
    ragged = [(n, len(cells)) for n, cells in lines if len(cells) != width]
    for n, cells in lines:
        extra = [cell for cell in cells[width:] if cell not in ("", None)]
        if extra:
            found = f"{len(cells)} cells (beyond the last column: {str(extra[0])!r})"
            raise fault(found, str(width), file=path, row=n)
    if ragged:
        short = [cells + [""] * (width - len(cells)) for _, cells in lines]
        lines = [(n, cells[:width]) for (n, _), cells in zip(lines, short, strict=True)]
        repairs.append(
            Repair(f"rows with more or fewer than {width} cells evened out", len(ragged), str(path), *ragged[0][:1])
        )
    frame = pd.DataFrame([cells for _, cells in lines], columns=pd.Index(header, dtype=object), dtype=object)
    return frame, np.array([n for n, _ in lines], dtype=object)


def _header(cells: Sequence[Hashable]) -> list[str]:
    names = [str(cell).strip() if cell is not None else "" for cell in cells]
    while names and not names[-1]:
        names.pop()
    return names
