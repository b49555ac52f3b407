"""Small MEDS folders, well made or with one fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

Event = tuple[int, str | None, str, float | None]
TYPES = {
    "subject_id": pa.int64(),
    "time": pa.timestamp("us"),
    "code": pa.string(),
    "numeric_value": pa.float32(),
}


def shard(file: Path, events: Sequence[Event], **types: pa.DataType) -> None:
    """Events as one parquet file; `types` in place of those of the standard."""
    columns = list(zip(*events, strict=True)) or [(), (), (), ()]
    file.parent.mkdir(parents=True, exist_ok=True)
    wanted = TYPES | types
    cells = [columns[0], [t and datetime.fromisoformat(t) for t in columns[1]], columns[2], columns[3]]
    arrays = [
        pa.array(cell, kind).cast(wanted[name])
        for cell, (name, kind) in zip(cells, (TYPES | {"time": wanted["time"]}).items(), strict=True)
    ]
    pq.write_table(pa.table(dict(zip(wanted, arrays, strict=True))), file)


def write(
    root: Path,
    *shards: Sequence[Event],
    version: str | None = "0.4.1",
    codes: Sequence[str] | None = None,
    listed: bool = True,
    split: dict[int, str] | None = None,
    **types: pa.DataType,
) -> Path:
    """A folder of `shards`; `codes` in place of those there are, none `listed` for a folder without the list."""
    for k, events in enumerate(shards):
        shard(root / "data" / f"{k}.parquet", events, **(types if k == len(shards) - 1 else {}))
    meta = root / "metadata"
    meta.mkdir(parents=True, exist_ok=True)
    said: dict[str, Any] = {"dataset_name": "small"} | ({} if version is None else {"meds_version": version})
    (meta / "dataset.json").write_text(json.dumps(said))
    if listed:
        names = sorted({event[2] for events in shards for event in events}) if codes is None else list(codes)
        empty = [None] * len(names)
        table = {
            "code": pa.array(names, pa.string()),
            "description": pa.array(empty, pa.string()),
            "parent_codes": pa.array(empty, pa.list_(pa.string())),
        }
        pq.write_table(pa.table(table), meta / "codes.parquet")
    if split is not None:
        parts = pa.table(
            {"subject_id": pa.array([*split], pa.int64()), "split": pa.array([*split.values()], pa.string())}
        )
        pq.write_table(parts, meta / "subject_splits.parquet")
    return root


def labels(file: Path, times: dict[int, str]) -> Path:
    """A file of prediction times, as LabelSchema says."""
    stamps = [datetime.fromisoformat(t) for t in times.values()]
    pq.write_table(
        pa.table(
            {"subject_id": pa.array([*times], pa.int64()), "prediction_time": pa.array(stamps, pa.timestamp("us"))}
        ),
        file,
    )
    return file
