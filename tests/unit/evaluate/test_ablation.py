"""Task `ablation`: who runs in which row, and what a row is scored by; task `speed`: what a figure is made of."""

from __future__ import annotations

import numpy as np
import pytest
from tests.support.tiny import SPEC, few, tiny_cohort, tiny_material

from biowm.core.path import take
from biowm.evaluate.metrics import interval
from biowm.evaluate.tasks import ablation
from biowm.evaluate.tasks._tumours import at_once, luck, one_by_one
from biowm.evaluate.tasks.ablation import Sample, _fold, _rows, _score
from biowm.evaluate.tasks.speed import Problem, Speed
from biowm.train.contest import silent
from biowm.train.horizons import Horizons

NAMES = (
    "persistence", "mechanism(gompertz)", "mixed(none)", "mixed(full, memory)", "mixed(full, memory) + network",
    "mixed(none) read exactly", "mixed(full) + kernel",
)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "left_out"),
    [
        ("world", {5}),
        ("world:no-rules", {0, 5}),
        ("world:only-trunk", {0, 1, 4, 5, 6}),
        ("world:no-noise", {2, 3}),
        ("world:no-memory", {3, 4, 5}),
        ("world:no-network", {4, 5}),
        ("world:only-mechanism", {0, 2, 3, 4, 5, 6}),
        ("world:no-kernel", {5, 6}),
    ],
)
def test_a_row_runs_what_its_name_says(row: str, left_out: set[int]):
    chosen = _rows(frozenset({"persistence"}))[row]
    assert {i for i, name in enumerate(NAMES) if not chosen(name)} == left_out


def test_a_row_is_scored_on_subjects_that_nobody_learned_from(monkeypatch: pytest.MonkeyPatch):
    raced = few("persistence", "ridge", "mixed(none)")
    seen: list[int] = []
    watched = [
        ablation.Candidate(c.name, c.is_rule, lambda m, c=c: (seen.append(m.paths.t.shape[0]), c.fit(m))[1])
        for c in raced
    ]
    monkeypatch.setattr(ablation, "_entrants", lambda sample, thorough: tuple(watched))
    cohort = tiny_cohort(24, 8)
    units = tuple(f"u{i}" for i in range(24))
    sample = Sample("tiny", SPEC, take(cohort, np.arange(24)), units, Horizons("clock", (1.0, 4.0), "d"))
    fold = _fold(sample, np.arange(6), np.arange(6, 24), 0, False, silent)
    assert max(seen) == 18
    assert set(fold.subjects) == {f"u{i}/{i}" for i in range(6)}
    alone = {name: interval(_score(fold, (name,))["tiny/4 d", "crps"]).value for name in ("persistence", "mixed(none)")}
    both = _score(fold, tuple(c.name for c in raced))
    assert alone["mixed(none)"] < alone["persistence"]
    assert interval(both["tiny/4 d", "crps"]).value < alone["persistence"]
    assert set(both["tiny/1 d", "coverage90"].units) <= set(fold.subjects)
    raw, held = (interval(both["tiny/4 d", f"joint90{kind}"]).value for kind in ("_raw", ""))
    assert held >= raw or held >= 0.9
    assert interval(both["tiny", "weight:effects"]).value == 0.0


def test_a_loop_over_patients_is_the_same_cohort_as_all_at_once():
    by = luck(0, 4, 20)
    np.testing.assert_allclose(one_by_one(by), at_once(by), rtol=1e-9)
    assert len(np.unique(at_once(by))) == 80  # four patients, each another volume every day


def test_patient_days_a_second_are_patient_days_by_seconds():
    found = Speed().score(
        {"cohort": (0.5, 1.5), "glucose": (2.0,)}, Problem(seed=3, patients=50, ready=tiny_material(), repeats=2)
    )
    assert interval(found["cohort", "seconds"]).value == 1.0
    assert interval(found["cohort", "patient_days_per_second"]).value == 50 * 60 * 2 / 2.0
    assert interval(found["glucose", "patient_days_per_second"]).value == 5 / 2.0
