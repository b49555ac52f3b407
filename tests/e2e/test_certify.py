"""`biowm certify`: every gate with its evidence, at home and on another study."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from biowm.cli import output

from .conftest import STUDY, biowm, cohort, write_study

GATES = {"state", "action", "skill", "calibration"}
HELD_OUT = 8  # a fifth of the cohort: equal sizes share their compiled programs
RULES = {"persistence", "ridge", "direct", "knn"}


def whole(body: dict[str, Any]) -> None:
    """A report that hides nothing."""
    assert set(body["gates"]) >= GATES
    for gate in body["gates"].values():
        assert gate["status"] in ("passed", "failed", "not_applicable")
        assert gate["detail"]
        assert gate["evidence"]["id"] in body["record"]["parents"]
    assert {row["name"] for row in body["rows"]} >= RULES | {"world"}
    assert {row["split"] for row in body["rows"]} == {"2 d", "4 d"}
    assert body["best_rule"] in {row["name"] for row in body["rows"]}


@pytest.fixture(scope="module")
def home(artefact: Path) -> dict[str, Any]:
    with mock.patch.object(output, "_QUIET", 0.0):
        said = biowm("certify", artefact, "--json")
    assert "%, gate " in said.err
    return said.json


@pytest.mark.slow
def test_at_home(home: dict[str, Any]):
    whole(home)
    assert home["gates"]["action"]["status"] == "passed"
    assert home["gates"]["skill"]["status"] == "passed"


@pytest.mark.slow
def test_on_another_study(artefact: Path, home: dict[str, Any], tmp_path: Path):
    other = write_study(tmp_path, cohort(seed=5, subjects=HELD_OUT), study="elsewhere")
    body = biowm("certify", artefact, "--on", other, "--json").json
    whole(body)
    assert body["record"]["inputs"] != home["record"]["inputs"]
    assert body["rows"] != home["rows"]
    assert body["gates"]["skill"]["value"]["value"] < 1.02


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        ({"channels": {"psa": STUDY["channels"]["psa"] | {"unit": "ug/mL"}}}, ("ug/mL", "ng/mL", "psa")),
        ({"actions": {"drug": STUDY["actions"]["drug"] | {"unit": "g/d"}}}, ("g/d", "mg/d", "drug")),
        ({"actions": {}}, ("actions", "drug")),
        ({"time": {"column": "day", "unit": "h"}}, ("'h'", "'d'")),
        ({"table": "none.csv"}, ("none.csv",)),
    ],
    ids=["channel unit", "action unit", "no action", "clock", "no table"],
)
def test_a_study_of_something_else_is_refused(artefact: Path, tmp_path: Path, change: dict, parts: tuple[str, ...]):
    other = write_study(tmp_path, cohort(seed=5, subjects=4), study="elsewhere", **change)
    biowm("certify", artefact, "--on", other, "--json").refused(
        "elsewhere" if "table" not in change else "none", *parts
    )
