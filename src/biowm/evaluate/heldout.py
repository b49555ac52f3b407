"""Held-out metrics of a fitted world: `world`, `world:no-rules` and every simple rule, at readings and horizons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from biowm.core.interval import Role, Row, row
from biowm.core.path import Path, take
from biowm.core.scores import inside, interval_score
from biowm.train.contest import Progress
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons, declared

from .exam import Exam
from .metrics import interval


def exam_of(
    fitted: Fitted,
    paths: Path,
    subjects: Sequence[str],
    horizons: Horizons,
    *,
    seed: int = 0,
    progress: Progress = lambda text, share: None,
) -> Exam:
    """The exam of a fitted world and its simple rules on the subjects given (stacked paths)."""
    rules = {r.name: fitted.members[r.name] for r in fitted.race.rows if r.is_rule}
    calibrations = {"world": fitted.calibration, **{name: fitted.rules_calibration[name] for name in rules}}
    return Exam(fitted.world, rules, paths, tuple(subjects), horizons, calibrations, seed=seed, progress=progress)


def heldout_rows(fitted: Fitted, paths: Path, subjects: Sequence[str], *, seed: int = 0) -> tuple[Row, ...]:
    """Rows on held-out subjects: splits next, h3, h6, h12 as far as the paths reach, and each declared horizon.

    Errors and scores are in standardised link units, averaged over the target channels; `mae:<channel>` is in
    the channel's own unit. Coverages are exact and counted by subject.
    """
    spec = fitted.spec
    asked = [declared((), paths, spec.clock, spec.targets, fitted.horizons.origins)]
    if fitted.horizons.kind == "clock":
        asked.append(fitted.horizons)
    rows: list[Row] = []
    for horizons in asked:
        exam = exam_of(fitted, paths, subjects, horizons, seed=seed)
        rows += _rows(exam, "world", "world", "ours")
        last = {"persistence": exam.rules["persistence"]}
        trust = {"world": fitted.rules_calibration["world:no-rules"], "persistence": exam.calibrations["persistence"]}
        free = Exam(fitted.rules_free, last, paths, tuple(subjects), horizons, trust, seed=seed)
        rows += _rows(free, "world", "world:no-rules", "ours")
        for name in exam.rules:
            rows += _rows(exam, name, name, "baseline")
    return tuple(rows)


def held_out(fitted: Fitted) -> tuple[Path, tuple[str, ...]] | None:
    """The held-out subjects of a fitted study; None where there are none or their histories were left out."""
    if fitted.cohort is None:
        return None
    index = np.flatnonzero(np.array(fitted.cohort.split) == "test")
    if not len(index):
        return None
    return take(fitted.cohort.paths, index), tuple(fitted.cohort.subjects[i] for i in index)


def _rows(exam: Exam, member: str, name: str, role: Role) -> list[Row]:
    labels = exam.horizons.labels()
    found: list[Row] = []
    for metric in ("rmse", "mae", "crps"):
        curve = exam.curve(exam.answer(member), metric)
        found += [
            row(name, role, s, metric, interval(t, seed=exam.seed))
            for s, t in zip(labels, curve, strict=True)
            if len(t.units)
        ]
    truth, draws = exam.asked.truth, exam.answer(member)
    for j in exam.world.spec.targets:
        error = np.abs(np.median(draws[..., j], axis=1) - truth[..., j])[..., None]
        metric = f"mae:{exam.world.spec.channels[j].name}"
        tallies = exam.by_horizon("mae", error)
        found += [
            row(name, role, s, metric, interval(t, seed=exam.seed))
            for s, t in zip(labels, tallies, strict=True)
            if len(t.units)
        ]
    level = exam.calibrations[member].level
    if level is None:
        return found
    z = exam.scaled(truth)
    low, high = exam.bands(member)
    hit = np.where(np.isnan(z), np.nan, inside(low, high, z))
    for metric, loss in (("coverage90", hit), ("interval_score", interval_score(low, high, z, level))):
        tallies = exam.by_horizon(metric, loss)
        found += [
            row(name, role, s, metric, interval(t, seed=exam.seed))
            for s, t in zip(labels, tallies, strict=True)
            if len(t.units)
        ]
    for label, counted in zip(labels, exam.path_coverage(member), strict=True):
        if len(counted.units):
            found.append(row(name, role, label, "joint90", interval(counted, seed=exam.seed)))
    return found
