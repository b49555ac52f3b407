"""The main job, told about patients whose truth is known: what if, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from biowm import api
from biowm.core.errors import Abstention
from biowm.core.futures import Futures
from biowm.core.interval import Interval
from biowm.core.schedule import entries
from biowm.core.scores import inside_jointly
from biowm.evaluate.metrics import METRICS, interval, tally
from biowm.plan.result import Plan
from biowm.plan.whatif import schedule_of
from biowm.train.fitted import Fitted

from .cohort import Simulated

NOW, AHEAD = 20.0, 30.0
DO = ("chemo=1@0:30 d", "radio=0@0:30 d")
GOAL, LIMITS = "minimise final volume", ("total chemo <= 15 d", "total radio <= 10 d")
SCORED, TRIED = 20, 5  # held-out patients that the counterfactuals are scored on, and that a plan is asked for


@dataclass(frozen=True)
class Contender:
    """How far a model's counterfactuals were from the truth: cm3, and covered paths where it made a promise."""

    name: str
    error: Interval
    joint90: Interval


@dataclass(frozen=True)
class WhatIf:
    """One patient's futures beside their truth, and the errors over several held-out patients."""

    patient: str
    futures: Futures
    truth: Float[np.ndarray, "t 1"]
    truth_against: Float[np.ndarray, "t 1"]
    contenders: tuple[Contender, ...]


@dataclass(frozen=True)
class Planned:
    """The first plan that was given, those it was refused for, and the true final volumes (cm3) with and without it."""

    refused: dict[str, Abstention]
    patient: str = ""
    found: Plan | None = None
    outcome: float = float("nan")
    untreated: float = float("nan")


def patients(fitted: Fitted) -> tuple[str, ...]:
    """Held-out patients that were scanned up to the end of the story, the largest tumour on day 20 first."""
    cohort = fitted.cohort
    assert cohort is not None
    day = np.asarray(cohort.paths.t)
    volume = np.asarray(cohort.paths.x)[..., 0]
    at = np.nanmax(np.where(day == NOW, volume, -1.0), axis=1)
    long = np.nanmax(np.where(np.isfinite(volume), day, 0.0), axis=1) >= NOW + AHEAD
    rows = [i for i, part in enumerate(cohort.split) if part == "test" and long[i] and at[i] > 0]
    return tuple(cohort.subjects[i] for i in sorted(rows, key=lambda i: -at[i]))


def what_if(fitted: Fitted, simulated: Simulated, seed: int) -> WhatIf:
    """Chemotherapy alone from day 20 on, beside what was given, for the first patient; errors over the first ones."""
    who = patients(fitted)[:SCORED]
    futures = api.simulate(fitted, subject=who[0], start=NOW, do=DO, against=["observed"], horizon=AHEAD, seed=seed)
    assert futures.against is not None
    return WhatIf(
        patient=who[0],
        futures=futures,
        truth=true_path(simulated, who[0], futures),
        truth_against=true_path(simulated, who[0], futures.against),
        contenders=tuple(contender(name, one, simulated, who, seed) for name, one in rivals(fitted).items()),
    )


def true_path(simulated: Simulated, patient: str, futures: Futures) -> Float[np.ndarray, "t 1"]:
    """What the simulator says of the same patient under the schedule of these futures."""
    return simulated.outcome(patient, NOW, entries(schedule_of(futures, NOW)), futures.times)


def rivals(fitted: Fitted) -> dict[str, Fitted]:
    """The world, and the same questions put to the best simple rule of the race and to persistence."""
    names = dict.fromkeys((fitted.race.best_rule, "persistence"))
    rules = {n: replace(fitted, world=fitted.members[n], calibration=fitted.rules_calibration[n]) for n in names}
    return {"world": fitted, **rules}


def contender(name: str, fitted: Fitted, simulated: Simulated, who: Sequence[str], seed: int) -> Contender:
    """One model's errors on the what-if of every patient: of its median, over the whole path."""
    error, covered = [], []
    for patient in who:
        futures = api.simulate(fitted, subject=patient, start=NOW, do=DO, horizon=AHEAD, seed=seed)
        truth = true_path(simulated, patient, futures)
        error.append(float(np.abs(futures.median - truth).mean()))
        covered.append(bool(inside_jointly(futures.low, futures.high, truth, axis=(0, 1))))
    return Contender(
        name,
        interval(tally(METRICS["mae"], np.array(error), who), seed=seed),
        interval(tally(METRICS["joint90"], np.array(covered), who), seed=seed),
    )


def plan(fitted: Fitted, simulated: Simulated, seed: int) -> Planned:
    """A schedule for the smallest tumour within the limits, and what it really leads to.

    For the first patient, largest tumour first, that the planner does not abstain for.
    """
    refused: dict[str, Abstention] = {}
    for patient in patients(fitted)[:TRIED]:
        found = api.plan(fitted, subject=patient, start=NOW, goal=GOAL, limits=LIMITS, horizon=AHEAD, seed=seed)
        if isinstance(found, Abstention):
            refused[patient] = found
            continue
        end = np.array([AHEAD])
        treated, untreated = (float(simulated.outcome(patient, NOW, e, end)[0, 0]) for e in (found.entries, ()))
        return Planned(refused, patient, found, treated, untreated)
    return Planned(refused)
