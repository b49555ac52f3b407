from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.support.tiny import SPEC, few, tiny_cohort

from biowm.core.path import stack, take
from biowm.models.baselines.direct import fit_direct
from biowm.models.candidate import Candidate, Material
from biowm.train.candidates import spacing_of
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.stages import Stages

from .conftest import CANDIDATES, HORIZONS, arrays, fit_tiny


class Killed(Exception):
    """What the test throws in place of kill -9."""


def test_a_fit_holds_what_was_asked_for(fitted: Fitted):
    names = {c.name for c in CANDIDATES}
    assert {r.name for r in fitted.race.rows} == names
    assert [r.crps for r in fitted.race.rows] == sorted(r.crps for r in fitted.race.rows)
    assert sum(fitted.race.weights().values()) == pytest.approx(1.0)
    rules = {c.name for c in CANDIDATES if c.is_rule}
    assert rules <= set(fitted.members)
    assert set(fitted.race.weights()) <= set(fitted.members)
    assert not rules & {name for name, _ in fitted.race.rules_free}
    assert set(fitted.rules_calibration) == rules | {"world:no-rules"}
    assert fitted.calibration.level == 0.9
    assert fitted.calibration.subjects == 24
    assert fitted.cohort is None
    assert fitted.rows == ()
    assert fitted.envelope.longest == 4.0
    assert fitted.record.metrics["rules_weight"] == fitted.race.rules_weight


def test_what_moves_beats_the_last_value(fitted: Fitted):
    """Growth that doses slow is what the cohort is made of."""
    score = {r.name: r.crps for r in fitted.race.rows}
    assert score["direct"] < 0.9 * score["persistence"]
    assert fitted.race.blend_crps <= min(score.values()) + 1e-6


def test_who_needs_more_readings_does_not_run(monkeypatch: pytest.MonkeyPatch):
    rule, other = few("persistence", "mean")
    hungry = replace(other, name="hungry", least=24 * 8 + 1)
    monkeypatch.setattr(
        "biowm.train.candidates.entrants", lambda *_: (rule, replace(other, is_rule=False, least=24), hungry)
    )
    fitted = fit_paths(SPEC, tiny_cohort(), HORIZONS, halves=False)
    assert {r.name for r in fitted.race.rows} == {"persistence", "mean"}


def test_who_takes_long_runs_only_in_thorough_fits(monkeypatch: pytest.MonkeyPatch):
    rule, other = few("persistence", "mean")
    slow = replace(other, name="slow", is_rule=False, thorough=True)
    monkeypatch.setattr("biowm.train.candidates.entrants", lambda *_: (replace(other, is_rule=False), slow, rule))
    for thorough in (False, True):
        fitted = fit_paths(SPEC, tiny_cohort(), HORIZONS, thorough=thorough, halves=False)
        assert ("slow" in {r.name for r in fitted.race.rows}) == thorough
        assert ("slow" in fitted.record.config["candidates"]) == thorough
        assert fitted.record.config["thorough"] is thorough


