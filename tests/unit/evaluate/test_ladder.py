"""Levels are granted by gates alone, in order, and what is missing is named with its reason."""

from __future__ import annotations

import pytest

from biowm.core import registry
from biowm.core.record import Record
from biowm.evaluate.exam import Verdict
from biowm.evaluate.ladder import AXES, climb

FUTURE = {"coupling", "coupling-closure"}  # scales are not coupled yet


def verdicts(**status: str) -> dict[str, Verdict]:
    return {
        gate.replace("_", "-"): Verdict(s, None, f"because of {gate}", Record("certify", {}, {"gate": gate}, 0))  # type: ignore[arg-type]
        for gate, s in status.items()
    }


def levels(**status: str) -> dict[str, int]:
    return {level.axis: level.level for level in climb(verdicts(**status), 2)}


def test_without_gates_there_is_no_level():
    assert levels() == {"dynamics": 0, "intervention": 0, "scale": 0}


@pytest.mark.parametrize("status", ["failed", "not_applicable"])
def test_a_gate_that_did_not_pass_grants_nothing_and_is_named(status: str):
    found = climb(verdicts(skill="passed", state="passed", time=status, closure="passed"), 2)[0]
    assert found.level == 1
    assert found.next_needs == {"time": f"{status.replace('_', ' ')}: because of time"}
    assert list(found.granted_by) == ["skill"]


def test_levels_cannot_be_skipped():
    assert levels(state="passed", time="passed", closure="passed", calibration="passed") == {
        "dynamics": 0, "intervention": 0, "scale": 0,
    }  # fmt: skip


def test_all_gates_grant_the_top_and_point_to_their_records():
    everything = {gate for rungs in AXES.values() for rung in rungs for gate in rung.gates}
    given = verdicts(**{gate.replace("-", "_"): "passed" for gate in everything})
    for level in climb(given, 2):
        assert level.level == 3
        assert level.next_needs == {}
        assert all(given[gate].evidence.id == record for gate, record in level.granted_by.items())


def test_one_channel_is_not_several_kinds_of_readings():
    scale = climb(verdicts(observability="passed"), 1)[2]
    assert scale.level == 0
    assert scale.next_needs == {"observability": "not applicable: a single channel is read"}
    assert climb(verdicts(observability="passed"), 2)[2].level == 1


def test_the_gates_of_the_ladder_exist():
    named = {gate for rungs in AXES.values() for rung in rungs for gate in rung.gates}
    assert named - FUTURE <= set(registry.names("gates"))
