"""`biowm certify FILE.py --on STUDY.yaml`: anybody's model, which is given the training subjects and nobody else."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

import biowm as package
from biowm.data.splits import split

from .conftest import biowm

EXAMPLE = Path(__file__).parents[2] / "examples" / "sklearn_ridge.py"


def written(folder: Path, code: str) -> Path:
    file = folder / "my_model.py"
    file.write_text(code)
    return file


@pytest.mark.slow
def test_scikit_learn_goes_through_the_suite(study: Path, tmp_path: Path):
    body = biowm("certify", EXAMPLE, "--on", study, "--out", tmp_path / "cert", "--json").json
    found = {name: gate["status"] for name, gate in body["gates"].items()}
    assert body["world"] == "sklearn-ridge"
    assert found["state"] == found["action"] == "passed", body["gates"]
    assert {row["name"] for row in body["rows"]} > {"world", "persistence", "ridge"}
    assert body["record"]["inputs"]["file"] == hashlib.sha256(EXAMPLE.read_bytes()).hexdigest()
    assert {f.suffix for f in (tmp_path / "cert").iterdir()} == {".html", ".json", ".md"}


@pytest.mark.slow
def test_an_endpoint_is_marked_where_it_has_no_transition(study: Path):
    body = biowm("certify", f"{EXAMPLE}:make_endpoint", "--on", study, "--json").json
    assert body["world"] == "sklearn-endpoint"
    assert body["gates"]["state"]["status"] == "not_applicable"
    assert body["gates"]["action"]["status"] == "passed"
    assert body["capability"]["dynamics"]["level"] <= 1


def test_the_maker_is_shown_the_training_subjects_of_the_split_by_the_seed(study: Path, tmp_path: Path):
    """It finds its neighbours, says which subjects it was given, and leaves."""
    (tmp_path / "neighbour_of_my_model.py").write_text("def said(study): raise KeyError(' '.join(study.subjects))\n")
    file = written(tmp_path, "from neighbour_of_my_model import said\n\n\ndef mine(study):\n    said(study)\n")
    whole = package.load(study)
    for seed in (0, 3):
        train = [whole.subjects[i] for i in split(whole, seed).train]
        assert len(train) == 24
        said = biowm("certify", f"{file}:mine", "--on", study, "--seed", seed)
        said.refused("raised KeyError", f"'{' '.join(train)}'", f"({file}, line 5)")


@pytest.mark.parametrize(
    ("code", "parts"),
    [
        (None, ("my_model.py", "no such file", "function make(study)")),
        ("x = 1 /", ("my_model.py raised SyntaxError", "line 1")),
        ("import no_such_package", ("ModuleNotFoundError: No module named 'no_such_package'", "my_model.py, line 1)")),
        ("from json import dumps\nmake = 3", ("found 'no function'", "function make(study)")),
        ("def fit(study): ...\ndef wrap(study): ...", ("found 'only fit, wrap'", "function make(study)")),
        ("def make(study): return study", ("returned: found 'a Study'", "biowm.adapters.wrap")),
        ("def make(): ...", ("raised TypeError", "make() takes 0 positional arguments but 1 was given")),
        ("def make(study):\n    return 1 / len(study.repairs)", ("raised ZeroDivisionError", "my_model.py, line 2)")),
    ],
    ids=["file", "syntax", "import", "no function", "other functions", "no model", "arguments", "raises"],
)
def test_what_makes_no_model_is_refused(study: Path, tmp_path: Path, code: str | None, parts: tuple[str, ...]):
    file = tmp_path / "my_model.py" if code is None else written(tmp_path, code)
    biowm("certify", file, "--on", study, "--json").refused(*parts)


def test_without_a_study_there_is_nothing_to_make_a_model_from(tmp_path: Path):
    file = written(tmp_path, "def make(study): ...")
    biowm("certify", file, "--json").refused("my_model.py without a study", "--on STUDY.yaml")
