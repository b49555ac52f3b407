"""Gate `calibration`: the bands keep their promise, at each horizon and over whole paths, and no wider than need be."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from jaxtyping import Float

from biowm.core.interval import Interval
from biowm.core.registry import register
from biowm.core.scores import conformal_radius, inside, inside_jointly, interval_score
from biowm.train.calibrate import band

from ..exam import Exam, Verdict
from ..metrics import METRICS, Tally, interval, ratio, tally

_BINS = 10


@register("gates", "calibration")
def check(exam: Exam) -> Verdict:
    """The exact 95 % interval of each coverage, counted by subject, contains the level, at no cost in interval score.

    Bands at each horizon and of whole paths are tested; the interval score must not be shown worse than that of ridge
    with conformal bands, which here are calibrated on the other subjects of the exam (R10 of the ladder).
    """
    level = exam.calibration.level
    if level is None:
        why = "no promise: too few calibration subjects for a band"
        return Verdict("not_applicable", None, why, exam.record("calibration", {"reason": why}))
    held = _coverages(exam, level)
    rule = "ridge" if "ridge" in exam.rules else exam.best_rule()
    width = ratio(exam.area(_scores(exam, level)), exam.area(_conformal_scores(exam, rule, level)), seed=exam.seed)
    missed = [name for name, c in held.items() if not c.low <= level <= c.high]
    said = [f"{name} {c.value:.2f} [{c.low:.2f}, {c.high:.2f}]" for name, c in held.items()]
    said.append(f"interval score {width.value:.3f} [{width.low:.3f}, {width.high:.3f}] of {rule} + conformal")
    evidence = {
        "level": level,
        "coverage": {name: asdict(c) for name, c in held.items()},
        "interval_score_ratio": asdict(width),
        "against": rule,
        "pit": {exam.label(h): counts for h, counts in enumerate(_pit(exam))},
    }
    status = "failed" if missed or width.low > 1 else "passed"
    return Verdict(status, held["joint"], "; ".join(said), exam.record("calibration", evidence))


def _bands(exam: Exam, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The band at the readings asked about, in standardised link space: low and high [q, r, c]."""
    draws, leads = exam.answer("world"), exam.questions.leads
    low = np.full(exam.questions.truth.shape, np.nan, np.float32)
    high = low.copy()
    for q, seen in enumerate(np.isfinite(leads)):
        parts = band(exam.calibration, exam.world.spec, draws[q][:, seen], leads[q, seen], kind)
        low[q, seen], high[q, seen] = parts[1:]
    return exam.scaled(low), exam.scaled(high)


def _coverages(exam: Exam, level: float) -> dict[str, Interval]:
    truth = exam.scaled(exam.questions.truth)
    hit = np.where(np.isnan(truth), np.nan, inside(*_bands(exam, "pointwise"), truth))
    tallies = {exam.label(h): t for h, t in enumerate(exam.by_horizon("coverage90", hit))}
    whole = inside_jointly(*_bands(exam, "joint"), truth, axis=(1, 2))
    tallies["joint"] = tally(METRICS["joint90"], whole, exam.units)
    return {name: interval(t) for name, t in tallies.items() if len(t.units)}


def _scores(exam: Exam, level: float) -> tuple[Tally, ...]:
    return exam.by_horizon(
        "interval_score", interval_score(*_bands(exam, "pointwise"), exam.scaled(exam.questions.truth), level)
    )


def _conformal_scores(exam: Exam, rule: str, level: float) -> tuple[Tally, ...]:
    """Interval scores of a rule whose radius at each horizon holds the other subjects of the exam."""
    centre, truth = np.median(exam.scaled(exam.answer(rule)), axis=1), exam.scaled(exam.questions.truth)
    tallies = []
    for h in range(len(exam.horizons)):
        middle, y = exam.nearest(centre, h), exam.nearest(truth, h)
        radius = _radii(np.abs(middle - y), exam.units, level)
        tallies.append(exam.tally("interval_score", interval_score(middle - radius, middle + radius, y, level)))
    return tuple(tallies)


def _radii(errors: Float[np.ndarray, "k c"], units: np.ndarray, level: float) -> Float[np.ndarray, "k c"]:
    """For each row and channel the radius from all other units; the widest error where those are too few."""
    radii = np.zeros(errors.shape)
    for unit in np.unique(units):
        for c in range(errors.shape[1]):
            other = (units != unit) & np.isfinite(errors[:, c])
            found = conformal_radius(errors[other, c], units[other], level)
            radii[units == unit, c] = found if np.isfinite(found) else errors[other, c].max(initial=0.0)
    return radii


def _pit(exam: Exam) -> list[list[int]]:
    """Per horizon, how many truths fall into each tenth of their forecast distribution."""
    z, truth = exam.scaled(exam.answer("world")), exam.scaled(exam.questions.truth)
    place = (z < truth[:, None]).sum(1) + 0.5 * (z == truth[:, None]).sum(1) + 0.5
    share = np.where(np.isnan(truth), np.nan, place / (z.shape[1] + 1))
    tenths = [exam.nearest(share, h) for h in range(len(exam.horizons))]
    return [np.histogram(t[np.isfinite(t)], bins=_BINS, range=(0.0, 1.0))[0].tolist() for t in tenths]
