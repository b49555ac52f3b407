"""The demo: its cohort is a table as a stranger has it, its truth is the simulator's, and it runs from end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biowm.cli.demo.cohort import PATIENTS, SCAN, Simulated, simulate_cohort, write_study
from biowm.core.path import take
from biowm.core.schedule import entries
from biowm.data.study import load

from .conftest import biowm

NOW = 20.0


@pytest.fixture(scope="module")
def simulated() -> Simulated:
    return simulate_cohort(0)


def test_the_table_holds_what_was_simulated(simulated: Simulated, tmp_path: Path):
    study = load(write_study(simulated, tmp_path))
    assert len(study.subjects) == PATIENTS
    for row in (0, 7, PATIENTS - 1):
        path, true = study.paths[row], simulated.paths.x[row, :, 0]
        day = np.asarray(path.t)[np.isfinite(path.x[:, 0])].astype(int)
        assert (day[:-1] % SCAN == 0).all()
        np.testing.assert_allclose(path.x[np.isfinite(path.x[:, 0]), 0], true[day], rtol=1e-5)
        ends = [(e.card, e.onset, min(e.stop, day[-1])) for e in entries(take(simulated.paths.plan, row))]
        ends = [e for e in ends if e[1] < e[2]]
        assert sorted((e.card, e.onset, e.stop) for e in entries(path.plan)) == sorted(ends)
    assert set(pd.read_csv(tmp_path / "cohort.csv")["chemo"]) == {0, 1}


def test_the_truth_of_the_recorded_schedule_is_the_recorded_path(simulated: Simulated):
    whole = np.flatnonzero(np.isfinite(simulated.paths.x[:, -1, 0]))
    times = np.arange(5.0, 31.0, 5.0)
    for row in whole[:3].tolist():
        given = [e._replace(onset=max(e.onset, NOW)) for e in entries(take(simulated.paths.plan, row)) if e.stop > NOW]
        found = simulated.outcome(f"P{row:03d}", NOW, given, times)[:, 0]
        np.testing.assert_allclose(found, simulated.paths.x[row, (NOW + times).astype(int), 0], rtol=1e-5)
        untreated = simulated.outcome(f"P{row:03d}", NOW, [], times)[:, 0]
        assert untreated[-1] > found[-1] or not given


@pytest.mark.slow
def test_the_demo_runs_from_end_to_end(tmp_path: Path):
    said = biowm("demo", "--out", tmp_path)
    assert said.code == 0, said.err
    for part in ("best simple rule", "persistence", "Gates:", "In truth the plan leaves", "report.html"):
        assert part in said.out, said.out
    for name in ("report.html", "what_if.png", "plan.png", "cohort.csv", "study.yaml", "world/world.json"):
        assert (tmp_path / name).stat().st_size > 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'src="http' not in page
    assert 'href="http' not in page
