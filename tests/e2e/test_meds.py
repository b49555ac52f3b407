"""Events in MEDS from the command line: ingested, checked, fitted, and futures written back."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path

import meds
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from tests.support.meds_folder import Event, shard, write

from .conftest import biowm, cohort

DEMO = Path(os.environ.get("BIOWM_DATA", "")) / "patient" / "mimic_iv_demo_meds"
STUDIES = Path(__file__).parents[2] / "studies"
STUDY = {
    "table": "meds",
    "subject": "subject_id",
    "time": {"column": "time", "unit": "d"},
    "horizons": ["2 d", "4 d"],
    "channels": {"psa": {"unit": "ng/mL", "link": "log", "low": 0, "floor": 0.1, "code": "PSA"}},
    "actions": {"drug": {"unit": "mg/d", "low": 0, "high": 4, "code": "DRUG"}},
}


def events() -> list[Event]:
    """The cohort of the other commands, as events."""
    found: list[Event] = []
    for name, day, psa, dose in cohort(seed=0):
        minutes = round(day * 1440)
        time = f"2050-01-{1 + minutes // 1440:02d} {minutes // 60 % 24:02d}:{minutes % 60:02d}"
        found += [(int(name[1:]), time, "PSA", psa), (int(name[1:]), time, "DRUG", dose)]
    return found


def study(folder: Path) -> Path:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY))
    return file


def test_ingest_then_check(tmp_path: Path):
    shard(tmp_path / "events.parquet", events()[::-1])
    said = biowm("data", "ingest", tmp_path / "events.parquet", "--out", tmp_path / "meds")
    assert said.code == 0, said.err
    assert "rows that belong above the row before, sorted" in said.out
    assert "640 events of 40 subjects, 2 codes, 1 shards" in said.out
    said = biowm("data", "check", study(tmp_path))
    assert said.code == 0, said.err
    for part in ("40 subjects", "psa", "drug", "mg/d"):
        assert part in said.out
    biowm("data", "ingest", tmp_path / "events.parquet", "--out", tmp_path / "meds").refused("something there")


def test_events_out_of_order_are_refused_with_their_place(tmp_path: Path):
    rows = events()
    rows[2], rows[4] = rows[4], rows[2]
    write(tmp_path / "meds", rows)
    biowm("data", "check", study(tmp_path)).refused("0.parquet, row 4, column time", "ingest")


def test_a_folder_without_its_list_of_codes_is_refused_with_what_to_do(tmp_path: Path):
    write(tmp_path / "meds", events())
    (tmp_path / "meds" / "metadata" / "codes.parquet").unlink()
    biowm("data", "check", study(tmp_path)).refused("metadata/codes.parquet", "found no such file", "ingest")


@pytest.mark.slow
def test_fit_simulate_and_write_futures(tmp_path: Path):
    write(tmp_path / "meds", events())
    said = biowm("fit", study(tmp_path), "--out", tmp_path / "run", "--json")
    assert said.code == 0, said.err
    ask = ("--from", "2050-01-04T12:00", "--do", "drug=2 mg/d@0:2 d", "--horizon", "2 d", "--draws", 20, "--json")
    said = biowm("simulate", tmp_path / "run", "--subject", 3, *ask, "--out", tmp_path / "futures")
    assert said.json["support"]["verdict"] == "inside"
    table = pq.read_table(tmp_path / "futures" / "data" / "1.parquet")
    meds.DataSchema.validate(table)
    rows = table.to_pandas()
    assert set(rows["code"]) == {"SIMULATED//PSA", "SIMULATED//DRUG", "SIMULATED//drug//STOP"}
    assert set(rows["source_subject_id"]) == {3}
    assert rows["subject_id"].nunique() == 20
    zoned = ("2050-01-04T14:00+02:00" if word == "2050-01-04T12:00" else word for word in ask)
    assert biowm("simulate", tmp_path / "run", "--subject", 3, *zoned).json["median"] == said.json["median"]
    last = max(
        t for s, t, code, _ in events() if s == 3 and code == "PSA" and t is not None and t <= "2050-01-04 12:00"
    )
    (label,) = pq.read_table(tmp_path / "futures" / "predictions" / "psa@2d.parquet").to_pylist()
    assert label["prediction_time"].isoformat(" ", "minutes") == last
    assert rows["time"].min() >= label["prediction_time"]
    assert label["float_value"] == pytest.approx(said.json["median"]["psa"][-1])
    new = biowm("simulate", tmp_path / "run", "--history", tmp_path / "meds", "--subject", 3, *ask)
    assert new.json["median"] == said.json["median"]


def ask_for(file: Path, *rows: tuple[int, str]) -> Path:
    """A file of labels: subjects and prediction times."""
    times = pa.array([datetime.fromisoformat(when) for _, when in rows], pa.timestamp("us"))
    pq.write_table(pa.table({"subject_id": pa.array([s for s, _ in rows], pa.int64()), "prediction_time": times}), file)
    return file


@pytest.mark.slow
def test_labels_are_predicted_from_what_was_known_by_then(tmp_path: Path):
    """Events after each prediction time are other ones in the second folder: nothing that is told changes."""
    write(tmp_path / "meds", events())
    said = biowm("fit", study(tmp_path), "--out", tmp_path / "run", "--json")
    assert said.code == 0, said.err
    asked = ((3, "2050-01-04 12:00"), (5, "2050-01-05 00:00"), (3, "2050-01-02 12:00"), (7, "2049-12-31 00:00"))
    labels = ask_for(tmp_path / "labels.parquet", *asked)
    later = {s: max(when for who, when in asked if who == s) for s, _ in asked}
    bent = [
        (s, t, code, 9 * (v or 0) if code == "PSA" and s in later and str(t) > later[s] else v)
        for s, t, code, v in events()
    ]
    write(tmp_path / "other", bent)
    assert bent != events()
    tables = []
    for name in ("meds", "other"):
        out = tmp_path / f"{name}.parquet"
        ask = ("--on", labels, "--horizon", "2 d", "--draws", 40, "--out", out)
        said = biowm("simulate", tmp_path / "run", "--history", tmp_path / name, *ask)
        assert said.code == 0, said.err
        assert "4 rows, 1 without a quantile" in said.out
        tables.append(pq.read_table(out).to_pandas())
    pd.testing.assert_frame_equal(*tables)
    table = tables[0]
    assert list(zip(table["subject_id"], table["prediction_time"].map(str).str[:16], strict=True)) == list(asked)
    assert (table["time"] - table["prediction_time"] == pd.Timedelta("2D")).all()
    assert table["support"].tolist()[3] == "no reading by then"
    known = table.iloc[:3]
    assert (known[["q0.05", "q0.25", "q0.5", "q0.75", "q0.95"]].diff(axis=1).iloc[:, 1:] >= 0).all(axis=None)
    biowm("simulate", tmp_path / "run", "--on", labels, "--horizon", "2 d").refused("--on", "--history", "--out")


@pytest.mark.slow
@pytest.mark.skipif(not DEMO.is_dir(), reason="the published events are not in $BIOWM_DATA")
def test_the_published_demo_is_mended_and_read(tmp_path: Path):
    said = biowm("data", "ingest", "mimic-demo", "--out", tmp_path / "mimic-demo")
    assert said.code == 0, said.err
    for part in ("column value renamed numeric_value: 916166", "codes.parquet, which was missing: 7035",
                 "916166 events of 100 subjects"):  # fmt: skip
        assert part in said.out
    assert json.loads((tmp_path / "mimic-demo" / "metadata" / "dataset.json").read_text())["license"] == "ODbL-1.0"
    meds.DataSchema.validate(pq.read_table(tmp_path / "mimic-demo" / "data" / "0.parquet"))
    said = biowm("data", "check", STUDIES / "mimic-demo.yaml", "--data", tmp_path)
    assert said.code == 0, said.err
    for part in (
        "100 subjects",
        "heart_rate [bpm], log: 5691 readings",
        "norepinephrine",
        "sex: F 43, M 57",
        "ODbL-1.0",
    ):
        assert part in said.out
