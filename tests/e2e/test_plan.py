"""`biowm plan`: a schedule with its promise, or an abstention with its reasons."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from biowm.cli import output

from .conftest import biowm

ABSTAINED = 3
ASK = ("--subject", "s03", "--json", "--horizon")


def test_a_plan_carries_its_promise(artefact: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(output, "_QUIET", 0.0)
    said = biowm("plan", artefact, *ASK, "3 d", "--goal", "minimise final psa", "--limit", "drug <= 2.5")
    assert "plan: 50%, plans judged by the world" in said.err
    body = said.json
    assert body["goal"]["unit"] == "ng/mL"
    assert body["horizon"] == pytest.approx(3.0)
    assert body["schedule"]
    for entry in body["schedule"]:
        assert entry["action"] == "drug"
        assert entry["unit"] == "mg/d"
        assert 0 <= entry["dose"] <= 2.5 * (1 + 1e-5)
    assert body["promise"]["low"] <= body["promise"]["value"] <= body["promise"]["high"]
    assert [limit["ok"] for limit in body["limits"]] == [True]
    assert {other["name"] for other in body["alternatives"]} >= {"nothing", "hold"}
    assert "no guarantee" in body["note"].lower()
    assert body["record"]["kind"] == "plan"


@pytest.mark.parametrize(
    ("limit", "horizon", "reason"),
    [("psa <= 0.2", "3 d", "psa"), ("drug <= 2.5", "9 d", "4 d")],
    ids=["impossible", "beyond what was validated"],
)
def test_it_abstains_with_reasons(artefact: Path, limit: str, horizon: str, reason: str):
    said = biowm("plan", artefact, *ASK, horizon, "--goal", "minimise mean drug", "--limit", limit)
    assert said.code == ABSTAINED, said.err
    body = json.loads(said.out)
    assert set(body) == {"abstained"}
    assert any(reason in text for text in body["abstained"])


def test_an_abstention_can_be_read(artefact: Path):
    said = biowm("plan", artefact, "--subject", "s03", "--horizon", "9 d", "--goal", "minimise mean drug")
    assert said.code == ABSTAINED
    assert said.out.startswith("abstained: ")


@pytest.mark.parametrize(
    ("goal", "limit", "parts"),
    [
        ("minimise mean psa", "P(max psa <= 50) >= 0.99", ("32 calibration subjects", "99", "0.99")),
        ("minimise mean psa", "P(drug <= 2) >= 0.9", ("drug",)),
        ("minimise mean psa", "psa <= 5 mg", ("mg", "ng/mL")),
        ("minimise mean cholesterol", "drug <= 2", ("cholesterol", "psa")),
        ("make it better", "drug <= 2", ("minimise or maximise",)),
    ],
)
def test_what_is_refused(artefact: Path, goal: str, limit: str, parts: tuple[str, ...]):
    biowm("plan", artefact, *ASK, "3 d", "--goal", goal, "--limit", limit).refused(*parts)
