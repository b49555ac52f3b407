"""Exports of incubator microscopes, plate maps and events by condition, as laboratories write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from biowm.core.errors import BadInput
from biowm.core.schedule import entries
from biowm.data.locate import data_roots
from biowm.data.study import Study, load

METRIC = "Phase Object Confluence (Percent)"
WELLS = ("A1", "A2", "B1", "B2")
MAP = "line,1,2\nA,OVCAR3,OVCAR3\nB,OVCAR4,OVCAR4\n\nolaparib (nM),1,2\nA,0,300\nB,1 uM,30\n\n"
MAP += "condition,1,2\nA,c1,c2\nB,c1,c2\n"
STUDY: dict[str, Any] = {
    "table": "p1.txt",
    "layout": "plate",
    "plate_map": "map.csv",
    "subject": ["plate", "well"],
    "time": {"column": "Elapsed", "unit": "h"},
    "channels": {"confluence": {"column": METRIC, "unit": "percent", "link": "logit", "low": 0, "high": 100}},
    "actions": {"olaparib": {"unit": "uM", "high": 100}},
    "traits": {"line": {"kind": "category"}},
    "groups": {"plate": "plate", "condition": "condition"},
}


def export(
    start: str = "2019-05-13 18:15",
    vessel: str = "P1",
    metric: str = METRIC,
    wells: tuple[str, ...] = WELLS,
    hours: tuple[float, ...] = (0, 3, 6, 9),
    mark: str = "\t",
    level: float = 10.0,
) -> str:
    """An export as the instrument's software writes it: well k at hour h reads `level` + k + h."""
    above = [f"Vessel Name: {vessel}", f"Metric: {metric}", "Cell Type: OVCAR µ", "Analysis Job: test", ""]
    lines = [mark.join(["Date Time", "Elapsed", *wells])]
    for h in hours:
        date = f"{pd.Timestamp(start) + pd.Timedelta(hours=h):%d/%m/%Y %I:%M:%S %p}"
        lines.append(mark.join([date, f"{h:g}", *(f"{level + k + h:g}" for k in range(len(wells)))]))
    return "\n".join([*above, *lines]) + "\n"


def write(folder: Path, tables: dict[str, str], **changes: object) -> Path:
    for name, text in tables.items():
        (folder / name).write_bytes(text.encode("latin-1"))
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | changes))
    return folder / "study.yaml"


def read(folder: Path, tables: dict[str, str], **changes: object) -> Study:
    return load(write(folder, {"p1.txt": export(), "map.csv": MAP} | tables, **changes))


def doses(study: Study, subject: str) -> list[tuple[str, float, float, float]]:
    path = study.paths[study.subjects.index(subject)]
    return [(study.spec.actions[e.card].name, round(e.dose, 6), e.onset, e.stop) for e in entries(path.plan)]


def test_wells_become_subjects_with_what_the_map_says(tmp_path: Path):
    study = read(tmp_path, {})
    assert study.subjects == ("P1/A1", "P1/A2", "P1/B1", "P1/B2")
    for k, path in enumerate(study.paths):
        np.testing.assert_array_equal(np.asarray(path.t), [0, 3, 6, 9])
        np.testing.assert_array_equal(np.asarray(path.x)[:, 0], [10 + k, 13 + k, 16 + k, 19 + k])
    assert study.spec.traits[0].levels == ("OVCAR3", "OVCAR4")
    assert study.groups["condition"] == ("c1", "c2", "c1", "c2")
    assert doses(study, "P1/A1") == []
    assert doses(study, "P1/A2") == [("olaparib", 0.3, 0.0, 9.0)]  # 300 nM by the header of its grid
    assert doses(study, "P1/B1") == [("olaparib", 1.0, 0.0, 9.0)]  # 1 uM by its cell
    assert "Windows-1252" in str(study.repairs[0])


@pytest.mark.parametrize("mark", ["\t", ",", ";"])
def test_separators_and_encodings(tmp_path: Path, mark: str):
    one = read(tmp_path, {"p1.txt": export(mark=mark)})
    (tmp_path / "p1.txt").write_text("﻿" + export(mark=mark), encoding="utf-8")
    other = load(tmp_path / "study.yaml")
    for a, b in zip(one.paths, other.paths, strict=True):
        np.testing.assert_array_equal(a.x, b.x)
    assert len(one.repairs) == 1
    assert not other.repairs


