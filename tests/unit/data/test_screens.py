"""Screens as tables: sets that are held from a start on, read once or often, and what is refused."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from biowm.core.do import parse_do
from biowm.core.errors import BadInput
from biowm.core.schedule import entries
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.data import study

CONFIG = {
    "subject": "condition",
    "time": {"at": 24, "unit": "h"},
    "channels": {"erk": {"unit": "1", "control": 0}},
    "actions": {"meki": {"kind": "set-member", "unit": "uM"}, "klf1": {"kind": "set-member"}},
}


def table(**columns) -> pd.DataFrame:
    return pd.DataFrame(
        {"condition": ["a", "b", "c"], "erk": [0.1, -1.0, 0.4], "meki": [0, 0.5, 0.5], "klf1": [0, 0, 1]} | columns
    )


def test_a_table_read_at_one_time_becomes_conditions_from_the_start():
    found = study.load(table(), CONFIG)
    assert found.config.asked_from == "start"
    for path in found.paths:
        np.testing.assert_array_equal(path.t, [0, 24])
        assert np.isnan(path.x[0]).all()
        assert np.isfinite(path.x[1]).all()
    given = [(e.card, e.dose, e.onset, e.stop) for e in entries(found.paths[2].plan)]
    assert given == [(0, 0.5, 0.0, 24.0), (1, 1.0, 0.0, 24.0)]
    assert not entries(found.paths[0].plan)
    assert found.spec.channels[0].control == 0
    assert [a.kind for a in found.spec.actions] == ["set-member"] * 2


def test_a_member_given_before_the_first_reading_starts_the_course():
    actions = {"meki": {"kind": "set-member", "unit": "uM", "onset": -60}, "klf1": {"kind": "set-member"}}
    rows = pd.concat([table(minute=t) for t in (0, 30)])
    rows.loc[:, "erk"] += rows["minute"] / 100
    found = study.load(rows, {**CONFIG, "time": {"column": "minute", "unit": "min"}, "actions": actions})
    np.testing.assert_array_equal(found.paths[2].t, [0, 60, 90])  # from the earliest onset, for all conditions alike
    np.testing.assert_array_equal(found.paths[0].t, [0, 60, 90])
    assert [(e.card, e.onset) for e in entries(found.paths[2].plan)] == [(0, 0.0), (1, 60.0)]


def test_a_dose_that_changes_within_a_condition_is_refused():
    rows = pd.concat([table(t=0.0), table(t=1.0, meki=[0, 0.7, 0.5])])
    with pytest.raises(BadInput, match=r"meki.*one dose for each condition"):
        study.load(rows, {**CONFIG, "time": {"column": "t", "unit": "h"}})


def test_a_condition_that_is_never_read_after_its_onset_is_refused():
    late = {**CONFIG, "actions": {**CONFIG["actions"], "klf1": {"kind": "set-member", "onset": 24}}}
    with pytest.raises(BadInput, match=r"klf1.*a reading after the onset, 24 h"):
        study.load(table(), late)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time": {"unit": "h"}}, "expected the column of times, or at"),
        ({"time": {"unit": "h", "at": 3, "column": "t"}}, "expected the column of times, or at"),
        ({"actions": {"meki": {"kind": "rate", "unit": "uM/h", "onset": 3}}}, "expected it with set-member"),
    ],
)
def test_contradictions_in_the_study_file_are_refused(change, said):
    with pytest.raises(BadInput, match=said):
        study.load(table(), CONFIG | change)


def test_members_are_written_without_a_time():
    cards = (ActionCard("KLF1", "", "set-member", effect="up"), ActionCard("meki", "uM", "set-member"))
    spec = WorldSpec("screen", "h", (Channel("erk", ""),), cards)
    found = parse_do(["KLF1=up", "meki=500 nM"], spec, 24.0)
    assert [(e.card, round(e.dose, 6), e.onset, e.stop) for e in found] == [(0, 1.0, 0.0, 24.0), (1, 0.5, 0.0, 24.0)]
    with pytest.raises(BadInput, match="meki"):
        parse_do(["meki=500"], spec, 24.0)  # a concentration without its unit


def test_a_path_has_a_row_wherever_a_member_is_given():
    actions = {"meki": {"kind": "set-member", "unit": "uM"}, "klf1": {"kind": "set-member", "onset": 7}}
    found = study.load(table(), {**CONFIG, "actions": actions})
    assert [path.t.tolist() for path in found.paths] == [[0, 24], [0, 24], [0, 7, 24]]
