"""Every fault of a study or its table is one message with the place, what was found and what was expected."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import yaml

from biowm.core.errors import BadInput
from biowm.data.study import load

CONFIG = {
    "table": "visits.csv",
    "subject": "id",
    "time": {"column": "day", "unit": "d"},
    "channels": {"psa": {"unit": "ng/mL", "low": 0, "high": 1000}},
    "actions": {"cpa": {"unit": "mg/d", "high": 300}},
}
TABLE = "id,day,psa,cpa\n1,0,5,100\n1,7,4,100\n2,0,9,0\n2,7,8,0\n"


def fault(tmp_path: Path, text: str = TABLE, doses: str | None = None, **changes: object) -> str:
    """The message for a study that differs from a good one as given."""
    (tmp_path / "visits.csv").write_text(text, encoding="utf-8")
    if doses is not None:
        (tmp_path / "doses.csv").write_text(doses, encoding="utf-8")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(CONFIG | changes), encoding="utf-8")
    with pytest.raises(BadInput) as caught:
        load(tmp_path / "study.yaml")
    return str(caught.value)


def names(message: str, *parts: str) -> None:
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in: {message}"


def test_the_good_study_is_good(tmp_path):
    (tmp_path / "visits.csv").write_text(TABLE)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(CONFIG))
    assert load(tmp_path / "study.yaml").subjects == ("1", "2")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"chanels": {}}, ("unknown key 'chanels'", "did you mean 'channels'?")),
        ({"channels": {"psa": {"unit": "ng/mL", "linc": "log"}}}, ("key channels.psa", "'linc'", "'link'")),
        ({"channels": {"psa": {"unit": "ng/mLL"}}}, ("key channels.psa.unit", "'ng/mLL'", "unknown unit")),
        ({"channels": {"psa": {"unit": "U/L"}}}, ("key channels.psa.unit", "bare 'U'", "IU")),
        ({"channels": {"psa": {}}}, ("channels.psa.unit", "required")),
        ({"channels": {}}, ("key channels", "at least 1")),
        ({"channels": {"psa": {"unit": "1", "link": "ordered"}}}, ("channels.psa.link", "below: CHANNEL", "logit")),
        ({"channels": {"psa": {"unit": "1", "link": "ordinal"}}}, ("channels.psa", "low and high")),
        ({"channels": {"psa": {"unit": "1", "link": "ordinal", "low": 0, "high": 9, "resolution": 2}}},
         ("channels.psa", "levels 2 apart from 0", "high 9")),
        ({"channels": {"psa": {"unit": "1", "below": "cpa"}}}, ("psa below 'cpa'", "expected another channel")),
        ({"channels": {"psa": {"unit": "1", "link": "ordinal", "low": 0, "high": 10, "resolution": 2}}},
         ("visits.csv", "row 2", "column psa", "found '5'", "from 0 to 10 in steps of 2")),
        ({"channels": {"day": {"unit": "1", "below": "psa"}, "psa": {"unit": "1"}}},
         ("visits.csv", "row 3", "column day", "found 7", "at most psa, 4")),
        ({"channels": {"psa": {"unit": "1", "link": "logit"}}}, ("channels.psa", "low and high")),
        ({"channels": {"psa": {"unit": "1", "low": 2, "high": 1}}}, ("channels.psa", "not below")),
        ({"channels": {"psa": {"unit": "1", "low": "abc"}}}, ("channels.psa.low", "'abc'", "number")),
        ({"actions": {"cpa": {"kind": "rate"}}}, ("actions.cpa", "expected a unit")),
        ({"actions": {"cpa": {"unit": "U", "kind": "bolus"}}}, ("actions.cpa.unit", "bare 'U'", "U_insulin")),
        ({"actions": {"cpa": {"unit": "U_insulin"}}}, ("actions.cpa", "kind: rate in 'U_insulin'", "'U_insulin/h'")),
        ({"actions": {"cpa": {"unit": "pmol"}}}, ("actions.cpa", "kind: rate in 'pmol'", "'pmol/h'")),
        ({"actions": {"cpa": {"unit": "U_insulin/h", "kind": "bolus"}}},
         ("actions.cpa", "kind: bolus in 'U_insulin/h'", "expected an amount")),
        ({"actions": {"cpa": {"unit": "U/h", "kind": "rate"}}}, ("actions.cpa.unit", "bare 'U'", "U_insulin")),
        ({"actions": {"cpa": {"kind": "motion", "unit": "mm"}}}, ("actions.cpa.kind", "not built yet")),
        ({"actions": {"psa": {"unit": "mg/d"}}}, ("psa", "one name for two things")),
        ({"time": {"column": "day", "unit": "mg"}}, ("key time.unit", "'mg'", "expected d, h")),
        ({"horizons": ["90 mg"]}, ("unit mismatch", "'mg'", "'d'")),
        ({"horizons": ["soon"]}, ("horizon", "'soon'", "28 d")),
        ({"regime": "cloud"}, ("regime cloud", "a screen of cells", "regime: path")),
        ({"control": {"obs": "x"}}, ("control", "screens of cells", "regime: cloud")),
        ({"format": "h5ad"}, ("key format", "screens of cells", "regime: cloud")),
        ({"format": "meds"}, ("visits.csv", "found a file", "a MEDS folder")),
        ({"split": {"by": "clinic"}}, ("split.by 'clinic'", "subject")),
        ({"split": {"test": 0.6, "calibrate": 0.5}}, ("key split", "nothing to train on")),
        ({"traits": {"age": {}}}, ("key traits.age", "unit")),
        ({"table": "visitors.csv"}, ("'visitors.csv'", "BIOWM_DATA", "--data", "study.yaml")),
        ({"time": {"column": "date", "unit": "d"}}, ("visits.csv", "column date", "there are: id, day, psa, cpa")),
        ({"subject": "patient"}, ("visits.csv", "column patient")),
        ({"channels": {"PSA": {"unit": "ng/mL"}}}, ("visits.csv", "column PSA", "did you mean 'psa'?")),
        ({"actions": {"leu": {"unit": "mg/d"}}}, ("visits.csv", "column leu")),
        ({"end": {"column": "cpa", "ended": ["dead"]}}, ("column cpa", "found only 0, 100", "expected one of dead")),
    ],
)  # fmt: skip
def test_the_study_file(tmp_path, change, parts):
    names(fault(tmp_path, **change), *parts)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("2,14,high,0", ("row 6", "column psa", "found 'high'", "a number", "na")),
        ('2,14,"1,234",0', ("row 6", "column psa", "found '1,234'", "one decimal mark")),
        ("2,14,4000,0", ("row 6", "column psa", "found '4000'", "at most 1000 ng/mL")),
        ("2,14,-1,0", ("row 6", "column psa", "found '-1'", "at least 0 ng/mL")),
        ("2,14,inf,0", ("row 6", "column psa", "found 'inf'", "a number")),
        ("2,14,7,-5", ("row 6", "column cpa", "found '-5'", "at least 0 mg/d")),
        ("2,14,7,301", ("row 6", "column cpa", "found '301'", "at most 300 mg/d")),
        ("2,14,7,<1", ("row 6", "column cpa", "found '<1'", "a number")),
        ("2,7,8.5,0", ("row 6", "column psa", "8.5", "row 5", "which says 8", "duplicates: replicate")),
        ("2,7,8,50", ("row 6", "column cpa", "50", "row 5", "duplicates")),
        ("2,,8,0", ("row 6", "column day", "empty cell", "a time in d")),
        ("2,soon,8,0", ("row 6", "column day", "found 'soon'", "a number")),
        (",14,8,0", ("row 6", "column id", "empty cell", "subject")),
        ("3,0,,50", ("row 6", "column id", "subject '3'", "reading of psa", "empty: drop")),
        ("2,14,7,0,surprise", ("row 6", "5 cells", "'surprise'", "expected 4")),
    ],
)  # fmt: skip
def test_a_cell(tmp_path, line, parts):
    names(fault(tmp_path, TABLE + line + "\n"), "visits.csv", *parts)


def test_the_row_is_the_one_a_person_sees_past_blank_and_quoted_lines(tmp_path):
    names(fault(tmp_path, 'id,day,psa,cpa\n\n1,0,5,"0"\n\n\n1,7,oops,0\n'), "row 6", "'oops'")


def test_a_headerless_file_among_many_is_named_with_its_own_row(tmp_path):
    (tmp_path / "p1.csv").write_text("1,0,5,0\n1,7,5,0\n")
    (tmp_path / "p2.csv").write_text("2,0,5,0\n2,7,bad,0\n")
    (tmp_path / "study.yaml").write_text(
        yaml.safe_dump(CONFIG | {"table": "p?.csv", "columns": ["id", "day", "psa", "cpa"]})
    )
    with pytest.raises(BadInput) as caught:
        load(tmp_path / "study.yaml")
    names(str(caught.value), "p2.csv", "row 2", "column psa", "'bad'")


def test_a_file_without_a_column_that_the_others_have_is_named(tmp_path):
    (tmp_path / "p1.csv").write_text("id,day,psa,cpa\n1,0,5,0\n")
    (tmp_path / "p2.csv").write_text("id,day,PSA,cpa\n2,0,5,0\n")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(CONFIG | {"table": "p?.csv"}))
    with pytest.raises(BadInput) as caught:
        load(tmp_path / "study.yaml")
    names(str(caught.value), "p2.csv", "column psa", "did you mean 'PSA'?")


def test_channel_without_a_number(tmp_path):
    names(fault(tmp_path, "id,day,psa,cpa\n1,0,,1\n1,1,NA,1\n"), "visits.csv", "column psa", "no number in any row")


def test_empty_tables(tmp_path):
    names(fault(tmp_path, "id,day,psa,cpa\n"), "visits.csv", "no row of data")
    names(fault(tmp_path, ""), "visits.csv", "empty file")


def test_subject_in_two_splits(tmp_path):
    table = "id,day,psa,cpa,part\n1,0,5,0,train\n1,7,5,0,test\n"
    message = fault(tmp_path, table, split={"column": "part"})
    names(message, "visits.csv", "row 3", "column part", "subject '1'", "one split")
    names(fault(tmp_path, table.replace("test", "exam"), split={"column": "part"}), "row 3", "'exam'", "calibrate")


def test_trait_and_group_that_change(tmp_path):
    table = "id,day,psa,cpa,age,site\n1,0,5,0,50,A\n1,7,5,0,51,B\n"
    names(fault(tmp_path, table, traits={"age": {"unit": "yr"}}), "row 3", "column age", "subject '1'", "50", "51")
    names(fault(tmp_path, table, groups={"site": "site"}), "row 3", "column site", "one site")


def test_missing_group_is_refused_only_where_the_split_needs_it(tmp_path):
    table = "id,day,psa,cpa,site\n1,0,5,0,A\n2,0,5,0,\n"
    names(fault(tmp_path, table, groups={"site": "site"}, split={"by": "site"}), "row 3", "column site", "subject '2'")


def test_dates_that_can_be_read_two_ways(tmp_path):
    table = "id,day,psa,cpa\n1,03/04/2020,5,0\n1,05/06/2020,5,0\n"
    names(fault(tmp_path, table), "row 2", "column day", "'03/04/2020'", "time.format", "%d/%m/%Y", "%m/%d/%Y")
    table = table.replace("05/06", "31/12").replace("03/04/2020", "13/13/2020")
    names(fault(tmp_path, table), "row 2", "column day", "'13/13/2020'")
    names(fault(tmp_path, table, time={"column": "day", "unit": "d", "format": "%d/%m/%Y"}), "row 2", "'%d/%m/%Y'")
    names(fault(tmp_path, "id,day,psa,cpa\n1,20200131,5,0\n1,20200201,5,0\n"), "row 2", "'20200131'", "format")


ZONED = "id,day,psa\n1,2020-01-01T00:00+01:00,5\n1,2020-01-08T00:00+02:00,4\n"


def test_dates_of_which_only_some_say_a_time_zone(tmp_path):
    names(
        fault(tmp_path, ZONED.replace("+02:00", ""), actions={}),
        "row 3",
        "column day",
        "'2020-01-08T00:00'",
        "a time zone",
    )
    names(
        fault(tmp_path, ZONED.replace("+01:00", ""), actions={}),
        "row 3",
        "column day",
        "+02:00'",
        "no time zone, as in the rows",
    )
    doses = "id,day,cpa\n1,2020-01-01,4\n"
    message = fault(tmp_path, ZONED, doses, events={"table": "doses.csv"})
    names(message, "doses.csv", "column day", "found dates without a time zone", "expected dates with a time zone")


def test_two_time_zones_are_one_clock(tmp_path):
    (tmp_path / "visits.csv").write_text(ZONED)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(CONFIG | {"actions": {}}))
    assert load(tmp_path / "study.yaml").paths[0].t[1] == pytest.approx(7 - 1 / 24)


def test_times_too_close_for_the_length_of_a_path(tmp_path):
    names(fault(tmp_path, "id,day,psa,cpa\n1,0,5,0\n1,1e9,4,0\n1,1000000001,5,0\n"), "row 4", "column day", "1 d after")


@pytest.mark.parametrize(
    ("doses", "parts"),
    [
        ("id,action,dose,onset,stop\n1,cpb,1,0,1\n", ("row 2", "column action", "'cpb'", "did you mean 'cpa'?")),
        ("id,action,dose,onset,stop\n1,cpa,,0,1\n", ("row 2", "column dose", "a dose of cpa in mg/d")),
        ("id,action,dose,onset,stop\n1,cpa,400,0,1\n", ("row 2", "column dose", "'400'", "at most 300")),
        ("id,action,dose,onset,stop\n1,cpa,-4,0,1\n", ("row 2", "column dose", "found '-4'", "at least 0 mg/d")),
        ("id,day,cpa\n1,0,-4\n", ("doses.csv", "row 2", "column cpa", "found '-4'", "at least 0 mg/d")),
        ("id,action,dose,onset,stop\n1,cpa,4,2,1\n", ("row 2", "column stop", "'1'", "not before its onset")),
        ("id,action,dose,onset,stop\n1,cpa,4,2020-01-01,\n", ("column onset", "found dates", "expected numbers")),
        ("id,action,onset,stop\n1,cpa,0,1\n", ("column dose", "there are: id, action, onset, stop")),
        ("id,day,xyz\n1,0,4\n", ("doses.csv", "column cpa")),
        ("id,day,cpa\n1,0,4\n1,0,5\n", ("doses.csv", "row 3", "column cpa", "5", "row 2", "4")),
    ],
)
def test_the_events_table(tmp_path, doses, parts):
    table = "id,day,psa\n1,0,5\n1,7,4\n"
    names(fault(tmp_path, table, doses, events={"table": "doses.csv"}), "doses.csv", *parts)


def test_an_action_recorded_twice(tmp_path):
    message = fault(tmp_path, TABLE, "id,day,cpa\n1,0,4\n", events={"table": "doses.csv"})
    names(message, "doses.csv", "column cpa", "both tables")


def test_yaml_faults_name_the_line(tmp_path):
    file = tmp_path / "study.yaml"
    for text, parts in {
        "table: a.csv\ntable: b.csv\n": ("row 2", "'table' is written twice"),
        "table: [a\nsubject: id\n": ("row", "valid YAML"),
        "- a\n- b\n": ("the file", "expected a block"),
    }.items():
        file.write_text(text)
        with pytest.raises(BadInput) as caught:
            load(file)
        names(str(caught.value), "study.yaml", *parts)
    with pytest.raises(BadInput, match=r"nowhere\.yaml"):
        load(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("name", ["book.xlsx", "table.parquet", "table.csv.gz"])
def test_a_file_that_is_not_what_its_name_says(tmp_path, name):
    (tmp_path / name).write_bytes(b"\x1f\x8bnot at all" if name.endswith("gz") else b"not at all")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(CONFIG | {"table": name}))
    with pytest.raises(BadInput, match=name):
        load(tmp_path / "study.yaml")


def test_words_that_yaml_takes_for_truth_stay_names(tmp_path):
    (tmp_path / "visits.csv").write_text("no,day,on\n1,0,5\n1,1,6\n")
    (tmp_path / "study.yaml").write_text(
        "table: visits.csv\nsubject: no\ntime: {column: day, unit: d}\nchannels:\n  on: {unit: mg}\n"
    )
    assert load(tmp_path / "study.yaml").spec.channels[0].name == "on"


def test_a_frame_names_its_index(tmp_path):
    frame = pd.DataFrame({"id": [1, 1], "day": [0, 1], "psa": [1.0, 5000.0], "cpa": [0, 0]}, index=["first", "second"])
    with pytest.raises(BadInput) as caught:
        load(frame, {k: v for k, v in CONFIG.items() if k != "table"})
    names(str(caught.value), "data frame", "row second", "column psa", "at most 1000")