def test_books_of_sheets_and_a_tidy_map_read_the_same(tmp_path: Path):
    """One sheet a plate, a tidy map with agent, dose and unit, two agents in one well."""
    tidy = "plate,well,line,condition,agent,dose,unit\n" + "".join(
        f"{p},{w},OVCAR3,c1,{a},{d},{u}\n"
        for p, w, a, d, u in [
            ("S1", "A01", "olaparib", 300, "nM"), ("S1", "A01", "gemcitabine", 2, "nM"), ("S1", "A2", "", "", ""),
            ("S2", "A1", "gemcitabine", "0.5", "uM"), ("S2", "a2", "olaparib", 4, "uM"),
        ]
    )  # fmt: skip
    with pd.ExcelWriter(tmp_path / "both.xlsx") as book:
        for k, sheet in enumerate(("S1", "S2")):
            lines = export(vessel="", metric="Count", wells=("A1", "A2"), level=10.0 + 50 * k).split("\n")
            cells = pd.DataFrame([line.split("\t") for line in lines])
            cells.to_excel(book, sheet_name=sheet, header=False, index=False)
        pd.DataFrame([["nothing", "here"]]).to_excel(book, sheet_name="notes", header=False, index=False)
    actions = {"olaparib": {"unit": "uM"}, "gemcitabine": {"unit": "nmol/L"}}
    channels = {"n": {"column": "Count", "unit": "cells", "link": "log"}}
    study = read(tmp_path, {"map.csv": tidy}, table="both.xlsx", actions=actions, channels=channels)
    assert study.subjects == ("S1/A1", "S1/A2", "S2/A1", "S2/A2")
    assert float(study.paths[2].x[0, 0]) == 60.0
    assert doses(study, "S1/A1") == [("gemcitabine", 2.0, 0.0, 9.0), ("olaparib", 0.3, 0.0, 9.0)]
    assert doses(study, "S1/A2") == []
    assert doses(study, "S2/A1") == [("gemcitabine", 500.0, 0.0, 9.0)]
    assert any("sheets without a header of wells" in str(r) and "notes" in str(r) for r in study.repairs)


def test_metrics_of_one_plate_are_channels_of_one_well(tmp_path: Path):
    both = {"p1.txt": export(), "p2.txt": export(metric="Red Count", level=100.0)}
    channels = STUDY["channels"] | {"red": {"column": "Red Count", "unit": "1", "link": "log"}}
    study = read(tmp_path, both, table="p*.txt", channels=channels)
    assert len(study.subjects) == 4
    np.testing.assert_array_equal(study.paths[1].x, [[11 + h, 101 + h] for h in (0, 3, 6, 9)])


def test_images_of_a_well_and_standard_errors(tmp_path: Path):
    wells = (": A1, Image 1", ": A1, Image 2", "OVCAR3 5K / well (B1)", "A1 (Std Err Well)")
    one = {"p1.txt": export(wells=wells), "map.csv": "line,1\nA,x\nB,y\n"}
    by_well = {"groups": {"well": "well"}, "split": {"by": "well"}, "actions": {}}
    study = read(tmp_path, one, subject=["well", "image"], **by_well)
    assert study.subjects == ("A1/1", "A1/2", "B1/1")
    assert study.groups["well"] == ("A1", "A1", "B1")
    assert [float(p.x[0, 0]) for p in study.paths] == [10.0, 11.0, 12.0]
    with pytest.raises(BadInput, match=r"row 7, well : A1, Image 2.*same subject and time"):
        read(tmp_path, one, subject="well", **by_well)
    mean = read(tmp_path, one, subject="well", duplicates="mean", **by_well)
    assert float(mean.paths[0].x[0, 0]) == 10.5


def test_a_data_frame_is_a_plate_too():
    frame = pd.DataFrame({"Elapsed": [0.0, 1.0], "A1": [1.0, 2.0], "A2": [3.0, 4.0]})
    study = load(
        frame, {k: STUDY[k] for k in ("layout", "time")} | {"subject": "well", "channels": {"value": {"unit": "1"}}}
    )
    assert study.subjects == ("A1", "A2")
    np.testing.assert_array_equal(study.paths[1].x, [[3.0], [4.0]])


