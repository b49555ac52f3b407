"""Small tables as strangers keep them: each differs in every way, and each loads at the first try."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from biowm.core.path import CENSORED, ENDED, RUNNING
from biowm.core.schedule import Entry, entries
from biowm.data.study import Study, from_frame, load

nan = np.nan


def study(tmp_path: Path, config: dict, **files: str | bytes) -> Study:
    """Write the files (a name's `__` is its dot) and the study file, and load it."""
    for name, content in files.items():
        file = tmp_path / name.replace("__", ".")
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
    return load(tmp_path / "study.yaml")


def said(found: Study) -> dict[str, int]:
    """Repairs by what they did."""
    return {repair.what: repair.count for repair in found.repairs}


def given(found: Study, subject: str) -> list[Entry]:
    return entries(found.paths[found.subjects.index(subject)].plan)


def test_clinic_visits_with_iso_dates_and_a_daily_dose(tmp_path):
    found = study(
        tmp_path,
        {"table": "visits.csv", "subject": "MRN", "time": {"column": "visit date", "unit": "d"},
         "horizons": ["2 week", 3], "channels": {"creatinine": {"unit": "umol/L", "link": "log", "column": "Cr"}},
         "actions": {"prednisone": {"unit": "mg/d", "high": 80}}},
        visits__csv="\ufeffMRN,visit date,Cr,prednisone,comment\n"
        '0012,2021-03-01,101,40,"start, high"\n0012,2021-03-08,140.5,40,\n'
        "0012,2021-03-20,,20,\n0012,2021-03-29,97,0,ok\n\n0007,2021-02-01,80,,\n0007,2021-02-15,82,,\n",
    )  # fmt: skip
    assert found.subjects == ("0007", "0012")
    np.testing.assert_array_equal(found.paths[1].t, [0, 7, 28])
    np.testing.assert_array_equal(found.paths[1].x, np.float32([[101], [140.5], [97]]))
    # 40 mg/d holds over two visits, 20 from a visit without a reading until the last one.
    assert given(found, "0012") == [Entry(0, 40.0, 0.0, 19.0), Entry(0, 20.0, 19.0, 28.0)]
    assert given(found, "0007") == []
    assert found.spacing == 14.0
    assert found.horizons == (14.0, 42.0)  # three readings, a median gap apart
    assert found.starts[1] - found.starts[0] == 28.0
    assert said(found) == {"blank dose cells read as 0": 2}


def test_german_export_with_semicolons_decimal_commas_dotted_dates_and_cp1252(tmp_path):
    text = (
        "sep=;\r\nPatient;Datum;Größe µm;Gewicht;Dosis\r\nMüller;03.04.2020 08:00;1250,5;71,25;0\r\n"
        "Müller;04.04.2020 20:00;1300;71;2,5\r\nMüller;06.04.2020 20:00;<5,0;;2,5\r\n"
    )
    found = study(
        tmp_path,
        {"table": "export.txt", "subject": "Patient", "time": {"column": "Datum", "unit": "h"},
         "channels": {"size": {"unit": "um", "column": "Größe µm"}},
         "covariates": {"weight": {"unit": "kg", "column": "Gewicht", "fill": "forward"}},
         "actions": {"dose": {"unit": "mg/d", "column": "Dosis", "recorded": "since_last"}}},
        export__txt=text.encode("cp1252"),
    )  # fmt: skip
    (path,) = found.paths
    np.testing.assert_array_equal(path.t, [0, 36, 84])
    np.testing.assert_array_equal(
        path.x, np.float32([[1250.5, 71.25], [1300, 71], [5, 71]])
    )  # the weight is carried on
    assert [c.role for c in found.spec.channels] == ["target", "covariate"]
    assert given(found, "Müller") == [Entry(0, 2.5, 0.0, 84.0)]  # what a row says was given before it
    assert said(found) == {
        "file that is not UTF-8 read as Windows-1252": 1,
        "table with decimal commas": 1,
        "dates read as %d.%m.%Y %H:%M": 3,
        "left-censored cells read as their limit": 1,
    }


def test_headerless_tab_separated_files_one_a_mouse(tmp_path):
    found = study(
        tmp_path,
        {"table": "mouse*.tsv", "columns": ["id", "day", "volume", "cage"], "na": ["died*", "-999"],
         "subject": "id", "time": {"column": "day", "unit": "d"}, "groups": {"cage": "cage"},
         "channels": {"volume": {"unit": "mm3", "link": "log", "floor": 1}}, "split": {"by": "cage"}},
        mouse2__tsv="m2\t0\t100\tA\nm2\t3\t150\tA\n", mouse10__tsv="m10\t0\t90\tB\nm10\t3\t-999\tB\nm10\t6\tdied d5\tB",
    )  # fmt: skip
    assert found.subjects == ("m2", "m10")
    assert found.groups == {"cage": ("A", "B")}
    np.testing.assert_array_equal(found.paths[0].x[:, 0], [100, 150])
    np.testing.assert_array_equal(found.paths[1].t, [0])
    assert said(found) == {"text read as missing (na)": 2}
    (repair,) = found.repairs
    assert (Path(repair.file or "").name, repair.row, repair.column) == ("mouse10.tsv", 2, "volume")


def test_workbook_with_real_dates_and_numbers_for_names(tmp_path):
    frame = pd.DataFrame({
        "Animal": [101, 101, 102, 102],
        "When": pd.to_datetime(["2022-01-01", "2022-01-15", "2022-01-03", "2022-01-31"]),
        "ALT": [30, 45.5, "<10", None],
        "AST": [20, 22, 25, 27],
        "gavage": [10, None, 10, 10],
    })  # fmt: skip
    with pd.ExcelWriter(tmp_path / "book.xlsx") as book:
        frame.to_excel(book, index=False, sheet_name="liver")
        pd.DataFrame({"notes": ["none"]}).to_excel(book, index=False, sheet_name="notes")
    found = study(
        tmp_path,
        {"table": "book.xlsx", "subject": "Animal", "time": {"column": "When", "unit": "week"},
         "channels": {"ALT": {"unit": "IU/L", "link": "log", "lloq": 10}, "AST": {"unit": "IU/L", "link": "log"}},
         "actions": {"gavage": {"unit": "mg/kg", "kind": "bolus"}}},
    )  # fmt: skip
    assert found.subjects == ("101", "102")
    np.testing.assert_array_equal(found.paths[0].t, [0, 2])
    np.testing.assert_array_equal(found.paths[1].x, np.float32([[10, 25], [nan, 27]]))
    assert given(found, "101") == [Entry(0, 10.0, 0.0, 0.0)]
    assert given(found, "102") == [Entry(0, 10.0, 0.0, 0.0), Entry(0, 10.0, 4.0, 4.0)]
    assert said(found) == {
        "sheets not read (only the first, 'liver', was)": 1,
        "left-censored cells read as their limit": 1,
        "blank dose cells read as 0": 1,
    }


def test_parquet_with_nullable_columns_timestamps_with_zone_and_no_action(tmp_path):
    frame = pd.DataFrame({
        "stay": pd.array([9, 9, 3], dtype="Int64"),
        "charttime": pd.to_datetime(["2150-01-01T00:30Z", "2150-01-01T00:00Z", "2150-01-02T00:00Z"]),
        "hr": pd.array([88, 92, 70], dtype="Int64"),
        "map": pd.array([65.5, None, 71], dtype="Float64"),
        "female": [True, True, False],
    })  # fmt: skip
    frame.to_parquet(tmp_path / "icu.parquet")
    found = study(
        tmp_path,
        {"table": "icu.parquet", "subject": "stay", "time": {"column": "charttime", "unit": "min"},
         "channels": {"hr": {"unit": "bpm", "low": 0, "high": 300}, "map": {"unit": "mmHg"}},
         "traits": {"female": {"unit": 1}}},
    )  # fmt: skip
    assert found.subjects == ("3", "9")
    np.testing.assert_array_equal(found.paths[1].t, [0, 30])
    np.testing.assert_array_equal(found.paths[1].x, np.float32([[92, nan], [88, 65.5]]))
    assert [p.traits.tolist() for p in found.paths] == [[0.0], [1.0]]
    assert found.spec.actions == ()
    assert said(found) == {"rows out of order in time, sorted": 1}


def test_gzipped_table_with_traits_ends_and_a_switch(tmp_path):
    text = (
        "who|month|viral load|on art|age|arm|status\n"
        "a|0|1e5|no|34|early|\na|1|2e3|yes|34|early|\na|2|<50|yes||early|alive\n"
        "b|0|4e4|yes|51.5|late|\nb|2|5e4|off|51.5|late|dead\n"
        "c|0|9e3|no|NA||\nc|1|8e3|no|NA||lost\n"
    )
    found = study(
        tmp_path,
        {"table": "hiv.csv.gz", "subject": "who", "time": {"column": "month", "unit": "month"},
         "channels": {"load": {"column": "viral load", "unit": "copies/mL", "link": "log", "floor": 50}},
         "actions": {"art": {"kind": "switch", "column": "on art"}},
         "traits": {"age": {"unit": "yr"}, "arm": {"kind": "category"}},
         "end": {"column": "status", "ended": ["dead"], "censored": ["lost"]}, "assignment": {"kind": "randomised"}},
        hiv__csv__gz=gzip.compress(text.encode()),
    )  # fmt: skip
    assert given(found, "a") == [Entry(0, 1.0, 1.0, 2.0, True)]
    assert given(found, "b") == [Entry(0, 1.0, 0.0, 2.0, True)]
    np.testing.assert_array_equal(found.paths[0].x[:, 0], np.float32([1e5, 2e3, 50]))
    assert found.spec.traits[1].levels == ("early", "late")
    np.testing.assert_array_equal(
        np.stack([p.traits for p in found.paths]), np.float32([[34, 1, 0], [51.5, 0, 1], [nan, nan, nan]])
    )
    assert [int(p.event) for p in found.paths] == [RUNNING, ENDED, CENSORED]


def test_long_events_with_boluses_infusions_and_an_open_end(tmp_path):
    found = study(
        tmp_path,
        {"table": "levels.csv", "subject": ["site", "no"], "time": {"column": "hour", "unit": "h"},
         "channels": {"glucose": {"unit": "mmol/L", "link": "log"}},
         "actions": {"insulin": {"unit": "IU", "kind": "bolus"}, "dextrose": {"unit": "g/h", "kind": "rate"}},
         "events": {"table": "doses.csv"}},
        levels__csv="site,no,hour,glucose\nX,1,0,9\nX,1,4,6\nX,1,8,5\nY,1,2,7\nY,1,5,7.5\n",
        doses__csv="site,no,action,dose,onset,stop\nX,1,insulin,4,1,\nX,1,dextrose,5,2,3.5\nX,1,dextrose,5,3.5,4\n"
        "X,1,insulin,4,1,\nY,1,dextrose,2,1,\nZ,9,insulin,1,0,\nX,1,dextrose,0,5,6\n",
    )  # fmt: skip
    assert found.subjects == ("X/1", "Y/1")
    assert given(found, "X/1") == [Entry(0, 4.0, 1.0, 1.0), Entry(1, 5.0, 2.0, 4.0)]
    # Started an hour before the first reading; with no stop, it runs to the last.
    assert given(found, "Y/1") == [Entry(1, 2.0, -1.0, 3.0)]
    assert said(found) == {
        "doses of subjects that have no readings, left out": 1,
        "exact duplicate rows dropped": 1,
        "doses without a stop held to the subject's last row": 1,
    }


def test_wide_events_with_american_dates_beside_a_dose_in_the_visits(tmp_path):
    found = study(
        tmp_path,
        {"table": "visits.csv", "subject": "pt", "time": {"column": "date", "unit": "d"},
         "channels": {"CA125": {"unit": "kIU/L", "link": "log"}}, "actions": {
             "carboplatin": {"unit": "mg/m2", "kind": "bolus", "column": "carbo"}, "olaparib": {"unit": "mg/d"},
             "aspirin": {"unit": "mg/d"}},
         "events": {"table": "therapy.csv", "subject": "patient", "time": "given on"}},
        visits__csv="pt,date,CA125,aspirin\nA,1/5/2020,500,100\nA,1/26/2020,300,100\nA,2/16/2020,120,100\n",
        therapy__csv="patient,given on,carbo,olaparib\nA,1/6/2020,300,\nA,1/27/2020,280,600\n",
    )  # fmt: skip
    assert given(found, "A") == [
        Entry(2, 100.0, 0.0, 42.0),
        Entry(0, 300.0, 1.0, 1.0),
        Entry(0, 280.0, 22.0, 22.0),
        Entry(1, 600.0, 22.0, 42.0),  # the last row of the events holds to the last visit
    ]


def test_plate_reader_replicates_with_composite_subjects_and_cells_a_well(tmp_path):
    table = (
        "drug\tuM\th\tconfluence\nX\t1\t0\t10\nX\t1\t0\t14\nX\t1\t24\t30\nX\t1\t24\t30\nX\t10\t0\t12\nX\t10\t24\t20\n"
    )
    config = {"table": "plate.tsv", "subject": ["drug", "uM"], "time": {"column": "h", "unit": "h"},
              "channels": {"confluence": {"unit": "%", "link": "logit", "low": 0, "high": 100}},
              "actions": {"uM": {"unit": "uM"}}, "duplicates": "mean"}  # fmt: skip
    found = study(tmp_path, config, plate__tsv=table)
    assert found.subjects == ("X/1", "X/10")
    np.testing.assert_array_equal(found.paths[0].x[:, 0], [12, 30])
    assert given(found, "X/10") == [Entry(0, 10.0, 0.0, 24.0)]
    assert said(found) == {"exact duplicate rows dropped": 1, "rows of one moment that differ (mean)": 2}

    every = study(tmp_path, config | {"duplicates": "replicate"}, plate__tsv=table)
    np.testing.assert_array_equal(every.paths[0].t, [0, 0, 24])
    np.testing.assert_array_equal(every.paths[0].x[:, 0], [10, 14, 30])
    assert given(every, "X/1") == [Entry(0, 1.0, 0.0, 24.0)]


def test_results_of_one_visit_on_several_lines_and_ragged_rows(tmp_path):
    found = study(
        tmp_path,
        {"table": "labs.csv", "subject": "id", "time": {"column": "t", "unit": "yr"},
         "channels": {"wbc": {"unit": "10^9/L", "link": "log"}, "crp": {"unit": "mg/L", "blank": 0}}},
        labs__csv="id,t,wbc,crp\n1,0,5.5\n1,0,,3\n1,1,6,,,\n",
    )  # fmt: skip
    np.testing.assert_array_equal(found.paths[0].x, np.float32([[5.5, 3], [6, 0]]))
    assert said(found) == {
        "rows with more or fewer than 4 cells evened out": 2,
        "rows of one moment joined": 2,
        "blank cells read as 0": 1,
    }


def test_blanks_between_columns_of_a_simulation_dump(tmp_path):
    found = study(
        tmp_path,
        {"table": "run.txt", "subject": "cell", "time": {"column": "t", "unit": "s"},
         "channels": {"ca": {"unit": "nmol/L"}}, "actions": {"stim": {"unit": "mV", "low": -100}}},
        run__txt="cell   t  ca     stim\n1    0.0  1.0e2  -50\n1    0.5  1.5e2  -50\n1    1.5  1.2e2  0\n",
    )  # fmt: skip
    np.testing.assert_array_equal(found.paths[0].t, [0, 0.5, 1.5])
    assert given(found, "1") == [Entry(0, -50.0, 0.0, 1.5)]


def test_frame_and_bare_table_take_the_same_way_as_a_study_file(tmp_path):
    config = {"subject": "id", "time": {"column": "t", "unit": "d"}, "channels": {"x": {"unit": "mg"}},
              "actions": {"u": {"unit": "mg/d", "blank": 0}}}  # fmt: skip
    frame = pd.DataFrame({"id": ["a", "a", "b"], "t": [0, 1.5, 2], "x": [1.0, nan, 3], "u": [2, nan, 0.0]})
    frame.to_csv(tmp_path / "table.csv", index=False)
    for found in (load(frame, config), load(tmp_path / "table.csv", config)):
        assert found.subjects == ("a", "b")
        assert given(found, "a") == [Entry(0, 2.0, 0.0, 1.5)]
        assert found.starts == (0.0, 2.0)
        assert found.repairs == ()  # the study says what a blank dose means
        assert found.spacing == 1.0


@pytest.mark.parametrize("where", ["beside", "argument", "variable"])
def test_a_table_is_found_beside_the_study_in_the_data_folder_or_in_the_variable(tmp_path, monkeypatch, where):
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    folder = tmp_path / "home" if where == "beside" else tmp_path / "data"
    (folder / "sub").mkdir(exist_ok=True)
    (folder / "sub" / "v.csv").write_text("id,t,x\n1,0,2\n")
    file = tmp_path / "home" / "s.yaml"
    file.write_text("table: sub/*.csv\nsubject: id\ntime: {column: t, unit: d}\nchannels: {x: {unit: mg}}\n")
    monkeypatch.delenv("BIOWM_DATA", raising=False)
    if where == "variable":
        monkeypatch.setenv("BIOWM_DATA", str(tmp_path / "data"))
    found = load(file, data=tmp_path / "data" if where == "argument" else None)
    assert found.config.study == "s"
    assert found.paths[0].x.tolist() == [[2.0]]


def test_a_number_below_the_limit_of_quantification_is_the_limit():
    table = pd.DataFrame({"who": ["a"] * 3, "day": [0, 1, 2], "x": [0.05, 0.4, 0.2]})
    channels = {"x": {"unit": "mg/L", "link": "log", "lloq": 0.2}}
    study = from_frame(table, {"subject": "who", "time": {"column": "day", "unit": "d"}, "channels": channels})
    np.testing.assert_allclose(study.paths[0].x[:, 0], [0.2, 0.4, 0.2], rtol=1e-6)
    assert said(study)["readings below the limit of quantification read as the limit"] == 1
