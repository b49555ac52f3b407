"""NONMEM tables: what their rows say becomes readings and doses; what they cannot mean is refused with its place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from biowm.core.errors import BadInput
from biowm.core.schedule import Entry, entries
from biowm.data import nonmem_records
from biowm.data.config import StudyConfig
from biowm.data.nonmem_doses import STEADY
from biowm.data.report import describe
from biowm.data.study import Study, from_frame, load
from biowm.data.tables import Table

nan = np.nan


def f32(rows: list) -> np.ndarray:
    return np.array(rows, np.float32)


STUDY = {
    "format": "nonmem",
    "table": "pk.csv",
    "subject": "ID",
    "time": {"column": "TIME", "unit": "h"},
    "channels": {"conc": {"unit": "mg/L", "link": "log", "low": 0, "floor": 0.01}},
    "actions": {"dose": {"unit": "mg", "kind": "bolus", "high": 1000}, "drip": {"unit": "mg/h", "kind": "rate"}},
}
TABLE = "ID TIME DV AMT RATE EVID MDV\n1 0 . 100 0 1 1\n1 1 5 . . 0 0\n1 4 2 . . 0 0\n"


def study(tmp_path: Path, text: str, **changes: object) -> Study:
    (tmp_path / "pk.csv").write_text(text)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | changes, sort_keys=False))
    return load(tmp_path / "study.yaml")


def fault(tmp_path: Path, text: str, **changes: object) -> str:
    with pytest.raises(BadInput) as caught:
        study(tmp_path, text, **changes)
    return str(caught.value)


def said(found: Study) -> dict[str, int]:
    return {repair.what: repair.count for repair in found.repairs}


def test_a_subject_begins_with_its_first_dose_and_nothing_read(tmp_path):
    found = study(tmp_path, TABLE)
    (path,) = found.paths
    np.testing.assert_array_equal(path.t, [0, 1, 4])
    np.testing.assert_array_equal(path.x, f32([[nan], [5], [2]]))
    assert entries(path.plan) == [Entry(0, 100.0, 0.0, 0.0)]
    assert found.spacing == 3.0  # between readings: the dose is none
    assert not found.repairs
    told = describe(found)
    assert "readings a subject: median 2, from 2 to 2" in told
    assert "dose [mg], bolus (given at once): 1 for 1 subjects" in told


@pytest.mark.parametrize(
    "text",
    [
        TABLE,
        TABLE.replace(" ", ","),
        TABLE.replace(" ", "   ").replace(".", "NA"),
        TABLE.replace(" ", ";").replace("DV", "dv").replace("EVID", "Evid"),
        "ID TIME DV AMT\n1 0 . 100\n1 1 5 .\n1 4 2 .\n",  # what EVID and MDV would say follows
        "ID TIME DV AMT MDV\n1 0 0 100 1\n1 1 5 0 0\n1 2 0 0 1\n1 4 2 0 0\n",
        "ID TIME DV AMT EVID MDV\n1 0 . 100 4 1\n1 1 5 0 0 0\n1 2 . . 2 1\n1 4 2 0 0 0\n",
    ],
)
def test_one_table_in_many_forms(tmp_path, text):
    (path,) = study(tmp_path, text).paths
    seen = np.isfinite(path.x[:, 0])
    np.testing.assert_array_equal(path.t[seen], [1, 4])
    np.testing.assert_array_equal(path.x[seen, 0], [5, 2])
    assert entries(path.plan) == [Entry(0, 100.0, 0.0, 0.0)]


def test_a_file_of_any_ending_is_text(tmp_path):
    (tmp_path / "pk.dat").write_text(TABLE)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY | {"table": "pk.dat"}))
    assert load(tmp_path / "study.yaml").subjects == ("1",)


def test_infusions_boluses_and_additional_doses(tmp_path):
    text = (
        "ID,TIME,DV,AMT,RATE,ADDL,II\n"
        "1,0,.,100,50,2,12\n"  # 100 mg at 50 mg/h: two hours, three times
        "1,6,4,.,.,.,.\n"
        "1,30,.,200,0,9,24\n"  # the last row is at 60 h: one more, at 54 h
        "1,60,3,.,.,.,.\n"
    )
    found = study(tmp_path, text)
    assert entries(found.paths[0].plan) == [
        Entry(1, 50.0, 0.0, 2.0), Entry(1, 50.0, 12.0, 14.0), Entry(1, 50.0, 24.0, 26.0),
        Entry(0, 200.0, 30.0, 30.0), Entry(0, 200.0, 54.0, 54.0),
    ]  # fmt: skip
    # A row wherever something begins or ends: between two rows a dose has no time of its own.
    np.testing.assert_array_equal(found.paths[0].t, [0, 2, 6, 12, 14, 24, 26, 30, 54, 60])
    assert np.isfinite(found.paths[0].x[:, 0]).nonzero()[0].tolist() == [2, 9]
    assert found.spacing == 54.0
    assert said(found) == {"additional doses after the last row of their subject left out": 1}


def test_steady_state_is_written_out_as_earlier_doses(tmp_path):
    text = "ID,TIME,DV,AMT,SS,II,ADDL\n7,24,3,.,.,.,.\n7,24,.,100,1,12,1\n7,40,2,.,.,.,.\n"
    found = study(tmp_path, text)
    (path,) = found.paths
    start = 24 - 12.0 * STEADY
    assert found.starts == (start,)
    np.testing.assert_array_equal(path.t, [*(12 * np.arange(STEADY + 2)), 40 - start])
    assert np.isfinite(path.x[:, 0]).nonzero()[0].tolist() == [STEADY, STEADY + 2]
    given = entries(path.plan)
    assert [e.onset for e in given] == [12.0 * k for k in range(STEADY + 2)]
    assert {e.dose for e in given} == {100.0}
    (what,) = said(found)
    assert "20 earlier ones" in what
    # What is left of a dose after one interval, with a half-life of three: the geometric sum is met to 1 %.
    left = 2 ** (-1 / 3)
    assert sum(left**k for k in range(STEADY + 1)) > 0.99 / (1 - left)


def test_two_steady_states_from_one_moment_add_up(tmp_path):
    text = "ID,TIME,DV,AMT,SS,II\n1,0,.,100,1,24\n1,0,.,50,2,12\n1,5,2,.,.,.\n"
    given = entries(study(tmp_path, text).paths[0].plan)
    assert sum(e.dose == 100.0 for e in given) == sum(e.dose == 50.0 for e in given) == STEADY + 1


def test_replicates_and_a_dose_and_a_reading_at_one_time(tmp_path):
    text = "ID,TIME,DV,AMT\n1,0,1,.\n1,0,.,100\n1,0,.,100\n1,2,5,.\n1,2,5,.\n1,2,6,.\n"
    found = study(tmp_path, text)
    (path,) = found.paths
    np.testing.assert_array_equal(path.t, [0, 2, 2, 2])
    np.testing.assert_array_equal(path.x[:, 0], [1, 5, 5, 6])
    assert entries(path.plan) == [Entry(0, 100.0, 0.0, 0.0)] * 2
    assert said(found) == {"equal doses of one moment, all given": 1, "readings of one moment, kept as replicates": 2}
    (path,) = study(tmp_path, text, duplicates="mean").paths
    np.testing.assert_allclose(path.x[:, 0], [1, 16 / 3])


def test_a_reading_listed_after_a_bolus_of_its_time_is_noted(tmp_path):
    text = "ID,TIME,DV,AMT,RATE\n1,0,.,100,{}\n1,0,0,.,.\n1,2,5,.,.\n"
    assert said(study(tmp_path, text.format(0))) == {
        "readings listed after a bolus of the same time, taken as before it": 1
    }
    assert not said(study(tmp_path, text.format(10)))  # an infusion has given nothing yet


TWO = {
    "cp": {"unit": "mg/L", "link": "log", "low": 0, "floor": 0.01, "dvid": "cp", "lloq": 0.5},
    "pca": {"unit": "%", "dvid": 2},
}


def test_kinds_of_readings_go_to_their_channels_and_share_rows(tmp_path):
    text = "ID,TIME,DV,AMT,DVID\n1,0,.,100,.\n1,0,90,.,2\n1,3,4,.,cp\n1,3,50,.,2.0\n1,6,2,.,cp\n"
    (path,) = study(tmp_path, text, channels=TWO).paths
    np.testing.assert_array_equal(path.t, [0, 3, 6])
    np.testing.assert_array_equal(path.x, f32([[nan, 90], [4, 50], [2, nan]]))


def test_compartments_tell_channels_and_actions(tmp_path):
    text = "ID TIME DV AMT CMT\n1 0 . 100 1\n1 0 . 9 4\n1 1 5 . 2\n1 1 70 . 3\n1 2 4 . 2\n"
    found = study(
        tmp_path,
        text,
        channels={"conc": {"unit": "mg/L", "cmt": 2}, "effect": {"unit": "%", "cmt": 3}},
        actions={
            "oral": {"unit": "mg", "kind": "bolus", "cmt": 1},
            "insulin": {"unit": "IU", "kind": "bolus", "cmt": 4},
        },
    )
    (path,) = found.paths
    np.testing.assert_array_equal(path.x, f32([[nan, nan], [5, 70], [4, nan]]))
    assert entries(path.plan) == [Entry(0, 100.0, 0.0, 0.0), Entry(1, 9.0, 0.0, 0.0)]


def test_a_reading_below_the_limit_is_the_limit(tmp_path):
    text = (
        "ID,TIME,DV,AMT,CENS,DVID\n1,0,90,.,.,2\n1,0,.,100,0,.\n"
        "1,1,0.7,.,1,cp\n"  # DV is the limit
        "1,2,0.1,.,1,cp\n"  # what was read there lies below that of the channel
        "1,3,.,.,1,cp\n1,4,0,.,1,cp\n"
        "1,5,30,.,-1,cp\n1,6,<0.25,.,0,cp\n1,7,0.3,.,0,cp\n"  # so do these two
    )
    found = study(tmp_path, text, channels=TWO)
    np.testing.assert_allclose(found.paths[0].x[1:, 0], [0.7, 0.5, 0.5, 0.5, 30, 0.5, 0.5])
    assert said(found) == {
        "left-censored cells read as their limit": 5,
        "right-censored cells read as their limit": 1,
        "readings below the limit of quantification read as the limit": 2,
    }
    assert found.spec.channels[0].lloq == 0.5


def test_a_column_of_limits(tmp_path):
    found = study(tmp_path, "ID,TIME,DV,AMT,LLOQ\n1,0,.,100,.\n1,1,2,.,0.5\n1,2,0,.,0.5\n1,3,0.3,.,0.2\n")
    np.testing.assert_allclose(found.paths[0].x[1:, 0], [2, 0.5, 0.3])
    assert said(found) == {"left-censored cells read as their limit": 1}


def test_covariates_that_change_traits_and_groups(tmp_path):
    text = (
        "ID,TIME,DV,AMT,EVID,WT,SEX,OCC\n1,0,.,100,1,70,m,1\n1,0,.,50,1,70,m,1\n1,1,5,.,0,70,m,1\n1,2,.,.,2,70,m,1\n"
        "1,3,.,.,2,72,m,1\n1,4,2,.,0,72,m,1\n1,4,2.5,.,0,72,m,1\n"
    )
    found = study(
        tmp_path,
        text,
        covariates={"weight": {"unit": "kg", "column": "WT"}},
        traits={"sex": {"kind": "category", "column": "SEX"}},
        groups={"occasion": "OCC"},
    )
    (path,) = found.paths
    np.testing.assert_array_equal(path.t, [0, 1, 3, 4, 4])  # nothing is new at 2 h
    np.testing.assert_array_equal(path.x, f32([[nan, 70], [5, 70], [nan, 72], [2, 72], [2.5, nan]]))
    assert found.groups == {"occasion": ("1",)}
    wrong = text.replace("1,4,2.5,.,0,72", "1,4,2.5,.,0,75")
    message = fault(tmp_path, wrong, covariates={"weight": {"unit": "kg", "column": "WT"}})
    assert "row 8, column weight" in message
    assert "75.0 at the same subject and time as" in message


def test_rows_out_of_order_and_placebo(tmp_path):
    found = study(tmp_path, "ID,TIME,DV,AMT,EVID\n2,4,2,.,0\n2,1,5,.,0\n1,0,.,0,1\n1,1,3,.,0\n2,0,.,100,1\n")
    assert said(found) == {"doses of 0 left out": 1, "rows out of order in time, sorted": 2}
    np.testing.assert_array_equal(found.paths[1].t, [0, 1, 4])
    np.testing.assert_array_equal(found.paths[0].t, [1])
    assert found.starts == (0.0, 0.0)


def test_occasions_may_be_subjects(tmp_path):
    text = "ID,OCC,TIME,DV,AMT,EVID\n1,1,0,.,100,4\n1,1,1,5,.,0\n1,2,0,.,100,4\n1,2,1,6,.,0\n"
    found = study(tmp_path, text, subject=["ID", "OCC"], groups={"person": "ID"}, split={"by": "person"})
    assert found.subjects == ("1/1", "1/2")
    assert found.groups == {"person": ("1", "1")}
    assert "row 4, column EVID: found '4', expected a reset only where a subject begins" in fault(tmp_path, text)


def test_subjects_without_a_reading(tmp_path):
    text = TABLE + "2 0 9 100 0 1 .\n2 3 . . . 0 0\n"
    assert "subject '2' without one reading of conc" in fault(tmp_path, text)
    found = study(tmp_path, text, empty="drop")
    assert found.subjects == ("1",)
    assert said(found) == {"subjects without one reading left out (empty: drop)": 1}
    assert [p.t.tolist() for p in found.paths] == [p.t.tolist() for p in study(tmp_path, TABLE).paths]


def test_a_table_is_parsed_once_whether_or_not_subjects_are_dropped(tmp_path, monkeypatch):
    parsed, parse = [], nonmem_records.records

    def counted(table: Table, config: StudyConfig) -> nonmem_records.Records:
        parsed.append(len(table.frame))
        return parse(table, config)

    monkeypatch.setattr(nonmem_records, "records", counted)
    text = TABLE.replace("1 0 . 100", "0 0 9 100 0 1 .\n1 0 . 100")  # the first subject is left out, and with it a code
    assert study(tmp_path, text, empty="drop").subjects == ("1",)
    assert parsed == [4]


def test_what_a_row_says_to_no_effect_is_said(tmp_path):
    """A value in a row that is a dose, and an interval between doses of which there is one."""
    text = "ID TIME DV AMT EVID ADDL II\n1 0 7 100 1 0 12\n1 1 5 . 0 . .\n1 4 2 . 0 . .\n"
    found = study(tmp_path, text)
    assert said(found) == {
        "values in rows that are no reading left out (EVID)": 1,
        "intervals (II) without ADDL or SS, of no consequence": 1,
    }
    np.testing.assert_array_equal(found.paths[0].x, f32([[nan], [5], [2]]))
    assert entries(found.paths[0].plan) == [Entry(0, 100.0, 0.0, 0.0)]


def test_a_data_frame_is_read_alike(tmp_path):
    frame = pd.DataFrame({"ID": [1, 1, 1], "TIME": [0.0, 1, 4], "DV": [nan, 5, 0.5], "AMT": [100, nan, nan]})
    frame["CENS"] = [0, 0, 1]
    (path,) = from_frame(frame, {k: v for k, v in STUDY.items() if k != "table"}).paths
    np.testing.assert_array_equal(path.x, f32([[nan], [5], [0.5]]))


HEAD = "ID,TIME,DV,AMT,RATE,EVID,MDV,CMT,CENS,ADDL,II,SS\n1,0,.,100,0,1,1,1,0,0,0,0\n1,1,5,.,.,0,0,1,0,.,.,.\n"


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("1,2,.,100,-1,1,1,1,0,0,0,0", ("column RATE", "found '-1'", "above 0", "a rate that the model finds")),
        ("1,2,.,100,-2,1,1,1,0,0,0,0", ("column RATE", "found '-2'", "a duration that the model finds")),
        ("1,2,.,100,-3,1,1,1,0,0,0,0", ("column RATE", "found '-3'", "a rate above 0")),
        ("1,2,.,0,5,1,1,1,0,0,0,0", ("column AMT", "found '0'", "an infusion without end")),
        ("1,2,.,.,0,1,1,1,0,0,0,0", ("column AMT", "found '.'", "an amount in a row that is a dose")),
        ("1,2,.,-5,0,1,1,1,0,0,0,0", ("column AMT", "found '-5'", "at least 0 mg")),
        ("1,2,.,2000,0,1,1,1,0,0,0,0", ("column AMT", "found '2000'", "at most 1000 mg")),
        ("1,2,.,much,0,1,1,1,0,0,0,0", ("column AMT", "found 'much'", "a number")),
        ("1,2,.,100,0,5,1,1,0,0,0,0", ("column EVID", "found '5'", "0 (a reading), 1 (a dose)")),
        ("1,2,.,100,0,101,1,1,0,0,0,0", ("column EVID", "found '101'")),
        ("1,2,.,.,.,3,1,1,0,0,0,0", ("column EVID", "found '3'", "only where a subject begins", "[ID, OCC]")),
        ("1,2,.,100,0,4,1,1,0,0,0,0", ("column EVID", "found '4'", "only where a subject begins")),
        ("1,2,5,100,0,0,0,1,0,0,0,0", ("column AMT", "found '100'", "row that is a reading")),
        ("1,2,5,.,7,0,0,1,0,0,0,0", ("column RATE", "found '7'", "row that is a reading")),
        ("1,2,.,.,.,2,1,1,0,0,0,1", ("column SS", "found '1'", "neither dose nor reading")),
        ("1,2,5,100,0,1,0,1,0,0,0,0", ("column DV", "found '5'", "MDV 0", "a row of its own")),
        ("1,2,5,.,.,0,7,1,0,0,0,0", ("column MDV", "found '7'", "0, or 1")),
        ("1,2,5,.,.,0,0,1,2,0,0,0", ("column CENS", "found '2'", "below the limit")),
        ("1,2,.,.,.,0,0,1,1,0,0,0", ("column DV", "found '.'", "the limit of a reading beyond it")),
        ("1,2,0,.,.,0,0,1,1,0,0,0", ("column DV", "found '0'", "lloq of the channel")),
        ("1,2,-4,.,.,0,0,1,0,0,0,0", ("column DV", "found '-4'", "at least 0 mg/L")),
        ("1,2,BLQ,.,.,0,0,1,0,0,0,0", ("column DV", "found 'BLQ'", "a number")),
        ("1,2,.,100,0,1,1,1,0,3,0,0", ("column II", "found '0'", "the interval between doses")),
        ("1,2,.,100,0,1,1,1,0,1.5,12,0", ("column ADDL", "found '1.5'", "how many more doses")),
        ("1,2,.,100,0,1,1,1,0,-1,12,0", ("column ADDL", "found '-1'", "how many more doses")),
        ("1,2,.,100,0,1,1,1,0,0,12,1", ("column SS", "found '1'", "the first doses of a subject")),
        ("1,2,.,100,0,1,1,1,0,0,12,3", ("column SS", "found '3'", "0, 1 or 2")),
        ("2,2,.,100,0,1,1,1,0,0,0,1", ("column II", "found '0'", "the interval between doses")),
        ("1,2,.,100,0,1,1,2,0,0,0,0", ("column CMT", "found '2'", "'1' as before", "only dose is a bolus")),
        ("1,2,5,.,.,0,0,3,0,0,0,0", ("column CMT", "found '3'", "1 as before: conc is the only channel")),
        ("1,.,5,.,.,0,0,1,0,0,0,0", ("column TIME", "an empty cell", "a time in h")),
        ("1,8:30,5,.,.,0,0,1,0,0,0,0", ("column TIME", "found '8:30'", "a number")),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_meant(tmp_path, line, parts):
    message = fault(tmp_path, HEAD + line + "\n")
    missing = [part for part in ("pk.csv", "row 4", *parts) if part not in message]
    assert not missing, f"{missing} not in: {message}"


def test_a_steady_state_that_would_forget_the_dose_above_it(tmp_path):
    text = "ID,TIME,DV,AMT,SS,II\n1,0,.,100,1,24\n1,0,.,50,1,12\n1,5,2,.,.,.\n"
    assert "row 3, column SS: found '1', expected a steady state only in the first doses" in fault(tmp_path, text)


def test_doses_that_no_action_takes(tmp_path):
    only = {"drip": STUDY["actions"]["drip"]}
    assert "column AMT: found '100', expected no such dose: none of the actions (drip) is a bolus" in fault(
        tmp_path, TABLE, actions=only
    )
    message = fault(tmp_path, TABLE.replace("100 0", "100 50"), actions={"dose": STUDY["actions"]["dose"]})
    assert "column RATE: found '50', expected no such dose: none of the actions (dose) is an infusion" in message
    two = {f"d{c}": {"unit": "mg", "kind": "bolus", "cmt": c} for c in (1, 2)}
    message = fault(tmp_path, "ID,TIME,DV,AMT,CMT\n1,0,.,100,3\n1,1,5,.,2\n", actions=two)
    assert "row 2, column CMT: found '3', expected one of 1 (d1), 2 (d2) for a bolus" in message
    assert "column CMT: found no such column, expected one of 1 (d1)" in fault(tmp_path, TABLE, actions=two)


def test_readings_of_no_channel(tmp_path):
    text = "ID,TIME,DV,AMT,DVID\n1,0,.,100,0\n1,1,5,.,cp\n1,1,5,.,3\n"
    assert "row 4, column DVID: found '3', expected one of cp (cp), 2 (pca)" in fault(tmp_path, text, channels=TWO)
    assert "row 4, column DVID: found '3', expected cp as before: conc is the only channel" in fault(tmp_path, text)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"format": "csv", "channels": {"conc": {"unit": "mg/L", "dvid": 1}}}, ("conc", "belong to format: nonmem")),
        ({"events": {"table": "doses.csv"}}, ("key events", "the rows of a NONMEM table hold its doses")),
        ({"channels": {"conc": {"unit": "mg/L", "column": "DV"}}}, ("key channels.conc.column", "found 'DV'")),
        ({"channels": {"a": {"unit": "1"}, "b": {"unit": "1", "dvid": 2}}}, ("key channels", "found a, b", "a dvid")),
        ({"actions": {"on": {"kind": "switch"}}}, ("key actions.on.kind", "bolus (AMT at once)")),
        ({"actions": {"a": {"unit": "mg", "kind": "bolus"}, "b": {"unit": "mg", "kind": "bolus"}}},
         ("key actions", "found a, b", "a cmt of its own for each action of kind bolus")),
        ({"actions": {"drip": {"unit": "mg/min", "kind": "rate"}}}, ("actions.drip.unit", "'mg/min'", "a unit per h")),
        ({"actions": {"drip": {"unit": "mg", "kind": "rate"}}}, ("actions.drip", "kind: rate in 'mg'", "'mg/h'")),
        ({"actions": {"dose": {"unit": "g", "kind": "bolus"}, "drip": {"unit": "mg/h", "kind": "rate"}}},
         ("actions.drip.unit", "'mg/h' beside 'g' of dose", "expected g/h")),
    ],
)  # fmt: skip
def test_what_a_study_cannot_ask_of_such_a_table(tmp_path, change, parts):
    message = fault(tmp_path, TABLE, **change)
    missing = [part for part in ("study.yaml", *parts) if part not in message]
    assert not missing, f"{missing} not in: {message}"


@pytest.mark.parametrize(
    ("header", "parts"),
    [
        ("ID TIME VALUE AMT RATE EVID MDV", ("column DV", "no column 'DV'")),
        ("ID TIME DV AMT amt EVID MDV", ("column amt", "found 'AMT' and 'amt'", "one of them")),
        ("ID TIME DV AMT RATE EVID DATE", ("column DATE", "a column of dates", "time since a start")),
    ],
)
def test_a_header_that_cannot_be_meant(tmp_path, header, parts):
    message = fault(tmp_path, "\n".join([header, *TABLE.splitlines()[1:]]))
    missing = [part for part in parts if part not in message]
    assert not missing, f"{missing} not in: {message}"
