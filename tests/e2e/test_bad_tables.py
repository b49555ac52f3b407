"""Bad tables through the command line: exit 2, one message with the place, nothing on stdout."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from .conftest import STUDY, biowm

GOOD = "patient,day,psa,drug\na,0,5,1\na,1,4,1\nb,0,9,0\nb,1,8,0\n"
PSA = STUDY["channels"]["psa"]
CASES = {
    "missing column": (GOOD.replace("psa", "psaa", 1), {}, ("column psa", "no column 'psa'", "did you mean 'psaa'?")),
    "bare U": (GOOD, {"channels": {"psa": {"unit": "U/L"}}}, ("key channels.psa.unit", "bare 'U'", "IU")),
    "out of range": (GOOD + "b,2,20000,0\n", {}, ("row 6", "column psa", "found '20000'", "at most 10000 ng/mL")),
    "dose out of range": (GOOD + "b,2,7,5\n", {}, ("row 6", "column drug", "found '5'", "at most 4 mg/d")),
    "negative dose": (GOOD + "b,2,7,-1\n", {}, ("row 6", "column drug", "found '-1'", "at least 0 mg/d")),
    "insulin in bare U": (
        GOOD,
        {"actions": {"drug": {"unit": "U/h", "kind": "rate"}}},
        ("key actions.drug.unit", "bare 'U'", "U_insulin"),
    ),
    "insulin as an amount": (
        GOOD,
        {"actions": {"drug": {"unit": "pmol", "kind": "rate"}}},
        ("key actions.drug", "'pmol', an amount", "'pmol/h'"),
    ),
    "some dates with a zone": (
        "patient,day,psa,drug\na,2020-01-01T00:00Z,5,1\na,2020-01-02T00:00,4,1\n",
        {},
        ("row 3", "column day", "found '2020-01-02T00:00'", "a time zone, as in the rows above"),
    ),
    "text in a number": (GOOD + "b,2,high,0\n", {}, ("row 6", "column psa", "found 'high'", "expected a number")),
    "conflicting duplicate": (GOOD + "b,1,8.5,0\n", {}, ("row 6", "column psa", "8.5", "row 5", "8", "duplicates")),
    "empty subject": (GOOD + "c,0,,1\n", {}, ("row 6", "column patient", "subject 'c'", "reading of psa")),
    "no name": (GOOD + ",2,7,0\n", {}, ("row 6", "column patient", "empty cell", "subject")),
    "never read": ("patient,day,psa,drug\na,0,,1\na,1,NaN,1\n", {}, ("column psa", "no number in any row")),
    "no rows": ("patient,day,psa,drug\n", {}, ("no row of data",)),
    "two splits": (
        "patient,day,psa,drug,part\na,0,5,1,train\na,1,4,1,test\nb,0,9,0,train\n",
        {"split": {"column": "part"}},
        ("row 3", "column part", "subject 'a'", "one split"),
    ),
}  # fmt: skip


def write(folder: Path, table: str, **changes: object) -> Path:
    (folder / "visits.csv").write_text(table)
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | changes))
    return folder / "study.yaml"


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("command", ["fit", "check"])
def test_a_bad_table(tmp_path: Path, command: str, case: str):
    table, changes, parts = CASES[case]
    study = write(tmp_path, table, **changes)
    fit = ("fit", study, "--out", tmp_path / "run", "--json")
    file = "study.yaml" if "key" in parts[0] else "visits.csv"
    biowm(*(fit if command == "fit" else ("data", "check", study))).refused(file, *parts)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ("patient,day,psa,drug\na,0,5,1\na,1,4,1\na,2,4,1\n", ("found 1 subject", "at least 2")),
        ("patient,day,psa,drug\na,0,5,1\nb,0,4,1\nc,0,4,1\n", ("two readings",)),
    ],
    ids=["one subject", "one reading each"],
)
def test_too_little_to_learn_from(tmp_path: Path, table: str, parts: tuple[str, ...]):
    study = write(tmp_path, table)
    biowm("fit", study, "--out", tmp_path / "run", "--json").refused("study tiny", *parts)
    assert not (tmp_path / "run" / "world.json").exists()


def test_a_repair_is_said(tmp_path: Path):
    said = biowm("data", "check", write(tmp_path, GOOD + "a,0.5,5,1\nb,1,8,0\n"))
    assert said.code == 0, said.err
    assert "duplicate" in said.out
    assert "sorted" in said.out
