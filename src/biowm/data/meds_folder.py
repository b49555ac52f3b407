"""A folder of events as MEDS lays it out: shards under data/, and under metadata/ what they mean.

Versions 0.4 and 0.3 of the standard (github.com/Medical-Event-Data-Standard/meds).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from biowm.core.errors import BadInput

from .faults import fault
from .locate import natural
from .meds_keys import CODE, SUBJECT, TIME
from .tables import Repair

_PARTS = {"train": "train", "tuning": "calibrate", "held_out": "test"}
_VERSIONS = ("0.4", "0.3")


@dataclass(frozen=True, eq=False)
class Folder:
    """The shards in natural order of their names; `codes` as listed (None: no list), `split` of each subject.

    `notes` say what is missing that version 0.3 allows to be missing.
    """

    root: Path
    version: str
    shards: tuple[Path, ...]
    codes: frozenset[str] | None
    split: Mapping[int, str] | None
    notes: tuple[Repair, ...]

    @property
    def rows(self) -> int:
        """The number of events."""
        return sum(pq.read_metadata(shard).num_rows for shard in self.shards)

    @property
    def code_file(self) -> Path:
        """Where the codes are listed."""
        return self.root / "metadata" / "codes.parquet"


def standard() -> ModuleType:
    """The schemas of the standard. Raises BadInput where the package that holds them is not installed."""
    try:
        import meds
    except ImportError:
        raise BadInput("MEDS folders need the package meds (0.4 or later): pip install 'biowm[patient]'") from None
    return meds


def open_folder(root: Path) -> Folder:
    """The folder at `root`, its metadata and the columns of its shards checked against the standard.

    Raises BadInput naming the file, and the column or the row, that is not as the standard says.
    """
    shards = tuple(sorted((root / "data").rglob("*.parquet"), key=lambda p: natural(str(p))))
    if not shards:
        raise fault("no shard (*.parquet)", "at least one", file=root / "data")
    version, notes = _version(root)
    check_columns(shards, version)
    return Folder(root, version, shards, _codes(root, version, notes), _split(root), tuple(notes))


def digest_of(folder: Folder) -> str:
    """sha256 over the contents of shards, codes and splits, in order (not of when they were made)."""
    running = hashlib.sha256()
    for file in (*folder.shards, *sorted((folder.root / "metadata").glob("*.parquet"))):
        with file.open("rb") as content:
            running.update(hashlib.file_digest(content, "sha256").digest())
    return running.hexdigest()


def _version(root: Path) -> tuple[str, list[Repair]]:
    file = root / "metadata" / "dataset.json"
    try:
        said: Any = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise fault("no such file", "what the data set is (`biowm data ingest` makes it)", file=file) from None
    except ValueError as error:
        raise fault(str(error), "JSON", file=file) from None
    try:
        standard().DatasetMetadataSchema.validate(said)
    except Exception as error:  # the package raises errors of its own and of others
        raise fault(f"{error.__cause__ or error}".splitlines()[0], "DatasetMetadataSchema of MEDS", file=file) from None
    version = said.get("meds_version")
    if version is None:
        return _VERSIONS[0], [Repair(f"no meds_version: read as {_VERSIONS[0]}", 1, str(file))]
    short = ".".join(str(version).split(".")[:2])
    if short not in _VERSIONS:
        raise fault(f"meds_version {version!r}", f"one of {', '.join(_VERSIONS)}", file=file)
    return short, []


def check_columns(shards: tuple[Path, ...], version: str) -> None:
    """Raise BadInput at the first shard whose columns are not those of DataSchema."""
    data = standard().DataSchema
    found = {shard: schema_of(shard) for shard in shards}
    kinds = {str(s.field(TIME).type): shard for shard, s in found.items() if TIME in s.names}
    for shard, schema in found.items():
        for column in data.schema():
            if column.name not in schema.names:
                if column.name in (SUBJECT, TIME, CODE):
                    raise fault("no such column", f"one of type {column.type}", file=shard, column=column.name)
                continue
            got = schema.field(column.name).type
            if got != column.type and not (version == "0.3" and column.name == "text_value"):
                others = [f"{kind} in {file}" for kind, file in kinds.items() if kind != str(got)]
                mixed = f" (but {others[0]})" if column.name == TIME and others else ""
                zone = " without a time zone" if pa.types.is_timestamp(got) and got.tz else ""
                raise fault(f"type {got}{mixed}", f"{column.type}{zone}", file=shard, column=column.name)


def schema_of(file: Path) -> pa.Schema:
    """The columns of a parquet file. Raises BadInput where it is none."""
    try:
        return pq.read_schema(file)
    except (OSError, pa.ArrowException) as error:
        raise fault(f"{type(error).__name__}: {error}", "a parquet file", file=file) from None


def read_whole(file: Path, schema: Any) -> pa.Table:
    """A small file of the standard, such as labels or splits. Raises BadInput where it is not as `schema` says."""
    found = schema_of(file)
    for column in schema.schema():
        if column.name in found.names and found.field(column.name).type != column.type:
            raise fault(f"type {found.field(column.name).type}", str(column.type), file=file, column=column.name)
    table = pq.read_table(file)
    try:
        schema.validate(found)
        schema.validate(table)
    except Exception as error:  # the package raises errors of its own and of others
        raise fault(" ".join(str(error).split()), f"{schema.__name__} of MEDS", file=file) from None
    return table


def _codes(root: Path, version: str, notes: list[Repair]) -> frozenset[str] | None:
    file = root / "metadata" / "codes.parquet"
    if file.is_file():
        return frozenset(read_whole(file, standard().CodeMetadataSchema)[CODE].to_pylist())
    if version != "0.3":
        raise fault("no such file", f"the list of all codes (MEDS {version}; `biowm data ingest` makes it)", file=file)
    notes.append(Repair("no list of codes (allowed by MEDS 0.3): codes are taken as they come", 1, str(file)))
    return None


def _split(root: Path) -> dict[int, str] | None:
    file = root / "metadata" / "subject_splits.parquet"
    if not file.is_file():
        return None
    table = read_whole(file, standard().SubjectSplitSchema)
    subjects, words = table[SUBJECT].to_pylist(), table["split"].to_pylist()
    found: dict[int, str] = {}
    for row, (subject, word) in enumerate(zip(subjects, words, strict=True), start=1):
        if word not in _PARTS:
            raise fault(repr(word), f"one of {', '.join(_PARTS)}", file=file, row=row, column="split")
        if found.setdefault(subject, _PARTS[word]) != _PARTS[word]:
            raise fault(f"subject {subject} in two parts", "each in one", file=file, row=row, column=SUBJECT)
    return found


def asked_for(file: Path) -> list[tuple[int, int]]:
    """Subject and prediction time (microseconds since 1970) of each row of a file of labels.

    Raises BadInput where the file is not as LabelSchema says.
    """
    table = read_whole(file, standard().LabelSchema)
    times = table["prediction_time"].cast(pa.int64()).to_pylist()
    return list(zip(table[SUBJECT].to_pylist(), times, strict=True))


def prediction_times(file: Path) -> dict[int, int]:
    """The one prediction time of each subject in a file of labels, in microseconds since 1970.

    Raises BadInput where the file is not as LabelSchema says, or a subject has two times.
    """
    found: dict[int, int] = {}
    for row, (subject, time) in enumerate(asked_for(file), start=1):
        if found.setdefault(subject, time) != time:
            other = np.datetime64(found[subject], "us")
            expected = f"one time for each subject ({other} for subject {subject} above)"
            raise fault(str(np.datetime64(time, "us")), expected, file=file, row=row, column="prediction_time")
    return found
