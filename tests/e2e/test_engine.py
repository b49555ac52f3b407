"""`biowm engine cohort`: a trial in virtual patients, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from .conftest import Said, biowm

ARMS = ("--arm", "control: ", "--arm", "treated: drug=2 mg/d@0:3 d")
SMALL = ("--outcome", "mean psa at 3 d", "--size", 20, "--sizes", "5,10", "--trials", 200, "--patients", 300)


@pytest.fixture(scope="module")
def cohort(artefact: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Said, Path]:
    out = tmp_path_factory.mktemp("trial")
    more = ("--horizon", "3 d", "--out", out, "--plot", out / "power.png", "--json")
    return biowm("engine", "cohort", artefact, *ARMS, *SMALL, *more), out


def test_a_trial_of_known_power(cohort: tuple[Said, Path]):
    body = cohort[0].json
    assert body["simulated"] is True
    control, treated = (arm["mean"]["value"] for arm in body["arms"])
    assert treated / control == pytest.approx(np.exp(-0.3 * 2 * 3), rel=0.3), "0.3 for each mg/d and day"
    difference = body["difference"]
    assert difference["value"] == pytest.approx(treated - control, rel=1e-6)
    assert difference["low"] < difference["value"] < difference["high"] < 0
    five, ten, twenty = body["sizes"]
    assert [five["size"], ten["size"], twenty["size"]] == [5, 10, 20]
    assert five["power"]["value"] <= ten["power"]["value"] <= twenty["power"]["value"]
    assert ten["power"]["low"] <= ten["power"]["value"] <= ten["power"]["high"]
    assert "smoothed bootstrap of 32 training subjects" in body["population"]
    assert [s["verdict"] for s in body["support"]] == ["inside", "inside"]
    assert body["word"] == "association"
    assert body["record"]["parents"]


def test_it_leaves_tables_and_a_picture(cohort: tuple[Said, Path]):
    said, out = cohort
    assert json.loads((out / "trial.json").read_text()) == said.json
    table = pd.read_csv(out / "virtual_patients.csv")
    assert len(table) == 300
    assert table["simulated"].all()
    start = np.log(table["psa at start"] + 0.1)
    assert start.mean() == pytest.approx(2.0, abs=0.25), "as the training subjects begin"
    assert start.std() == pytest.approx(0.4, abs=0.15)
    assert (out / "power.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "virtual_readings.parquet").exists()


def test_whom_to_draw_may_be_given(artefact: Path, tmp_path: Path):
    given = ("--given", "psa=6:9 ng/mL", "--horizon", "3 d", "--out", tmp_path)
    said = biowm("engine", "cohort", artefact, *ARMS, *SMALL, *given)
    assert said.code == 0, said.err
    start = pd.read_csv(tmp_path / "virtual_patients.csv")["psa at start"]
    assert start.between(6 * 0.999, 9 * 1.001).all()
    assert start.nunique() > 100, "smoothed, not the same few subjects again"
    assert "virtual patients" in said.out


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ((*ARMS, "--horizon", "9 d"), "beyond what was validated"),
        ((*ARMS, "--horizon", "3 d", "--given", "psa=900:1000 ng/mL"), "0.0 training subjects have psa=900:1000 ng/mL"),
    ],
)
def test_it_refuses_outside_the_data(artefact: Path, args: tuple[object, ...], reason: str):
    said = biowm("engine", "cohort", artefact, *args, *SMALL, "--json")
    assert said.code == 3, said.err
    assert any(reason in text for text in json.loads(said.out)["abstained"])


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (("--sizes", "5,ten"), ("--sizes", "'5,ten'")),
        (("--given", "psa=4"), ("--given", "ng/mL")),
        (("--outcome", "mean psa at 5 d"), ("--outcome", "5 d", "3 d")),
    ],
)
def test_what_is_bad_input(artefact: Path, args: tuple[object, ...], parts: tuple[str, ...]):
    biowm("engine", "cohort", artefact, *ARMS, *SMALL, "--horizon", "3 d", *args).refused(*parts)
