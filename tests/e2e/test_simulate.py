"""`biowm simulate`: futures under interventions, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from biowm.cli import output

from .conftest import Said, biowm, cohort, write_table

Ask = Callable[..., Said]
KEYS = {"times", "channels", "median", "low", "high", "level", "band", "units", "support", "record"}


def test_one_json_object_with_the_keys_of_the_contract(simulate: Ask):
    body = simulate("--subject", "s03", "--do", "drug=2 mg/d@0:3 d").json
    assert set(body) >= KEYS
    assert "against" not in body
    assert body["channels"] == ["psa"]
    assert body["units"] == {"psa": "ng/mL"}
    assert body["band"] in ("joint", "pointwise")
    assert body["level"] == 0.9
    assert body["support"]["verdict"] == "inside"
    assert body["record"]["kind"] == "simulate"
    assert body["times"][-1] == pytest.approx(3.0)
    low, median, high = (np.array(body[k]["psa"]) for k in ("low", "median", "high"))
    assert median.shape == (len(body["times"]),)
    assert (low <= median).all()
    assert (median <= high).all()
    assert (high - low)[1:].min() > 0


def test_how_far_it_is_goes_to_stderr(simulate: Ask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(output, "_QUIET", 0.0)
    said = simulate("--subject", "s03", "--do", "drug=2 mg/d@0:3 d", "--against", "zero")
    assert set(said.json) >= KEYS
    assert "simulate: 50%, futures" in said.err
    assert "simulate: 100%, futures" in said.err


def test_a_high_dose_ends_lower_than_none(simulate: Ask):
    body = simulate("--subject", "s03", "--do", "drug=3 mg/d@0:3 d", "--against", "zero").json
    treated, untreated = np.array(body["median"]["psa"]), np.array(body["against"]["median"]["psa"])
    assert set(body["against"]) >= KEYS
    ratio = treated / untreated  # the truth: exp(-0.3 * 3) = 0.41 after a day, 0.07 after three
    assert (np.diff(ratio) < 0).all()
    assert ratio[0] < 0.7
    assert ratio[-1] < 0.3
    assert body["plan"][0]["dose"] == 3.0
    assert body["against"]["plan"] == []


def test_the_alternative_may_be_a_schedule(simulate: Ask):
    body = simulate("--subject", "s03", "--do", "drug=1 mg/d@0", "--against", "drug=2.5 mg/d@0:2 d").json
    assert body["against"]["plan"][0]["dose"] == 2.5
    assert body["against"]["median"]["psa"][-1] < body["median"]["psa"][-1]


def test_the_difference_is_paired_and_says_what_it_rests_on(simulate: Ask):
    body = simulate("--subject", "s03", "--do", "drug=3 mg/d@0:3 d", "--against", "zero").json
    told = body["contrast"]
    low, median, high = (np.array(told["difference"][k]["psa"]) for k in ("low", "median", "high"))
    assert (low <= median).all()
    assert (median <= high).all()
    assert high[-1] < 0, "3 mg/d for 3 d leave a fifteenth of the untreated"
    assert told["level"] is None
    assert "'drug=3 mg/d@0:3 d, other actions as recorded' minus under 'all actions stopped'" in told["estimand"]
    assert told["word"] == "association"
    assert told["assignment"] == {"kind": "not declared", "given": [], "assumption": ""}
    treated, untreated = told["overlap"]
    assert treated["subjects"] < untreated["subjects"] < 32, "32 subjects were learned from; doses changed every day"
    assert len(treated["nearest"]) == 3
    (tipping,) = told["tipping"]
    assert tipping["difference"]["low"] <= tipping["difference"]["value"] <= tipping["difference"]["high"] < 0
    assert tipping["gamma"] > 2
    assert tipping["e_value"] > 2


def test_one_schedule_against_itself_differs_by_nothing_as_chances_are_shared(simulate: Ask):
    same = "drug=2 mg/d@0:3 d"
    told = simulate("--subject", "s03", "--do", same, "--against", same).json["contrast"]
    assert not np.any([told["difference"][k]["psa"] for k in ("low", "median", "high")])
    assert told["tipping"][0]["gamma"] == pytest.approx(1.0)


def test_the_same_seed_gives_the_same_numbers(simulate: Ask):
    args = ("--subject", "s03", "--do", "drug=2 mg/d@0", "--seed", 7)
    first, again, other = (simulate(*a).json for a in (args, args, (*args[:-1], 8)))
    for body in (first, again, other):
        del body["record"]["time"]
    assert first == again
    assert first["median"] != other["median"]


def test_a_new_history_and_nothing_after_from_is_looked_at(simulate: Ask, tmp_path: Path):
    rows = [("new", *row[1:]) for row in cohort(seed=9, subjects=1)]
    day = rows[4][1]
    changed = [*rows[:5], *(("new", d, 3 * psa, 3 - dose) for _, d, psa, dose in rows[5:])]
    bodies = []
    for name, table in {"whole": rows, "cut": rows[:5], "changed": changed}.items():
        write_table(tmp_path / f"{name}.csv", table)
        args = ("--history", tmp_path / f"{name}.csv", "--from", day, "--do", "drug=1 mg/d@0:2 d")
        bodies.append(simulate(*args).json)
    assert bodies[0]["record"]["config"]["now"] == pytest.approx(day)
    for body in bodies[1:]:
        for part in ("times", "median", "low", "high"):
            assert body[part] == bodies[0][part]
    later = simulate("--history", tmp_path / "whole.csv", "--do", "drug=1 mg/d@0:2 d").json
    assert later["record"]["config"]["now"] == pytest.approx(rows[-1][1])
    assert later["median"] != bodies[0]["median"]


def test_from_may_be_a_time_after_the_first_row(simulate: Ask):
    args = ("--subject", "s03", "--others", "hold")
    assert simulate(*args, "--from", "4 d").json["median"] == simulate(*args, "--from", "4").json["median"]


def test_beyond_what_was_validated_there_is_an_answer_without_a_promise(simulate: Ask):
    body = simulate("--subject", "s03", "--do", "drug=2 mg/d@0", horizon="9 d").json
    assert body["support"]["verdict"] == "outside"
    assert any("9 d" in reason and "4 d" in reason for reason in body["support"]["reasons"])
    assert body["level"] is None


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (("--subject", "s03", "--do", "aspirin=2 mg/d@0"), ("'aspirin'", "drug (rate, mg/d)")),
        (("--subject", "s03", "--do", "drug=2 mg@0:1 d"), ("mg", "mg/d", "drug")),
        (("--subject", "s03", "--do", "drug=2@0:1 d"), ("'2'", "drug")),
        (("--subject", "s03", "--do", "drug=40 mg/d@0:1 d"), ("40 mg/d", "at most 4 mg/d")),
        (("--subject", "s03", "--do", "drug=-1 mg/d@0:1 d"), ("-1 mg/d", "at least 0 and at most 4 mg/d")),
        (("--subject", "s03", "--do", "drug=1 mg/d@-1 d:1 d"), ("--do", "onset -1 d, in the past", "0 or later")),
        (("--subject", "s03", "--against", "drug=1 mg/d@-1 d"), ("--against", "onset -1 d, in the past")),
        (("--subject", "s03", "--do", "a lot of drug"), ("'a lot of drug'", "action=dose@onset:stop")),
        (("--subject", "s03", "--against", "nothing"), ("'nothing'", "drug")),
        (("--subject", "nobody"), ("'nobody'", "s00")),
        ((), ("--subject", "--history")),
        (("--subject", "s03", "--from", "soon"), ("soon", "--from")),
        (("--subject", "s03", "--from", "-1 d"), ("--from",)),
        (("--history", "nowhere.csv"), ("nowhere.csv",)),
        (("--subject", "s03", "--draws", "none"), ("--draws", "integer")),
    ],
)  # fmt: skip
def test_what_is_refused(simulate: Ask, args: tuple[str, ...], parts: tuple[str, ...]):
    simulate(*args).refused(*parts)


@pytest.mark.parametrize("horizon", ["soon", "-2 d", "0 d", "3 mg"])
def test_horizons_that_are_none(simulate: Ask, horizon: str):
    simulate("--subject", "s03", horizon=horizon).refused("--horizon")


def test_how_far_has_to_be_said_of_histories(artefact: Path):
    biowm("simulate", artefact, "--subject", "s03", "--json").refused("--horizon", "nothing", 'such as "90 d"')


def test_a_history_of_several_subjects_asks_which(simulate: Ask, tmp_path: Path):
    write_table(tmp_path / "two.csv", cohort(seed=9, subjects=2))
    simulate("--history", tmp_path / "two.csv").refused("two.csv", "2 subjects", "s00", "--subject")


def test_a_picture_is_drawn(artefact: Path, tmp_path: Path):
    said = biowm(
        "simulate", artefact, "--subject", "s03", "--horizon", "3 d", "--draws", 40, "--plot", tmp_path / "f.png"
    )
    assert said.code == 0, said.err
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert "psa (ng/mL)" in said.out
    assert "Support: inside" in said.out