@pytest.mark.slow
def test_a_killed_fit_goes_on_to_the_same_bits(fitted: Fitted, tmp_path: Path):
    stages = Stages(tmp_path / "stages", "key")
    told: list[str] = []

    def kill(text: str, share: float) -> None:
        told.append(text)
        if len(told) == 2 * len(CANDIDATES):
            raise Killed

    with pytest.raises(Killed):
        fit_tiny(stages=stages, progress=kill)
    done = {f.name: f.stat().st_mtime_ns for f in stages.folder.iterdir()}
    assert len(told) <= len(done) < 4 * len(CANDIDATES)  # what was told is kept; a few more were under way

    shares: list[float] = []
    again = fit_tiny(stages=stages, progress=lambda text, share: shares.append(share))
    assert {f.name: f.stat().st_mtime_ns for f in stages.folder.iterdir()}.items() >= done.items()
    assert shares == sorted(shares)
    assert 0.0 <= shares[0] <= shares[-1] <= 1.0
    for a, b in zip(arrays(fitted), arrays(again), strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.race == fitted.race
    np.testing.assert_array_equal(again.calibration.joint, fitted.calibration.joint)
    np.testing.assert_array_equal(again.calibration.pointwise, fitted.calibration.pointwise)
    assert again.record.id == fitted.record.id


def spy(seen: list[set[float]]) -> Candidate:
    """The last value, noting on whom it was fitted (by their ages)."""

    def fit(m: Material):
        seen.append({float(v) for v in np.asarray(m.paths.traits)[:, 0]})
        return fit_direct(m.spec, m.frame, m.pairs, "persistence")

    return Candidate("spy", False, fit)


def test_units_stay_together_and_everyone_is_held_out_once():
    seen: list[set[float]] = []
    units = [f"family {i // 3}" for i in range(24)]
    fit_tiny(units=units, candidates=(spy(seen), *few("persistence")))
    ages = [float(v) for v in tiny_cohort(24, 8).traits[:, 0]]
    folds, everyone, halves = seen[:4], seen[4], seen[5:]
    for fitted_on in (*folds, *halves):
        inside = np.array([age in fitted_on for age in ages]).reshape(8, 3)
        assert (inside.all(1) | ~inside.any(1)).all()
    assert [sum(age not in fold for fold in folds) for age in ages] == [1] * 24
    assert everyone == set(ages)
    if halves:  # fitted for members of the blend only
        assert halves[0] | halves[1] == set(ages)
        assert not halves[0] & halves[1]


def test_many_subjects_keep_the_world_that_was_calibrated(tmp_path: Path):
    """Split conformal: whoever calibrates was never learned from, not even by a fit that goes on after a kill."""
    raced, kept = [], []
    for _ in range(2):
        seen: list[set[float]] = []
        stages = Stages(tmp_path / "stages", "key")
        raced_by = (spy(seen), *few("mean"))
        fitted = fit_paths(SPEC, tiny_cohort(200, 4), HORIZONS, stages=stages, candidates=raced_by, halves=False)
        raced.append(seen)
        kept.append(fitted)
    assert [len(learned) for learned in raced[0]] == [160]  # once: raced and kept
    assert raced[1] == raced[0]  # its answers were read back, and it learned from the same subjects
    assert kept[0].calibration.subjects == 40
    for a, b in zip(arrays(kept[0]), arrays(kept[1]), strict=True):
        np.testing.assert_array_equal(a, b)


def test_another_seed_holds_out_others():
    held = []
    for seed in (0, 1):
        seen: list[set[float]] = []
        fit_tiny(seed=seed, candidates=(spy(seen), *few("persistence")))
        held.append(seen[0])
    assert held[0] != held[1]


def test_one_subject_cannot_be_held_out_from_itself():
    with pytest.raises(ValueError, match="expected at least 2"):
        fit_paths(SPEC, take(tiny_cohort(24, 8), [0]), HORIZONS, candidates=CANDIDATES)
    with pytest.raises(ValueError, match="expected at least 2"):
        fit_tiny(units=["all"] * 24)


def test_single_readings_have_no_dynamics():
    with pytest.raises(ValueError, match="no dynamics to learn"):
        fit_paths(SPEC, tiny_cohort(6, 1), HORIZONS, candidates=CANDIDATES)


def test_the_spacing_is_the_usual_gap_of_the_targets():
    paths = tiny_cohort(24, 8)
    real = [np.diff(paths.t[s][np.isfinite(paths.x[s]).any(-1)]) for s in range(24)]
    assert spacing_of(paths, (0, 1)) == pytest.approx(np.median(np.concatenate(real)))
    score = [np.diff(paths.t[s][np.isfinite(paths.x[s, :, 1])]) for s in range(24)]
    assert spacing_of(paths, (1,)) == pytest.approx(np.median(np.concatenate(score)))
    assert spacing_of(paths, (1,)) > spacing_of(paths, (0,))


def test_pairs_are_made_once_and_only_when_asked(monkeypatch: pytest.MonkeyPatch):
    from biowm.models import candidate

    made: list[int] = []
    real = candidate.pairs_of
    monkeypatch.setattr(candidate, "pairs_of", lambda *a: made.append(1) or real(*a))
    ready = candidate.material(SPEC, stack([take(tiny_cohort(24, 8), i) for i in range(3)]), 1.0, 4.0)
    assert not made
    assert ready.pairs is ready.pairs
    assert made == [1]
