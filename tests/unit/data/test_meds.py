"""MEDS folders: codes become readings, doses, traits and ends; nothing is read of what was not known yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from tests.support.meds_folder import Event, labels, shard, write

from biowm.core.errors import BadInput
from biowm.core.path import CENSORED, ENDED, RUNNING
from biowm.core.schedule import Entry, entries
from biowm.data import config, meds_scan
from biowm.data.report import describe
from biowm.data.splits import split
from biowm.data.study import Study, from_frame, load

nan = np.nan
STUDY: dict[str, Any] = {
    "table": "meds",
    "subject": "subject_id",
    "time": {"column": "time", "unit": "h"},
    "channels": {
        "hr": {"unit": "bpm", "code": "HR", "low": 0, "high": 300},
        "temp": {"unit": "degC", "code": {"T//F": "degF", "T//C": None}},
    },
    "actions": {
        "drip": {"unit": "ug/min", "kind": "rate", "code": "DRIP", "stop": "DRIP//END"},
        "pill": {"unit": "mg", "kind": "bolus", "code": "PILL//*"},
    },
    "traits": {"age": {"unit": "yr", "since": "MEDS_BIRTH"}, "sex": {"kind": "category", "code": "GENDER//*"}},
    "end": {"column": "code", "ended": ["MEDS_DEATH"], "censored": ["LEFT//*"]},
}
ONE: list[Event] = [
    (7, None, "GENDER//F", None),
    (7, "2000-01-01", "MEDS_BIRTH", None),
    (7, "2050-01-01 00:00", "HR", 80.0),
    (7, "2050-01-01 00:00", "T//F", 98.6),
    (7, "2050-01-01 00:00", "NOISE", 1.0),
    (7, "2050-01-01 01:00", "DRIP", 2.0),
    (7, "2050-01-01 02:00", "HR", 90.0),
    (7, "2050-01-01 03:00", "DRIP", 3.0),
    (7, "2050-01-01 03:00", "DRIP//END", 9.0),
    (7, "2050-01-01 03:30", "PILL//RED", 5.0),
    (7, "2050-01-01 04:00", "T//C", 38.0),
    (7, "2050-01-01 05:00", "DRIP//END", None),
    (7, "2050-01-01 06:00", "HR", 100.0),
    (7, "2050-01-03 00:00", "MEDS_DEATH", None),
]
TWO: list[Event] = [
    (12, None, "GENDER//M", None),
    (12, "2050-02-01 00:00", "HR", 60.0),
    (12, "2050-02-01 01:00", "HR", 61.0),
    (12, "2050-02-01 02:00", "LEFT//HOME", None),
    (12, "2050-02-01 03:00", "T//C", 36.5),
]


def study(tmp_path: Path, **changes: object) -> Study:
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
    return load(tmp_path / "study.yaml")


def fault(tmp_path: Path, **changes: object) -> str:
    with pytest.raises(BadInput) as caught:
        study(tmp_path, **changes)
    return str(caught.value)


def said(found: Study) -> dict[str, int]:
    return {repair.what: repair.count for repair in found.repairs}


def test_codes_become_readings_doses_traits_and_ends(tmp_path):
    write(tmp_path / "meds", TWO, ONE)
    found = study(tmp_path)
    assert found.config.format == "meds"  # the folder says so
    assert found.subjects == ("7", "12")
    assert not found.repairs
    one, two = found.paths
    np.testing.assert_array_equal(one.t, np.array([0, 1, 2, 3, 3.5, 4, 5, 6], np.float32))
    expected = [[80, 37], [nan, nan], [90, nan], [nan, nan], [nan, nan], [nan, 38], [nan, nan], [100, nan]]
    np.testing.assert_allclose(one.x, np.array(expected, np.float32), rtol=1e-6)
    assert entries(one.plan) == [Entry(0, 2.0, 1.0, 3.0), Entry(0, 3.0, 3.0, 5.0), Entry(1, 5.0, 3.5, 3.5)]
    np.testing.assert_allclose(one.traits, np.array([18263 / 365.25, 1, 0], np.float32), rtol=1e-6)
    np.testing.assert_array_equal(two.traits, np.array([nan, 0, 1], np.float32))
    assert (int(one.event), int(two.event)) == (ENDED, CENSORED)
    assert entries(two.plan) == []
    assert found.starts == (24 * 29220.0, 24 * 29251.0)
    told = describe(found)
    assert "drip [ug/min], rate (held): 2 for 1 subjects" in told
    assert "sex: F 1, M 1" in told
    assert "ended 1, censored 1" in told


def test_batches_and_chunks_change_nothing(tmp_path, monkeypatch):
    more: list[Event] = [(s, t, code, value) for s in (20, 21) for _, t, code, value in ONE]
    write(tmp_path / "meds", [*TWO, *more], ONE)
    whole = study(tmp_path)
    monkeypatch.setattr(meds_scan, "_BATCH", 3)
    monkeypatch.setattr(meds_scan, "_CHUNK", 2)
    window = {"code": "DRIP", "length": "1 d"}  # a chunk may hold nobody with one
    assert study(tmp_path, window=window, empty="drop").subjects == ("7", "20", "21")
    parts = study(tmp_path)
    assert parts.subjects == whole.subjects == ("7", "12", "20", "21")
    assert parts.sha256 == whole.sha256
    assert parts.spec == whole.spec
    for a, b in zip(whole.paths, parts.paths, strict=True):
        np.testing.assert_array_equal(a.x, b.x)
        np.testing.assert_array_equal(a.traits, b.traits)
        assert entries(a.plan) == entries(b.plan)


def test_the_split_of_the_folder_is_kept(tmp_path):
    three: list[Event] = [(13, t, code, value) for _, t, code, value in TWO]
    write(tmp_path / "meds", ONE, TWO, three, split={12: "tuning", 13: "held_out", 7: "train", 99: "train"})
    parts = split(study(tmp_path), seed=3)
    assert (parts.train, parts.calibrate, parts.test) == ((0,), (1,), (2,))


def test_nothing_after_the_prediction_time_is_read(tmp_path):
    write(tmp_path / "meds", ONE, TWO)
    labels(tmp_path / "labels.parquet", {7: "2050-01-01 03:30"})
    found = study(tmp_path, labels="labels.parquet")
    assert found.subjects == ("7",)
    (path,) = found.paths
    assert path.t[-1] == 2.0  # the last reading; what is given at the prediction time itself is known
    assert int(path.event) == RUNNING
    assert entries(path.plan) == [Entry(0, 2.0, 1.0, 3.0), Entry(0, 3.0, 3.0, 3.5), Entry(1, 5.0, 3.5, 3.5)]
    left = said(found)
    assert left["events after the prediction time left out (labels)"] == 4
    assert left["subjects without a prediction time left out (labels)"] == 1
    later = [*ONE[:10], *((s, t, c, v and v + 1) for s, t, c, v in ONE[10:] if c != "DRIP//END")]
    write(tmp_path / "other" / "meds", later, TWO, codes=sorted({e[2] for e in [*ONE, *TWO]}))
    other = study(tmp_path / "other", labels="../labels.parquet")
    np.testing.assert_array_equal(other.paths[0].x, path.x)
    assert entries(other.paths[0].plan) == entries(path.plan)


def test_a_window_opens_with_its_first_event(tmp_path):
    opened: list[Event] = [
        *ONE[:6],
        (7, "2050-01-01 01:30", "ICU//A", None),
        *ONE[6:12],
        (7, "2050-01-01 05:10", "ICU//B", None),
        *ONE[12:],
    ]
    write(tmp_path / "meds", opened, TWO)
    window = {"code": "ICU//*", "length": "3 h"}
    message = fault(tmp_path, window=window)
    assert "subject 12 without one reading of hr, temp within the window" in message
    assert "1.parquet, row 1, column subject_id" in message
    found = study(tmp_path, window=window, empty="drop")
    assert said(found) == {"subjects without one reading left out (empty: drop)": 1}
    (path,) = found.paths
    np.testing.assert_array_equal(path.t, np.array([0, 0.5, 1.5, 2, 2.5], np.float32))
    np.testing.assert_allclose(path.x[[1, 4]], np.array([[90, nan], [nan, 38]], np.float32))
    assert entries(path.plan) == [Entry(0, 2.0, 0.0, 1.5), Entry(0, 3.0, 1.5, 3.0), Entry(1, 5.0, 2.0, 2.0)]
    assert int(path.event) == RUNNING


def test_what_a_later_event_says_of_a_trait_was_not_known(tmp_path):
    weight = {"weight": {"unit": "kg", "code": {"W//LB": "lb"}}}
    late: list[Event] = [
        *ONE[:5],
        (7, "2050-01-01 00:00", "W//LB", 200.0),
        (7, "2050-01-01 00:30", "W//LB", 150.0),
        *ONE[5:],
    ]
    write(tmp_path / "meds", late, [*TWO, (12, "2050-02-02", "W//LB", 100.0)])
    found = study(tmp_path, traits=weight)
    np.testing.assert_allclose([p.traits[0] for p in found.paths], [90.718474, nan], rtol=1e-6)


def test_repairs_are_said(tmp_path):
    rows: list[Event] = [
        (1, None, "HR", 50.0),
        (1, None, "PILL//A", 5.0),
        (1, "2050-01-01 00:00", "HR", 60.0),
        (1, "2050-01-01 00:00", "HR", 60.0),
        (1, "2050-01-01 01:00", "HR", None),
        (1, "2050-01-01 01:00", "DRIP", 1.0),
        (1, "2050-01-01 02:00", "DRIP", 2.0),
        (1, "2050-01-01 02:30", "PILL//A", 2.0),
        (1, "2050-01-01 02:30", "PILL//A", 2.0),
        (1, "2050-01-01 02:30", "PILL//B", 2.0),
        (1, "2050-01-01 03:00", "HR", 66.0),
        (1, "2050-01-01 03:00", "T//C", 37.0),
    ]
    write(tmp_path / "meds", rows, codes=[*{e[2] for e in [*ONE, *TWO, *rows]}])
    found = study(tmp_path)
    assert said(found) == {
        "events of hr without a time left out": 1,
        "events of hr without a number left out": 1,
        "events of pill without a time left out": 1,
        "exact duplicate rows dropped": 1,
        "equal events of pill at one moment, one kept": 1,
        "rates said anew before they were stopped": 1,
    }
    (path,) = found.paths
    doses = [Entry(0, 1.0, 1.0, 2.0), Entry(0, 2.0, 2.0, 3.0), Entry(1, 2.0, 2.5, 2.5), Entry(1, 2.0, 2.5, 2.5)]
    assert entries(path.plan) == doses
    np.testing.assert_array_equal(path.x[-1], np.array([66, 37], np.float32))


def test_readings_of_one_moment_that_differ(tmp_path):
    rows: list[Event] = [(12, "2050-02-01 01:00", "HR", 71.0), *TWO[2:]]
    write(tmp_path / "meds", ONE, [*TWO[:2], *rows])
    assert "row 4, column hr: found 61.0 at the same subject and time as file" in fault(tmp_path)
    mean = study(tmp_path, duplicates="mean")
    assert mean.paths[1].x[1, 0] == 66.0


def test_version_0_3_may_lack_the_list_of_codes(tmp_path):
    write(tmp_path / "meds", ONE, TWO, version="0.3.3", listed=False)
    (note,) = study(tmp_path).repairs
    assert note.what.startswith("no list of codes")
    unknown = STUDY["channels"] | {"map": {"unit": "mmHg", "code": "MAPP"}}
    assert "key channels.map.code: found 'MAPP'" in fault(tmp_path, channels=unknown)


def test_no_version_is_said(tmp_path):
    write(tmp_path / "meds", ONE, TWO, version=None)
    assert said(study(tmp_path)) == {"no meds_version: read as 0.4": 1}


FAULTS: list[tuple[dict[str, Any], list[list[Event]], tuple[str, ...]]] = [
    ({}, [ONE, [TWO[2], TWO[1]]],
     ("1.parquet, row 2, column time", "2050-02-01T00:00:00", "2050-02-01T01:00:00", "biowm data ingest")),
    ({"listed": False}, [ONE], ("metadata/codes.parquet", "no such file", "MEDS 0.4", "ingest")),
    ({"codes": ["HR"]}, [ONE], ("key channels.temp.code", "'T//F'")),
    ({"codes": [e[2] for e in ONE[:4] + ONE[5:]] + ["T//C", "LEFT//X"]}, [ONE],
     ("0.parquet, row 5, column code", "'NOISE'", "codes.parquet")),
    ({"time": pa.timestamp("us", "Europe/Berlin")}, [ONE, TWO],
     ("1.parquet, column time", "tz=Europe/Berlin", "but timestamp[us] in", "without a time zone")),
    ({}, [ONE, [*TWO, (7, "2060-01-01", "HR", 1.0)]],
     ("1.parquet, row 6, column subject_id", "subject 7 again", "0.parquet, row 1")),
    ({}, [[*ONE, *TWO, ONE[6]]], ("row 20", "subject 7 again")),
    ({"subject_id": pa.int32()}, [ONE], ("column subject_id", "type int32", "expected int64")),
    ({"code": pa.large_string()}, [ONE], ("column code", "large_string", "expected string")),
    ({"numeric_value": pa.float64()}, [ONE], ("column numeric_value", "double", "float")),
    ({}, [[*ONE[:5], (7, "2050-01-01 00:30", "PILL//X", -5.0), *ONE[5:]], TWO],
     ("row 6, column numeric_value", "-5.0", "at least 0 mg")),
    ({}, [[*ONE[:5], (7, "2050-01-01 00:30", "DRIP", None), *ONE[5:]], TWO],
     ("row 6, column numeric_value", "no number", "ug/min", "actions.drip.blank")),
    ({}, [[*ONE[:2], (7, "2050-01-01", "HR", 999.0), *ONE[2:]], TWO], ("row 3", "999", "at most 300 bpm")),
    ({"version": "0.5"}, [ONE], ("dataset.json", "'0.5'", "0.4, 0.3")),
    ({"split": {7: "train", 12: "validation"}}, [ONE, TWO], ("splits.parquet, row 2", "'validation'", "tuning")),
    ({"split": {7: "train"}}, [ONE, TWO], ("1.parquet, row 1", "subject 12, in no part")),
]  # fmt: skip


@pytest.mark.parametrize(("made", "shards", "parts"), FAULTS, ids=range(len(FAULTS)))
def test_a_fault_of_the_folder_is_named_with_its_place(tmp_path, made, shards, parts):
    codes = {} if "codes" in made else {"codes": sorted({e[2] for e in [*ONE, *TWO]} | {"PILL//X"})}
    write(tmp_path / "meds", *shards, **codes | made)
    message = fault(tmp_path)
    assert not [part for part in parts if part not in message], message


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"subject": "patient"}, ("key subject", "patient", "subject_id")),
        ({"time": {"column": "when", "unit": "h"}}, ("key time", "when")),
        ({"time": {"column": "time", "unit": "reading"}}, ("key time.unit", "reading")),
        ({"na": ["x"]}, ("key na", "metadata/")),
        ({"channels": {"hr": {"unit": "bpm"}}}, ("key channels.hr", "no code")),
        ({"channels": {"hr": {"unit": "bpm", "code": "H"}}}, ("key channels.hr.code", "'H'", "'HR'")),
        ({"channels": {"hr": {"unit": "bpm", "code": {"HR": "mg"}}}}, ("key channels.hr.code", "'mg'", "'bpm'")),
        ({"channels": {"hr": {"unit": "bpm", "code": "HR", "column": "x"}}}, ("channels.hr.column",)),
        ({"actions": {"pill": {"unit": "mg", "kind": "bolus", "code": "PILL//*", "stop": "HR"}}}, ("pill.stop",)),
        ({"traits": {"age": {"unit": "kg", "since": "MEDS_BIRTH"}}}, ("key traits.age.unit", "a unit of time")),
        ({"traits": {"age": {"unit": "yr"}}}, ("key traits.age", "neither code nor since")),
        ({"end": {"column": "status", "ended": ["MEDS_DEATH"]}}, ("key end.column", "code")),
        ({"window": {"code": "ICU//*", "length": "0 h"}}, ("key window.length", "not above 0")),
    ],
)  # fmt: skip
def test_a_fault_of_the_study_is_named_with_its_key(tmp_path, changes, parts):
    write(tmp_path / "meds", ONE, TWO)
    message = fault(tmp_path, **changes)
    assert not [part for part in parts if part not in message], message


def test_two_prediction_times_of_one_subject(tmp_path):
    import pyarrow.parquet as pq

    write(tmp_path / "meds", ONE, TWO)
    file = labels(tmp_path / "labels.parquet", {7: "2050-01-01 03:30", 12: "2050-02-01 01:00"})
    table = pq.read_table(file)
    pq.write_table(pa.concat_tables([table, table.set_column(0, "subject_id", pa.array([7, 7], pa.int64()))]), file)
    message = fault(tmp_path, labels="labels.parquet")
    assert "row 4, column prediction_time: found 2050-02-01T01:00:00" in message


def test_keys_of_folders_are_refused_for_tables(tmp_path):
    import pandas as pd

    plain = {"subject": "id", "time": {"column": "t", "unit": "h"}, "channels": {"x": {"unit": "1", "code": "LOINC:1"}}}
    frame = pd.DataFrame({"id": [1, 1], "t": [0, 1], "x": [1.0, 2.0]})
    assert from_frame(frame, plain).spec.channels[0].code == "LOINC:1"  # a channel may always say its code
    with pytest.raises(BadInput, match=r"key labels: it belongs to MEDS folders"):
        from_frame(frame, plain | {"labels": "l.parquet"})
    with pytest.raises(BadInput, match=r"key traits.age.since: it belongs"):
        from_frame(frame, plain | {"traits": {"age": {"unit": "yr", "since": "B"}}})
    with pytest.raises(BadInput, match="the path of a MEDS folder"):
        from_frame(frame, plain | {"format": "meds"})


def test_a_description_of_a_folder_survives_json(tmp_path):
    write(tmp_path / "meds", ONE, TWO)
    found = study(tmp_path)
    assert config.parse(found.config.model_dump(mode="json")) == found.config


def test_a_file_that_is_no_folder(tmp_path):
    shard(tmp_path / "meds", ONE)
    assert "expected a MEDS folder" in fault(tmp_path, format="meds")
    write(tmp_path / "other", ONE)
    assert "found a MEDS folder, expected a file (format: csv)" in fault(tmp_path, table="other", format="csv")
