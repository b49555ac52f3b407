"""The command line as a user meets it: one small study, fitted once for all tests."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import yaml

from biowm.cli.main import main

STUDY: dict[str, Any] = {
    "study": "tiny",
    "table": "visits.csv",
    "subject": "patient",
    "time": {"column": "day", "unit": "d"},
    "horizons": ["2 d", "4 d"],
    "channels": {"psa": {"unit": "ng/mL", "link": "log", "low": 0, "high": 10000, "floor": 0.1}},
    "actions": {"drug": {"unit": "mg/d", "low": 0, "high": 4, "kind": "rate"}},
}
COLUMNS = ("patient", "day", "psa", "drug")
Row = tuple[str, float, float, float]


@dataclass(frozen=True)
class Said:
    """What a command left: its exit code and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The only thing on stdout: one JSON object."""
        assert self.code == 0, self.err
        body = json.loads(self.out)
        assert isinstance(body, dict)
        return body

    def refused(self, *parts: str) -> None:
        """Bad input: exit 2, nothing on stdout, one message that names every part."""
        assert self.code == 2, (self.code, self.out[-2000:], self.err[-4000:])
        assert self.out == ""
        assert "Traceback" not in self.err
        missing = [part for part in parts if part not in self.err]
        assert not missing, f"{missing} not in: {self.err}"


def biowm(*args: object) -> Said:
    """Run a command in this process; its environment does not outlive it."""
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, {"BIOWM_DEBUG": "1"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        pytest.raises(SystemExit) as left,
    ):
        main([str(a) for a in args])
    return Said(int(left.value.code or 0), out.getvalue(), err.getvalue())


def cohort(seed: int, subjects: int = 40, readings: int = 8) -> list[Row]:
    """Growth of 0.4 a day in log units, which each mg/d of the drug slows by 0.3."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for s in range(subjects):
        day, log, growth, effect = 0.0, rng.normal(2.0, 0.4), rng.normal(0.4, 0.05), rng.normal(0.3, 0.03)
        for _ in range(readings):
            dose = round(float(rng.uniform(0, 3)), 1)
            rows.append((f"s{s:02d}", round(day, 2), round(float(np.exp(log)), 3), dose))
            gap = float(rng.uniform(0.8, 1.2))
            log += (growth - effect * dose) * gap + 0.05 * rng.normal()
            day += gap
    return rows


def write_table(file: Path, rows: list[Row]) -> None:
    with file.open("w", newline="") as handle:
        csv.writer(handle).writerows([COLUMNS, *rows])


def write_study(folder: Path, rows: list[Row], **changes: object) -> Path:
    """A study file and its table in a folder of their own."""
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / "visits.csv", rows)
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY | changes))
    return file


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("study"), cohort(seed=0))


@dataclass(frozen=True)
class Run:
    """A finished `biowm fit`: its folder, and what it said."""

    folder: Path
    said: Said


@pytest.fixture(scope="session")
def fit_run(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One fit, shared by all tests; nobody may write to its folder."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    return Run(folder, biowm("fit", study, "--out", folder, "--json"))


@pytest.fixture(scope="session")
def artefact(fit_run: Run) -> Path:
    assert fit_run.said.code == 0, fit_run.said.err
    return fit_run.folder


@pytest.fixture
def copy(artefact: Path, tmp_path: Path) -> Path:
    """The artefact, to be damaged."""
    return Path(shutil.copytree(artefact, tmp_path / "copy"))


@pytest.fixture
def simulate(artefact: Path) -> Callable[..., Said]:
    """`biowm simulate --json` on the shared artefact, few draws."""

    def ask(*args: object, horizon: str = "3 d") -> Said:
        return biowm("simulate", artefact, "--horizon", horizon, "--draws", 40, "--json", *args)

    return ask
