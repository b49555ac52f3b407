"""Held-out metrics of a fitted world: `world`, `world:no-rules` and every simple rule, at readings and horizons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from biowm.core.interval import Role, Row, row
from biowm.core.path import Path, take
from biowm.core.scores import interval_score
from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.train.contest import Progress, silent
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons, declared

from .exam import Exam, Training
from .metrics import interval


def exam_of(
    fitted: Fitted,
    paths: Path,
    subjects: Sequence[str],
    horizons: Horizons,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    truth: World | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Exam:
    """The exam of a fitted world and its simple rules on the subjects given (stacked paths).

    `groups` holds the groupings of these subjects, `truth` the simulator that all data came from, if there is one.
    """
    rules = {r.name: fitted.members[r.name] for r in fitted.race.rows if r.is_rule}
    calibrations = {"world": fitted.calibration, **{name: fitted.rules_calibration[name] for name in rules}}
    training, met = _training(fitted)
    contexts = {name: tuple(values) for name, values in (groups or {}).items()} | categories(fitted.spec, paths)
    return Exam(
        fitted.world, rules, paths, tuple(subjects), horizons, calibrations, seed=seed, training=training, truth=truth,
        contexts=contexts, trained_on={name: frozenset(values) for name, values in met.items()},
        origin={"fit": fitted.record.id}, progress=progress,
    )  # fmt: skip


def _training(fitted: Fitted) -> tuple[Training | None, Mapping[str, tuple[str, ...]]]:
    """What a world learned from, and the groups of these subjects; None where the histories were left out."""
    c = fitted.cohort
    if c is None:
        return None, {}
    index = c.known
    paths = take(c.paths, index)
    training = Training(paths, tuple(c.subjects[i] for i in index), fitted.calibration.scale, fitted.envelope)
    return training, {n: tuple(v[i] for i in index) for n, v in c.groups.items()} | categories(fitted.spec, paths)


def categories(spec: WorldSpec, paths: Path) -> dict[str, tuple[str, ...]]:
    """For every category among the traits, the level of every subject (empty: none)."""
    found = {}
    for trait, place in zip(spec.traits, spec.trait_places, strict=True):
        if trait.kind == "category":
            hot = np.nan_to_num(np.asarray(paths.traits)[:, place])
            found[trait.name] = tuple(trait.levels[row.argmax()] if row.max(initial=0.0) > 0 else "" for row in hot)
    return found


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


@dataclass(frozen=True)
class HeldOut:
    """Subjects kept from training: stacked paths, names and groupings."""

    paths: Path
    subjects: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]


def held_out(fitted: Fitted) -> HeldOut | None:
    """The held-out subjects of a fitted study; None where there are none or their histories were left out."""
    if fitted.cohort is None:
        return None
    index = np.flatnonzero(np.array(fitted.cohort.split) == "test")
    if not len(index):
        return None
    c = fitted.cohort
    groups = {name: tuple(values[i] for i in index) for name, values in c.groups.items()}
    return HeldOut(take(c.paths, index), tuple(c.subjects[i] for i in index), groups)


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
    for metric, loss in (("coverage90", exam.hits(member)), ("interval_score", interval_score(low, high, z, level))):
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
