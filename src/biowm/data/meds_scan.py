"""The events of a MEDS folder, batch by batch: every row is checked, those that a study means are kept.

What is held in memory is one batch and the events kept of the subjects not yet handed on, however large the folder.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Int, Shaped

from .faults import fault
from .meds_folder import Folder, schema_of
from .meds_keys import CODE, SUBJECT, TIME, VALUE
from .tables import Table

_BATCH = 2**17  # rows read at once
_CHUNK = 2**18  # events kept before they are handed on
_BUFFER = 2**22  # bytes of a column read ahead
STATIC = np.iinfo(np.int64).min  # the time of an event without one
_HEADER = frozenset((SUBJECT, TIME, CODE, VALUE))


@dataclass
class Scan:
    """What a scan is after, and whom it has met: the shard and row at which each subject begins.

    `wanted` says whether a code is meant; `until` is the last microsecond that counts of each subject (others not at
    all), None where all do. `rows` were read so far, `later` of them wanted but after `until`.
    """

    folder: Folder
    wanted: Callable[[str], bool]
    until: Mapping[int, int] | None = None
    first: dict[int, tuple[int, int]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    known: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    later: int = 0


@dataclass(frozen=True, eq=False)
class _Block:
    """Events kept, in order: subject, time (us), name of the code, value, row and shard."""

    subject: Int[np.ndarray, " n"]
    time: Int[np.ndarray, " n"]
    name: Int[np.ndarray, " n"]
    value: Shaped[np.ndarray, " n"]
    row: Int[np.ndarray, " n"]
    shard: Int[np.ndarray, " n"]

    def keep(self, mask: Bool[np.ndarray, " n"]) -> _Block:
        return _Block(*(getattr(self, name)[mask] for name in self.__dataclass_fields__))


@dataclass
class _Last:
    """The last row of the batch before: its subject, and the last time said of that subject."""

    subject: int | None = None
    time: int = STATIC


def chunks(scan: Scan) -> Iterator[Table]:
    """The events kept, some whole subjects at a time, as tables of subject_id, time, code and numeric_value.

    Raises BadInput at a row that breaks the standard: a subject or a code missing, a time before the one above it, a
    subject in two places, a code that is not listed.
    """
    pending: list[_Block] = []
    for number, shard in enumerate(scan.folder.shards):
        last, at = _Last(), 0
        for batch in _batches(shard):
            pending.append(_block(scan, batch, shard, number, at, last))
            at += batch.num_rows
            if sum(len(b.subject) for b in pending) >= _CHUNK:
                whole = _joined(pending)
                done = whole.subject != last.subject
                if done.any():
                    yield _table(scan, whole.keep(done))
                pending = [whole.keep(~done)]
    whole = _joined(pending)
    if len(whole.subject):
        yield _table(scan, whole)


def _batches(shard: Path) -> Iterator[pa.RecordBatch]:
    columns = [name for name in (SUBJECT, TIME, CODE, VALUE) if name in schema_of(shard).names]
    try:
        with pq.ParquetFile(shard, read_dictionary=[CODE], buffer_size=_BUFFER, pre_buffer=False) as file:
            for batch in file.iter_batches(_BATCH, columns=columns):
                if batch.num_rows:
                    yield batch
    except (OSError, pa.ArrowException) as error:
        raise fault(f"{type(error).__name__}: {error}", "a parquet file", file=shard) from None


def _block(scan: Scan, batch: pa.RecordBatch, shard: Path, number: int, at: int, last: _Last) -> _Block:
    """The events kept of one batch, whose first row is row `at` + 1 of its shard, after all its rows were checked."""
    for column in (SUBJECT, CODE):
        if batch[column].null_count:
            row = at + 1 + int(np.argmax(batch[column].is_null().to_numpy(zero_copy_only=False)))
            raise fault("nothing", "a value in every row", file=shard, row=row, column=column)
    subject = batch[SUBJECT].to_numpy()
    time = batch[TIME].cast(pa.int64()).fill_null(STATIC).to_numpy()
    _check_order(scan, subject, time, shard, number, at, last)
    name = _names(scan, batch[CODE], shard, at)
    kept = name >= 0
    if scan.until is not None:
        there, where = np.unique(subject, return_inverse=True)
        known = np.array([s in scan.until for s in there.tolist()])
        limit = np.array([scan.until.get(s, 0) for s in there.tolist()])[where]
        late = kept & known[where] & (time > limit)
        scan.later += int(late.sum())
        kept &= known[where] & ~late
    scan.rows += batch.num_rows
    hit = np.flatnonzero(kept)
    value = np.full(len(hit), np.nan, np.float32)
    if VALUE in batch.schema.names:
        value = batch[VALUE].take(pa.array(hit)).to_numpy(zero_copy_only=False)
    return _Block(
        subject[hit], time[hit], name[hit], value.astype(np.float32), at + 1 + hit, np.full(len(hit), number, np.int32)
    )


def _names(scan: Scan, code: pa.DictionaryArray, shard: Path, at: int) -> Int[np.ndarray, " n"]:
    """The number of each code among those that are wanted, -1 for the others."""
    words, index = code.dictionary.to_pylist(), code.indices.to_numpy()
    for word in words:
        if word not in scan.known:
            if scan.folder.codes is not None and word not in scan.folder.codes:
                row = at + 1 + int(np.flatnonzero(index == words.index(word))[:1].sum())
                expected = f"a code listed in {scan.folder.code_file}"
                raise fault(repr(word), expected, file=shard, row=row, column=CODE)
            wanted = scan.wanted(word)
            scan.known[word] = len(scan.names) if wanted else -1
            if wanted:
                scan.names.append(word)
    return np.array([scan.known[word] for word in words], np.int32)[index]


def _check_order(
    scan: Scan,
    subject: Int[np.ndarray, " n"],
    time: Int[np.ndarray, " n"],
    shard: Path,
    number: int,
    at: int,
    last: _Last,
) -> None:
    """Refuse a subject that is in two places, and a time before the one above it (an event without time: anywhere)."""
    before = np.concatenate([[subject[0] if last.subject is None else last.subject], subject[:-1]])
    new = subject != before
    new[0] |= last.subject is None
    for i in np.flatnonzero(new).tolist():
        where = scan.first.setdefault(int(subject[i]), (number, at + i + 1))
        if where != (number, at + i + 1):
            there = f"{scan.folder.shards[where[0]]}, row {where[1]}"
            expected = f"all its rows one after another (it begins in {there}; `biowm data ingest` sorts)"
            raise fault(f"subject {subject[i]} again", expected, file=shard, row=at + i + 1, column=SUBJECT)
    run = np.cumsum(new)
    said = np.flatnonzero(time != STATIC)
    times, runs = (np.concatenate([[first], rest[said]]) for first, rest in ((last.time, time), (0, run)))
    wrong = np.flatnonzero((runs[1:] == runs[:-1]) & (times[1:] < times[:-1]))
    if len(wrong):
        i = said[wrong[0]]
        above = np.datetime64(int(times[wrong[0]]), "us")
        expected = f"a time not before {above}, the one above of subject {subject[i]} (`biowm data ingest` sorts)"
        raise fault(str(np.datetime64(int(time[i]), "us")), expected, file=shard, row=at + i + 1, column=TIME)
    last.subject, last.time = int(subject[-1]), int(times[-1]) if runs[-1] == run[-1] else STATIC


def _joined(blocks: list[_Block]) -> _Block:
    if not blocks:
        empty = np.empty(0, np.int64)
        return _Block(empty, empty, empty, empty.astype(np.float32), empty, empty.astype(np.int32))
    return _Block(*(np.concatenate([getattr(b, name) for b in blocks]) for name in _Block.__dataclass_fields__))


def _table(scan: Scan, block: _Block) -> Table:
    frame = pd.DataFrame(
        {
            SUBJECT: block.subject,
            TIME: block.time.view("datetime64[us]"),
            CODE: pd.Categorical.from_codes(block.name, dtype=pd.CategoricalDtype(scan.names)),
            VALUE: block.value,
        }
    )
    files = tuple(str(shard) for shard in scan.folder.shards)
    return Table(frame, files, block.shard, block.row, (_HEADER,) * len(files))
