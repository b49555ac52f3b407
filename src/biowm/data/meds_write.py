"""Writing MEDS 0.4: the folder, its metadata, and futures that were simulated, marked as such in every row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from biowm.core.record import versions

from .faults import fault
from .meds_folder import standard

VERSION = "0.4"


def new_folder(root: Path) -> None:
    """Make the folders of a MEDS data set. Raises BadInput where there is something already."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise fault("something there", "a new folder: nothing is written over", file=root)
    for name in ("data", "metadata"):
        (root / name).mkdir(parents=True, exist_ok=True)


def write_metadata(
    root: Path,
    codes: Sequence[Mapping[str, Any]],
    *,
    name: str,
    licence: str | None = None,
    cite: str | None = None,
    more: Sequence[str] = (),
) -> None:
    """Write codes.parquet (rows with code, description, parent_codes) and dataset.json.

    `cite` is what to cite for the data (description_uri), `more` are the columns beyond those of the standard.
    """
    meds = standard()
    schema = meds.CodeMetadataSchema.schema()
    table = pa.Table.from_pylist([{f.name: row.get(f.name) for f in schema} for row in codes], schema=schema)
    pq.write_table(table, root / "metadata" / "codes.parquet")
    said = {
        "dataset_name": name,
        "etl_name": "biowm",
        "etl_version": versions()["biowm"],
        "meds_version": VERSION,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "license": licence,
        "description_uri": cite,
        "other_extension_columns": list(more) or None,
    }
    said = {key: value for key, value in said.items() if value is not None}
    meds.DatasetMetadataSchema.validate(said)
    (root / "metadata" / "dataset.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
