"""What is written is MEDS by the standard's own validators: futures marked as simulated, and mended events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import meds
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.meds_folder import Event, labels, shard, write

from biowm.core.errors import BadInput
from biowm.core.futures import Futures, Support
from biowm.core.record import Record
from biowm.data import config, meds_ingest
from biowm.data.config import StudyConfig
from biowm.data.meds_folder import open_folder
from biowm.data.meds_ingest import ingest
from biowm.data.meds_write import Forecast, write_futures
from biowm.data.study import load

STUDY: dict[str, Any] = {
    "table": "meds",
    "format": "meds",
    "subject": "subject_id",
    "time": {"column": "time", "unit": "h"},
    "channels": {"hr": {"unit": "bpm", "code": "HR"}, "temp": {"unit": "degC", "code": {"T//F": "degF"}}},
    "actions": {
        "drip": {"unit": "ug/min", "kind": "rate", "code": "DRIP", "stop": "DRIP//END"},
        "pill": {"unit": "mg", "kind": "bolus", "code": "PILL//*"},
    },
    "use": {"licence": "CC0-1.0"},
}
NOW = 24 * 29220 + 6.5  # 2050-01-01 06:30


def simulated(study: StudyConfig, against: Futures | None = None) -> Futures:
    times = np.array([1.0, 2.5], np.float32)
    draws = np.arange(12, dtype=np.float32).reshape(3, 2, 2) + 60
    plan = (
        {"action": "drip", "dose": 2.0, "unit": "ug/min", "onset": 0.0, "stop": 1.5, "assigned": True},
        {"action": "pill", "dose": 5.0, "unit": "mg", "onset": 0.5, "stop": 0.5, "assigned": True},
    )
    middle = np.median(draws, axis=0)
    return Futures(
        config.spec(study, {}), times, draws, middle, middle, middle, 0.9, "joint", Support("inside"),
        Record("simulate", {}, {}, 0), plan, against,
    )  # fmt: skip


def test_futures_are_valid_meds_marked_as_simulated_and_read_back(tmp_path):
    study = config.parse(STUDY)
    futures = simulated(study, against=simulated(study))
    write_futures(tmp_path / "out", study, [Forecast("7", NOW, futures)])
    folder = open_folder(tmp_path / "out")
    tables = [pq.read_table(file) for file in folder.shards]
    for table in tables:
        meds.DataSchema.validate(table)
    rows = pa.concat_tables(tables).to_pandas()
    assert rows["simulated"].all()
    assert rows["code"].str.startswith("SIMULATED//").all()
    assert set(rows["source_subject_id"]) == {7}
    assert rows.groupby("arm")["subject_id"].unique().map(list).to_dict() == {"do": [1, 2, 3], "against": [4, 5, 6]}
    said = json.loads((tmp_path / "out" / "metadata" / "dataset.json").read_text())
    assert (said["etl_name"], said["meds_version"], said["license"]) == ("biowm", "0.4", "CC0-1.0")
    assert "simulated" in said["other_extension_columns"]

    back = STUDY | {
        "channels": {
            "hr": {"unit": "bpm", "code": "SIMULATED//HR"},
            "temp": {"unit": "degC", "code": "SIMULATED//temp"},  # its own code is in another unit
        },
        "actions": {
            "drip": STUDY["actions"]["drip"] | {"code": "SIMULATED//DRIP", "stop": "SIMULATED//DRIP//END"},
            "pill": STUDY["actions"]["pill"] | {"code": "SIMULATED//pill"},
        },
    }
    found = load(tmp_path / "out", back)
    assert found.starts == (NOW,) * 6
    for k, path in enumerate(found.paths):
        seen = np.isfinite(path.x).any(axis=1)
        np.testing.assert_array_equal(path.t[seen], futures.times)
        np.testing.assert_array_equal(path.x[seen], futures.draws[k % 3])
        np.testing.assert_array_equal(path.plan.dose[:2], np.array([2, 5], np.float32))
        np.testing.assert_array_equal(path.plan.stop[:2], np.array([1.5, 0.5], np.float32))


def test_predictions_are_labels_at_the_prediction_time(tmp_path):
    study = config.parse(STUDY)
    write_futures(tmp_path / "out", study, [Forecast("7", NOW - 1e-6, simulated(study))])  # as a path knows it
    table = pq.read_table(tmp_path / "out" / "predictions" / "hr@2.5h.parquet")
    meds.LabelSchema.validate(table)
    when = pd.Timestamp("2050-01-01 06:30").to_pydatetime()
    assert table.to_pylist() == [{"subject_id": 7, "prediction_time": when, "float_value": 66.0}]
    with pytest.raises(BadInput, match="out: found something there, expected a new folder"):
        write_futures(tmp_path / "out", study, [Forecast("7", NOW, simulated(study))])


MESS: list[Event] = [
    (3, "2050-01-02", "HR", 70.0),
    (1, "2050-01-02", "HR", 62.0),
    (1, "2050-01-01", "HR", float("nan")),
    (3, "2050-01-01", "T", 37.0),
    (1, None, "GENDER//F", None),
    (2, "2050-01-01", "HR", 50.0),
]


def messy(folder: Path) -> Path:
    """Events as shipped: another name and type for the value, a column too many, no order, no metadata."""
    folder.mkdir()
    shard(folder / "a.parquet", MESS, subject_id=pa.int32(), code=pa.large_string(), numeric_value=pa.float64())
    table = pq.read_table(folder / "a.parquet").rename_columns(["subject_id", "time", "code", "value"])
    table = table.append_column("table", pa.array(["condition"] * len(table)))
    pq.write_table(table.cast(table.schema.set(1, pa.field("time", pa.timestamp("ns")))), folder / "a.parquet")
    labels(folder / "a_labels.parquet", {1: "2050-01-01"})
    return folder


@pytest.mark.parametrize("bucket", [100, 2])
def test_events_that_are_nearly_meds_are_mended_and_all_is_said(tmp_path, monkeypatch, bucket):
    monkeypatch.setattr(meds_ingest, "_BUCKET", bucket)
    done = ingest(messy(tmp_path / "src"), tmp_path / "out", licence="CC0-1.0", cite="doi:10/x")
    counts = {repair.what: repair.count for repair in done.mended}
    assert counts == {
        "a_labels.parquet left out, no table of events: it has no code or time": 1,
        "column value renamed numeric_value": 6,
        "column table left out: MEDS has no such column": 6,
        "column subject_id cast from int32 to int64": 6,
        "column time cast from timestamp[ns] to timestamp[us]": 6,
        "column code cast from large_string to string": 6,
        "column numeric_value cast from double to float": 6,
        "rows that belong above the row before, sorted (subject, time; static events first)": 3,
        "numbers that are NaN read as no number": 1,
        "codes added to metadata/codes.parquet, which was missing": 3,
        "metadata/dataset.json made, which was missing": 1,
    }
    assert (done.rows, done.subjects, done.codes) == (6, 3, {"HR", "T", "GENDER//F"})
    folder = open_folder(tmp_path / "out")
    assert folder.codes == {"HR", "T", "GENDER//F"}
    tables = [pq.read_table(file) for file in folder.shards]
    for table in tables:
        meds.DataSchema.validate(table)
    rows = pa.concat_tables(tables).sort_by([("subject_id", "ascending")]).to_pylist()
    assert [(r["subject_id"], r["code"], r["numeric_value"]) for r in rows] == [
        (1, "GENDER//F", None), (1, "HR", None), (1, "HR", 62.0), (2, "HR", 50.0), (3, "T", 37.0), (3, "HR", 70.0),
    ]  # fmt: skip
    assert {p.name for p in tmp_path.iterdir()} == {"src", "out"}


def test_a_valid_folder_needs_no_mending(tmp_path):
    write(tmp_path / "src", [(1, "2050-01-01", "HR", 1.0)], split={1: "held_out"}, codes=["HR", "T"])
    done = ingest(tmp_path / "src", tmp_path / "out")
    assert [r.what for r in done.mended] == []
    folder = open_folder(tmp_path / "out")
    assert folder.split == {1: "test"}
    assert folder.codes == {"HR", "T"}


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"time": pa.timestamp("us", "Asia/Tokyo")}, ("a.parquet, column time", "Asia/Tokyo", "without a zone")),
        ({"numeric_value": pa.string()}, ("a.parquet, column numeric_value", "values of type float")),
    ],
)
def test_what_cannot_be_mended_is_refused(tmp_path, change, parts):
    shard(tmp_path / "src" / "a.parquet", MESS, **change)
    if "numeric_value" in change:
        table = pq.read_table(tmp_path / "src" / "a.parquet")
        words = pa.array(["high", *["1.0"] * 5])
        pq.write_table(table.set_column(3, "numeric_value", words), tmp_path / "src" / "a.parquet")
    with pytest.raises(BadInput) as caught:
        ingest(tmp_path / "src", tmp_path / "out")
    assert not [part for part in parts if part not in str(caught.value)], caught.value
    assert [p.name for p in tmp_path.iterdir()] == ["src"]  # nothing half made is left


def test_a_row_without_a_subject_and_a_source_without_events(tmp_path):
    shard(tmp_path / "src" / "a.parquet", [*MESS, (None, "2050-01-01", "HR", 1.0)])  # type: ignore[list-item]
    with pytest.raises(BadInput, match=r"a.parquet, row 7, column subject_id: found nothing"):
        ingest(tmp_path / "src", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match="no table of events"):
        ingest(tmp_path / "empty", tmp_path / "none")
    with pytest.raises(BadInput, match="no such file or folder"):
        ingest(tmp_path / "nowhere", tmp_path / "none")
    assert not (tmp_path / "none").exists()
