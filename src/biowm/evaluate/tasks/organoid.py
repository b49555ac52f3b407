"""Task `organoid`: size and death of pancreatic cancer organoids under gemcitabine, three days from the first.

Seven doses, six wells each, imaged every 4 h for 72 h (doi:10.1371/journal.pcbi.1010584). From the readings of the
first 24 h, ln area and the ln death signal (propidium iodide) of each organoid are foretold at 72 h; one dose is held
out at a time. 814 organoids hold all of the first 24 h, 633 of them are there at 48 and 72 h: the others' tracks are
lost (merged, fallen apart, missed by the tracker).

**Lost tracks are censored, not missing at random.** Worlds learn from every reading of a track until it is lost, which
is right where loss depends on what was read; rules that need the end learn from those who were followed. Scores are of
those who were followed, as the reference's are; `r2_reweighted` and `rmse_reweighted` weigh each by the inverse of
its chance of being followed, by what was read in 24 h and the dose, and are then those of all 814 where loss depends on
nothing else. Death itself may end a track, and no weight mends that.

Intervals are over the 42 wells. Nobody switched a dose: what a schedule would do is not asked here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from biowm.core.interval import Role, Row, row
from biowm.core.registry import register
from biowm.data import catalogue
from biowm.train.contest import Progress, portion

from ..metrics import METRICS, Forecast, Metric, Tally, difference, given, tally
from ..task import Answer, Pooled, Setting, Task
from ._organoids import (
    CHANNELS,
    DOSES,
    NOW,
    RULES,
    Fold,
    Organoids,
    build,
    by_rule,
    features,
    folds,
    foretold,
    read,
    standing,
)  # fmt: skip

_MEMBERS = {"direct": "direct", "race-ridge": "ridge", "knn": "knn"}
_WORLDS = ("world", "world:no-rules")
_R2 = Metric(given)


@dataclass(frozen=True)
class Problem:
    """The organoids and the doses held out."""

    organoids: Organoids
    folds: tuple[Fold, ...]
    seed: int
    draws: int
    thorough: bool = False


@dataclass(frozen=True)
class Said:
    """Means at 72 h of all held-out organoids, and forecasts (every frame after 24 h) of each channel, if any."""

    mean: Float[np.ndarray, "n 2"]
    bands: tuple[Forecast, ...] = ()


@register("tasks", "organoid")
class Organoid(Task[Problem, Said]):
    """Area and death signal of organoids under a dose nobody has seen."""

    version = "1"
    primary = "r2"
    higher = True
    data = "organoid"

    def make(self, seed: int, setting: Setting) -> Problem:
        """The tracks; only the worlds' own randomness depends on the seed."""
        file = catalogue.find("organoid", setting.data) / catalogue.known("organoid").files
        organoids = read(file)
        quick, full = setting.effort == "quick", setting.effort == "full"
        held = tuple(folds(organoids, DOSES[3:4] if quick else DOSES))
        return Problem(organoids, held, seed, 1000 if full else 256, full)

    def scope(self, setting: Setting) -> str:
        """Quick runs hold out one dose."""
        return "quick: 30 nM" if setting.effort == "quick" else ""

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Said]]:
        """The rules, then one machine a dose."""
        for rule in RULES:
            said = [by_rule(rule, problem.organoids, fold) for fold in problem.folds]
            yield Answer(rule, "baseline", Said(np.concatenate(said)))
        found: dict[str, list[list[Forecast]]] = {name: [] for name in (*_MEMBERS, *_WORLDS)}
        for i, fold in enumerate(problem.folds):
            told = portion(tell, f"{fold.dose:g} nM", i, len(problem.folds))
            fitted = build(problem.organoids, fold, problem.seed, problem.thorough, told)
            for name, parts in found.items():
                who = _MEMBERS.get(name, name)
                parts.append(foretold(fitted, who, problem.organoids, fold, problem.seed, problem.draws))
        for name, parts in found.items():
            bands = tuple(_joined([part[j] for part in parts]) for j in range(len(CHANNELS)))
            role: Role = "ours" if name in _WORLDS else "baseline"
            yield Answer(name, role, Said(np.stack([b.mean[:, -1] for b in bands], axis=1), bands))

    def score(self, prediction: Said, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """By well: errors at 72 h of those who were followed, as they are and reweighted; bands by organoid."""
        organoids = problem.organoids
        test = np.concatenate([fold.test for fold in problem.folds])
        followed = organoids.followed[test]
        weight = standing(features(organoids), organoids.followed)[test]
        wells = np.array(organoids.well)[test]
        found: dict[tuple[str, str], Tally] = {}
        for j, channel in enumerate(CHANNELS):
            split = f"dose-out/{channel}"
            truth = np.where(followed[:, None], organoids.y[test][:, NOW + 1 :, j], np.nan)
            square = (prediction.mean[:, j] - truth[:, -1]) ** 2
            for name, w in (("", None), ("_reweighted", np.where(followed, weight, 1.0))):
                shares = 1 - square / variance(truth[:, -1], w)
                found[split, f"r2{name}"] = tally(_R2, shares, wells, weights=w)
                found[split, f"rmse{name}"] = tally(METRICS["rmse"], square, wells, weights=w)
            if prediction.bands:
                for name in ("coverage90", "joint90", "crps", "interval_score"):
                    loss = METRICS[name].loss(prediction.bands[j], truth)[:, -1]
                    units = np.arange(len(test)).astype(str) if METRICS[name].exact else wells
                    found[split, name] = tally(METRICS[name], loss, units)
        return found

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """What the worlds gain over the reference's ridge, paired by well."""
        for (name, role, split, metric), ours in pooled.items():
            if role == "ours" and metric in ("r2", "r2_reweighted"):
                theirs = pooled["ridge", "baseline", split, metric]
                yield row(name, role, split, f"{metric}_minus_ridge", difference(ours, theirs))


def variance(y: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None) -> float:
    """The (weighted) variance of those that were read."""
    seen = np.isfinite(y)
    w = np.ones(seen.sum()) if weight is None else weight[seen]
    return float(np.average((y[seen] - np.average(y[seen], weights=w)) ** 2, weights=w))


def _joined(parts: list[Forecast]) -> Forecast:
    return Forecast(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Forecast)))
