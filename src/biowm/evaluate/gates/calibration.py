"""Gate `calibration`: the bands keep their promise, at each horizon and over whole paths, and no wider than need be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
from jaxtyping import Float

from biowm.core.interval import Interval
from biowm.core.registry import register
from biowm.core.scores import interval_score

from ..exam import Exam, Verdict
from ..metrics import Tally, interval, ratio

_BINS = 10


@register("gates", "calibration")
def check(exam: Exam) -> Verdict:
    """The exact 95 % interval of each coverage, counted by subject, contains the level, at no cost in interval score.

    Bands at each horizon and of whole paths are tested; the interval score must not be shown worse than that of ridge
    with its own conformal bands (R10 of the ladder). Coverage by channel and by context is in the evidence, uncounted:
    so many intervals would fail somebody by chance.
    """
    level = exam.calibrations["world"].level
    if level is None:
        return exam.skip("calibration", "no promise: too few calibration subjects for a band")
    held = _coverages(exam, level)
    longest = list(held.values())[-1]
    rule = "ridge" if "ridge" in exam.rules else exam.best_rule()
    width = ratio(*(exam.area(_scores(exam, name, level)) for name in ("world", rule)), seed=exam.seed)
    missed = [name for name, c in held.items() if not c.low <= level <= c.high]
    costs = f"interval score {width.value:.2f} [{width.low:.2f}, {width.high:.2f}] of {rule} + conformal, low is good"
    evidence = {
        "level": level,
        "coverage": {name: asdict(c) for name, c in held.items()},
        "interval_score_ratio": asdict(width),
        "against": rule,
        "by_channel": _by_channel(exam),
        "by_context": _by_context(exam),
        "pit": dict(zip(exam.horizons.labels(), _pit(exam), strict=True)),
    }
    passed = not missed and width.low <= 1
    return exam.verdict("calibration", passed, longest, f"{_said(held, level)}; {costs}", evidence)


def _said(held: Mapping[str, Interval], level: float) -> str:
    """Which bands hold what they promise, and on which side the others miss it."""
    sides = {
        "too narrow, they hold less often": [name for name, c in held.items() if c.high < level],
        "too wide, they hold more often": [name for name, c in held.items() if c.low > level],
        "as promised": [name for name, c in held.items() if c.low <= level <= c.high],
    }
    found = {name: f"{name} {c.value:.2f} [{c.low:.2f}, {c.high:.2f}]" for name, c in held.items()}
    parts = [f"{side}: {', '.join(found[name] for name in names)}" for side, names in sides.items() if names]
    return "; ".join([f"bands promise to hold {level:g} of the readings and of the paths", *parts])


def _coverages(exam: Exam, level: float) -> dict[str, Interval]:
    tallies = dict(zip(exam.horizons.labels(), exam.by_horizon("coverage90", exam.hits("world")), strict=True))
    paths = zip(exam.horizons.labels(), exam.path_coverage("world"), strict=True)
    tallies |= {f"path to {label}": counted for label, counted in paths}
    return {name: interval(t) for name, t in tallies.items() if len(t.units)}


def _by_channel(exam: Exam) -> dict[str, dict[str, dict[str, float]]]:
    """Coverage of each target channel at each horizon."""
    hit, spec = exam.hits("world"), exam.world.spec
    return {
        spec.channels[j].name: _intervals(exam, hit[..., place : place + 1]) for place, j in enumerate(spec.targets)
    }


def _by_context(exam: Exam) -> dict[str, dict[str, dict[str, float]]]:
    """Coverage at each horizon of the subjects of every site, plate or kind."""
    hit, subject = exam.hits("world"), exam.asked.queries.subject
    found = {}
    for grouping, values in exam.contexts.items():
        for value in sorted(set(values)):
            here = np.array([v == value for v in values])[subject]
            found[f"{grouping} {value}"] = _intervals(exam, np.where(here[:, None, None], hit, np.nan))
    return found


def _intervals(exam: Exam, hit: Float[np.ndarray, "q r c"]) -> dict[str, dict[str, float]]:
    tallies = zip(exam.horizons.labels(), exam.by_horizon("coverage90", hit), strict=True)
    return {label: asdict(interval(counted)) for label, counted in tallies if len(counted.units)}


def _scores(exam: Exam, name: str, level: float) -> tuple[Tally, ...]:
    """Interval scores of the world or of a rule at each horizon."""
    truth = exam.scaled(exam.asked.truth)
    return exam.by_horizon("interval_score", interval_score(*exam.bands(name), truth, level))


def _pit(exam: Exam) -> list[list[int]]:
    """Per horizon, how many truths fall into each tenth of their forecast distribution."""
    z, truth = exam.scaled(exam.answer("world")), exam.scaled(exam.asked.truth)
    place = (z < truth[:, None]).sum(1) + 0.5 * (z == truth[:, None]).sum(1) + 0.5
    share = np.where(np.isnan(truth), np.nan, place / (z.shape[1] + 1))
    tenths = [share[exam.asked.horizon == h] for h in range(len(exam.horizons.values))]
    return [np.histogram(t[np.isfinite(t)], bins=_BINS, range=(0.0, 1.0))[0].tolist() for t in tenths]