EVENTS = {"table": "events.csv", "by": "condition", "action": "agent", "onset": "t_start", "stop": "t_end"}
PULSES = "condition,t_start,t_end,agent,dose,unit\nc1,0,6,oxygen,2,percent\nc1,6,,oxygen,21,percent\n"
PULSES += "c2,3,,radiation,200,cGy\nc2,6,,radiation,4,Gy\n"
GIVEN = {"oxygen": {"unit": "percent", "high": 21}, "radiation": {"unit": "Gy", "kind": "bolus"}}


def test_events_of_a_condition_are_of_all_its_wells(tmp_path: Path):
    study = read(tmp_path, {"events.csv": PULSES}, events=EVENTS, actions=STUDY["actions"] | GIVEN)
    switch = [("oxygen", 2.0, 0.0, 6.0), ("oxygen", 21.0, 6.0, 9.0)]
    assert [d for d in doses(study, "P1/A1") if d[0] != "olaparib"] == switch
    assert [d for d in doses(study, "P1/B1") if d[0] != "olaparib"] == switch
    fractions = [("radiation", 2.0, 3.0, 3.0), ("radiation", 4.0, 6.0, 6.0)]
    assert [d for d in doses(study, "P1/B2") if d[0] != "olaparib"] == fractions


def test_a_map_that_we_print_is_read_back(tmp_path: Path):
    """`biowm plan --plate-map` names every well; those of role empty are not in use."""
    printed = "plate,well,row,column,set,doses,role,replicate,context,rank\n"
    printed += "1,A1,A,1,,,control,1,,\n1,A2,A,2,x,x=1,sample,1,,1\n1,A3,A,3,,,empty,,,\n"
    study = read(
        tmp_path, {"p1.txt": export(vessel="1", wells=("A1", "A2")), "map.csv": printed},
        actions={}, traits={"role": {"kind": "category"}}, groups={},
    )  # fmt: skip
    assert study.spec.traits[0].levels == ("control", "sample")


