"""Events that are nearly MEDS made into a valid MEDS 0.4 folder, every mending said and counted."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .faults import fault
from .locate import natural
from .meds_folder import open_folder, read_whole, schema_of, standard
from .meds_keys import CODE, SUBJECT, TIME, VALUE
from .meds_scan import STATIC, Scan, chunks
from .meds_write import check_free, new_folder, write_metadata
from .tables import Repair

_CALLED = {"value": VALUE, "patient_id": SUBJECT}  # columns of older versions and of reduced copies
_BUCKET = 4_000_000  # rows sorted at once
_BATCH = 2**19


@dataclass
class Ingested:
    """What was made of a source: how many of what, and everything that was mended on the way."""

    rows: int = 0
    subjects: int = 0
    shards: int = 0
    codes: set[str] = field(default_factory=set)
    mended: list[Repair] = field(default_factory=list)

    def mend(self, what: str, count: int, file: Path, column: str | None = None, example: str | None = None) -> None:
        """Note a mending, once for all files and batches that needed it."""
        for i, known in enumerate(self.mended):
            if known.what == what:
                self.mended[i] = replace(known, count=known.count + count)
                return
        if count:
            self.mended.append(Repair(what, count, str(file), None, column, example))


def ingest(
    source: Path,
    out: Path,
    *,
    licence: str | None = None,
    cite: str | None = None,
    progress: Callable[[str, float], None] = lambda text, share: None,
) -> Ingested:
    """Write the events under `source` (a parquet file, or a folder of them) as a MEDS folder `out`.

    Columns are renamed, cast or left out, rows sorted by subject and time, the missing metadata made. Memory holds
    one part of the subjects at a time. Raises BadInput for what cannot be mended: no subject or code, text for a
    number, a time zone.
    """
    found = Ingested()
    files = _sources(source, found)
    check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:  # all of it or nothing
        staged, unsorted = Path(scratch) / "meds", Path(scratch) / "unsorted"
        new_folder(staged)
        unsorted.mkdir()
        parts = _collect(files, unsorted, found, progress)
        for i, part in enumerate(parts):
            progress("sorting", 0.6 + 0.3 * i / len(parts))
            _sort(part, staged, found, source)
        if not found.rows:
            raise fault("no event", "at least one", file=source)
        _metadata(source, staged, out.name, found, licence, cite)
        progress("checking", 0.9)
        scan = Scan(open_folder(staged), lambda code: False)
        for _ in chunks(scan):
            pass
        staged.replace(out)
    found.subjects = len(scan.first)
    return found


def _collect(
    files: Sequence[Path], folder: Path, found: Ingested, progress: Callable[[str, float], None]
) -> list[Path]:
    """The mended rows of all files, those of one subject in one file of `folder`."""
    total = sum(pq.read_metadata(file).num_rows for file in files)
    parts = [folder / f"{i}.parquet" for i in range(max(1, math.ceil(total / _BUCKET)))]
    with ExitStack() as stack:
        writers = [stack.enter_context(pq.ParquetWriter(part, _schema())) for part in parts]
        for file in files:
            for table in _mended(file, found):
                _deal(table, writers, found)
                progress(f"reading {file.name}", 0.6 * found.rows / max(total, 1))
    return parts


def _schema() -> pa.Schema:
    return pa.schema(list(standard().DataSchema.schema()))


def _name(old: str) -> str:
    return _CALLED.get(old, old)


def _sources(source: Path, found: Ingested) -> list[Path]:
    """The files of events; other tables are left out."""
    if not source.exists():
        raise fault("no such file or folder", "a parquet file of events, or a folder of them", file=source)
    files = [source] if source.is_file() else sorted(source.rglob("*.parquet"), key=lambda p: natural(str(p)))
    kept = []
    for file in files:
        missing = {SUBJECT, TIME, CODE} - set(map(_name, schema_of(file).names))
        if not missing:
            kept.append(file)
        elif file.parent.name != "metadata":
            found.mend(f"{file.name} left out, no table of events: it has no {' or '.join(sorted(missing))}", 1, file)
    if not kept:
        raise fault("no table of events", f"parquet with the columns {SUBJECT}, {TIME}, {CODE}", file=source)
    return kept


def _mended(file: Path, found: Ingested) -> Iterator[pa.Table]:
    """The events of one file in the columns and types of the standard."""
    there, rows = schema_of(file), pq.read_metadata(file).num_rows
    columns: dict[str, str] = {}
    for old in map(str, there.names):
        name = _name(old)
        if name not in _schema().names:
            found.mend(f"column {old} left out: MEDS has no such column", rows, file, example=_some(file, old))
            continue
        if name in columns:
            raise fault(f"{columns[name]!r} and {old!r}, both {name}", "one of them", file=file)
        columns[name] = old
        got, want = there.field(old).type, _schema().field(name).type
        if name != old:
            found.mend(f"column {old} renamed {name}", rows, file)
        if got != want:
            found.mend(f"column {name} cast from {got} to {want}", rows, file)
    at = 0
    for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(_BATCH, columns=[*columns.values()]):
        yield _cast(batch, columns, file, at, found)
        at += batch.num_rows


def _some(file: Path, column: str) -> str:
    """The first values of a column."""
    first = next(pq.ParquetFile(file).iter_batches(_BATCH, columns=[column]), None)
    return "" if first is None else ", ".join(str(value) for value in first[0].unique().to_pylist()[:3])


def _cast(batch: pa.RecordBatch, columns: Mapping[str, str], file: Path, at: int, found: Ingested) -> pa.Table:
    """A batch in the columns and types of the standard. Raises BadInput at what has no such form."""
    made = {}
    for want in _schema():
        if want.name not in columns:
            made[want.name] = pa.nulls(batch.num_rows, want.type)
            continue
        cells = batch[columns[want.name]]
        if pa.types.is_timestamp(cells.type) and cells.type.tz:
            expected = "times without a zone, all by one clock"
            raise fault(f"the time zone {cells.type.tz}", expected, file=file, column=want.name)
        try:  # times finer than a microsecond lose what is finer
            made[want.name] = cells.cast(want.type, safe=want.name != TIME)
        except pa.ArrowException as error:
            raise fault(str(error), f"values of type {want.type}", file=file, column=want.name) from None
        if want.name in (SUBJECT, CODE) and cells.null_count:
            row = at + 1 + int(np.argmax(cells.is_null().to_numpy(zero_copy_only=False)))
            raise fault("nothing", "a value in every row", file=file, row=row, column=want.name)
    value = made[VALUE].to_numpy(zero_copy_only=False)
    lost = int(np.isnan(value).sum()) - made[VALUE].null_count
    found.mend("numbers that are NaN read as no number", lost, file, VALUE)
    made[VALUE] = pa.array(value, from_pandas=True)
    return pa.table(made, schema=_schema())


def _deal(table: pa.Table, writers: Sequence[pq.ParquetWriter], found: Ingested) -> None:
    """Put the rows of each subject with the others of that subject."""
    found.rows += len(table)
    found.codes |= set(table[CODE].unique().to_pylist())
    bucket = table[SUBJECT].to_numpy() % len(writers)
    for i, writer in enumerate(writers):
        mine = table.filter(pa.array(bucket == i))
        if len(mine):
            writer.write_table(mine)


def _sort(part: Path, out: Path, found: Ingested, source: Path) -> None:
    """Write the rows of some subjects as a shard, if there are any."""
    table = pq.read_table(part)
    if len(table):
        time = table[TIME].cast(pa.int64()).fill_null(STATIC).to_numpy()
        order = np.lexsort((time, table[SUBJECT].to_numpy()))  # stable
        before = int((np.diff(np.argsort(order)) < 0).sum())
        found.mend("rows that belong above the row before, sorted (subject, time; static events first)", before, source)
        pq.write_table(table.take(pa.array(order)), out / "data" / f"{found.shards}.parquet", row_group_size=_BATCH)
        found.shards += 1


def _metadata(source: Path, out: Path, name: str, found: Ingested, licence: str | None, cite: str | None) -> None:
    """Codes, description and splits: what the source has of them, and what is missing made."""
    meds, there = standard(), source / "metadata"
    file, known = there / "codes.parquet", []
    if file.is_file():
        known = read_whole(file, meds.CodeMetadataSchema).to_pylist()
    missing = sorted(found.codes - {row[CODE] for row in known})
    found.mend(f"codes added to metadata/codes.parquet{'' if known else ', which was missing'}", len(missing), source)
    if (there / "subject_splits.parquet").is_file():
        splits = read_whole(there / "subject_splits.parquet", meds.SubjectSplitSchema)
        pq.write_table(splits, out / "metadata" / "subject_splits.parquet")
    if not (there / "dataset.json").is_file():
        found.mend("metadata/dataset.json made, which was missing", 1, source)
    write_metadata(out, [*known, *({CODE: code} for code in missing)], name=name, licence=licence, cite=cite)