BAD = {
    "no header": ({"p1.txt": "a\tb\n1\t2\n"}, {}, ("p1.txt", "'Elapsed'", "wells such as A1")),
    "well twice": (
        {"p1.txt": export(wells=("A1", "A2", "A01"))}, {},
        ("p1.txt", "row 6", "column A1", "well A1 in 2 columns", "each well once"),
    ),
    "map misses a well": (
        {"map.csv": "line,1,2\nA,x,x\nB,y\n"}, {},
        ("p1.txt", "row 7, well B2", "well B2", "map.csv misses", "every well that was read"),
    ),
    "well that was not read": (
        {"map.csv": MAP.replace("A,OVCAR3,OVCAR3", "A,OVCAR3,OVCAR3,OVCAR3").replace("line,1,2", "line,1,2,3")}, {},
        ("map.csv", "row of well A3", "column well", "well A3", "p1.txt never read"),
    ),
    "dose in an unknown unit": (
        {"map.csv": MAP.replace("1 uM", "1 uX")}, {},
        ("map.csv", "row 7, well B1", "column olaparib (nM)", "'1 uX'", "a unit like uM", "unknown unit"),
    ),
    "dose in another dimension": (
        {"map.csv": MAP.replace("(nM)", "(mg)")}, {}, ("map.csv", "row 6, well A1", "'0'", "unit mismatch", "'mg'"),
    ),
    "dose that is no number": (
        {"map.csv": MAP.replace("1 uM", "much")}, {},
        ("map.csv", "row 7, well B1", "column olaparib", "'much'", "a number"),
    ),
    "dose out of range": (
        {"map.csv": MAP.replace("1 uM", "101 uM")}, {},
        ("map.csv", "row of well B1", "column olaparib", "'101.0'", "at most 100 uM"),
    ),
    "well twice in the map": (
        {"map.csv": "well,line\nA1,x\nA2,x\nA01,y\n"}, {},
        ("map.csv", "row 4", "column well", "well A1 again (first in row 2)"),
    ),
    "no well": ({"map.csv": "well,line\nA1,x\nfirst,y\n"}, {}, ("map.csv", "row 3", "'first'", "a well such as B7")),
    "grid without a name": ({"map.csv": ",1,2\nA,x,x\nB,y,y\n"}, {}, ("map.csv", "row 1", "without a name")),
    "unknown agent": (
        {"map.csv": "well,agent,dose,unit\nA1,olaparip,1,uM\n"}, {},
        ("map.csv", "row 2, well A1", "column agent", "did you mean 'olaparib'?"),
    ),
    "two clocks": (
        {"p1.txt": export(), "p2.txt": export("2019-05-13 19:10", metric="Red Count")}, {"table": "p*.txt"},
        ("p2.txt", "row 7, well A1", "column Elapsed", "2019-05-13 19:10", "p1.txt", "2019-05-13 18:15", "one clock"),
    ),
    "reading out of range": (
        {"p1.txt": export(level=90.0)}, {},
        ("p1.txt", "row 10, well B1", f"column {METRIC}", "found '101'", "at most 100 percent"),
    ),
    "event in an unknown unit": (
        {"events.csv": PULSES.replace("cGy", "rads per go")}, {"events": EVENTS, "actions": STUDY["actions"] | GIVEN},
        ("events.csv", "row 4", "column unit", "a unit like Gy"),
    ),
    "events of nobody": (
        {"events.csv": PULSES.replace("c1", "d1").replace("c2", "d2")},
        {"events": EVENTS, "actions": STUDY["actions"] | GIVEN},
        ("events.csv", "row 2", "column condition", "'d1'", "such as ['c1']"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, case: str):
    tables, changes, parts = BAD[case]
    with pytest.raises(BadInput) as error:
        read(tmp_path, tables, **changes)
    said = str(error.value)
    assert "\n" not in said
    assert not [part for part in parts if part not in said], said


def test_other_plates_may_have_other_clocks_and_dates_settle_which_way_they_are_read(tmp_path: Path):
    """03/04 then 04/04: only day first agrees with the hours; a plate of another day has its own start."""
    one = export("2019-04-03 12:00", hours=(0, 12, 24))
    two = export("2019-04-09 01:00", vessel="P2", hours=(0, 12, 24))
    study = read(tmp_path, {"p1.txt": one, "p2.txt": two}, table="p*.txt")
    assert len(study.subjects) == 8
    assert not any("drift" in str(r) for r in study.repairs)
    moved = one.replace("04/04/2019 12:00:00 PM", "04/04/2019 03:00:00 PM")  # three hours of twelve are too many
    study = read(tmp_path, {"p1.txt": moved, "p2.txt": two}, table="p*.txt")
    drift = [str(r) for r in study.repairs if "drift" in str(r)]
    assert len(drift) == 1
    assert "p1.txt, row 9, well A1" in drift[0]
    np.testing.assert_array_equal(study.paths[0].t, [0, 12, 24])


def test_two_clocks_are_one_by_their_dates(tmp_path: Path):
    """What the message of disagreeing clocks says to do; the second instrument began 55 minutes later."""
    both = {"p1.txt": export(), "p2.txt": export("2019-05-13 19:10", metric="Red Count", level=100.0)}
    channels = STUDY["channels"] | {"red": {"column": "Red Count", "unit": "1", "link": "log"}}
    clock = {"column": "Date Time", "unit": "h", "format": "%d/%m/%Y %I:%M:%S %p"}
    study = read(tmp_path, both, table="p*.txt", channels=channels, time=clock)
    assert len(study.subjects) == 4
    np.testing.assert_allclose(study.paths[0].t, np.sort([*range(0, 12, 3), *(h + 55 / 60 for h in range(0, 12, 3))]))


def test_a_decimal_comma_is_read_in_times_too(tmp_path: Path):
    comma = export(mark=";", hours=(0, 0.5, 1.5)).replace(".", ",")
    late = export("2019-05-14 18:15", metric="Red Count", mark=";", hours=(0, 0.5)).replace(".", ",")
    study = read(tmp_path, {"p1.txt": comma, "map.csv": MAP.replace("1 uM", '"0,5 uM"')})
    assert [round(d[1], 6) for d in doses(study, "P1/B1") + doses(study, "P1/A2")] == [0.5, 0.3]
    np.testing.assert_array_equal(study.paths[0].t, [0, 0.5, 1.5])
    with pytest.raises(BadInput, match=r"2019-05-14 18:15.*one clock"):
        read(tmp_path, {"p1.txt": comma, "p2.txt": late}, table="p*.txt")


def test_each_plate_has_the_map_that_is_named_after_it(tmp_path: Path):
    plates = {"p1.txt": export(), "p2.txt": export(vessel="P2")}
    maps = {"P1.csv": "line,1,2\nA,x,x\nB,y,y\n", "P2.csv": "line,1,2\nA,z,z\nB,z,z\n"}
    study = read(tmp_path, plates | maps, table="p*.txt", plate_map="P?.csv", groups={"line": "line"}, actions={})
    assert study.groups["line"] == ("x", "x", "y", "y", "z", "z", "z", "z")
    with pytest.raises(BadInput, match=r"p2\.txt, row 7, well A1.*well A1 of plate P2, which the plate map"):
        read(tmp_path, plates | {"P2.csv": "line,1,2\nB,z,z\n"}, table="p*.txt", plate_map="P?.csv", actions={})


def test_a_split_by_group_keeps_wells_of_a_donor_together(tmp_path: Path):
    from biowm.data.splits import split

    study = read(
        tmp_path,
        {"map.csv": MAP + "\ndonor,1,2\nA,d1,d2\nB,d1,d2\n"},
        groups={"donor": "donor"},
        split={"by": "donor", "test": 0.5, "calibrate": 0},
    )
    parts = split(study, seed=0)
    assert {tuple(study.groups["donor"][i] for i in part) for part in (parts.train, parts.test)} == {
        ("d1",) * 2,
        ("d2",) * 2,
    }


def test_text_is_no_place_for_a_book(tmp_path: Path):
    (tmp_path / "p1.xlsx").write_bytes(b"nothing")
    with pytest.raises(BadInput, match=r"p1\.xlsx"):
        read(tmp_path, {}, table="p1.xlsx")


def test_real_wells_read_the_same_from_their_plate_as_from_a_long_table(tmp_path: Path):
    """Olaparib on OVCAR3 at low density (Strobl et al. 2024): its long table, and an export and a map made of it."""
    found = [root / "tissue/parpi_schedules/continuousTreatmentDf_cleaned.csv" for root in data_roots()]
    file = next((f for f in found if f.is_file()), None)
    if file is None:
        pytest.skip("the olaparib table is not here")
    long = pd.read_csv(file).query("CellLine == 'OVCAR3' and SeedingDensity == 'lowDensity'")
    wide = long.pivot(index=["Date", "Time"], columns="WellId", values="Confluence").sort_index(level="Time")
    wide.reset_index().rename(columns={"Date": "Date Time", "Time": "Elapsed"}).to_csv(tmp_path / "e.csv", index=False)
    wells = long.drop_duplicates("WellId")
    wells = wells.assign(drug=1000 * wells["DrugConcentration"], unit="nM", agent="olaparib").sort_values("drug")
    tidy = wells[["WellId", "ReplicateId", "agent", "drug", "unit"]]
    tidy.columns = pd.Index(["well", "replicate", "agent", "dose", "unit"])
    tidy.to_excel(tmp_path / "map.xlsx", index=False)
    channel = {"unit": "%", "link": "logit", "low": 0, "high": 100}
    actions = {"olaparib": {"unit": "uM"}}
    plate = load(
        tmp_path / "e.csv",
        {
            "layout": "plate", "plate_map": str(tmp_path / "map.xlsx"), "subject": "well",
            "time": {"column": "Elapsed", "unit": "d"}, "channels": {"c": channel | {"column": "value"}},
            "actions": actions, "groups": {"replicate": "replicate"},
        },
    )  # fmt: skip
    table = load(
        long,
        {
            "subject": "WellId", "time": {"column": "Time", "unit": "d"},
            "channels": {"c": channel | {"column": "Confluence"}},
            "actions": {"olaparib": {"unit": "uM", "column": "DrugConcentration"}},
        },
    )  # fmt: skip
    assert len(plate.subjects) == 18
    assert plate.subjects == table.subjects
    for a, b, name in zip(plate.paths, table.paths, plate.subjects, strict=True):
        np.testing.assert_array_equal(a.t, b.t)
        np.testing.assert_array_equal(a.x, b.x)
        assert doses(plate, name) == doses(table, name)
    assert len(set(plate.groups["replicate"])) == 3
