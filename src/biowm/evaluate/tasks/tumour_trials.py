"""Task `tumour-trials`: lesion volumes of five real trials; a subject's last three readings, foretold from all before.

641 of 1,461 lesions have six readings or more and are asked about; the others are learned from. `last3` holds patients
out in five folds, `study-out` whole trials (doi:10.1371/journal.pcbi.1009822). Errors are those of ln(max(volume, 1)),
averaged over a subject's three readings, then over subjects (`mae`) or as their median (`median_ae`). The bar is the
last value (`locf`), which is hard to beat; its bands are quantiles of what its errors were in training.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as File

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float

from biowm.core.forecast import forecast
from biowm.core.interval import Interval, Role, Row, row
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.core.registry import register
from biowm.core.schedule import schedule
from biowm.core.spec import Channel, WorldSpec
from biowm.data import catalogue
from biowm.train.contest import Progress
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons
from biowm.train.workers import side_by_side

from ..metrics import METRICS, Forecast, Tally, add, ratio, tally
from ..task import Answer, Pooled, Setting, Task
from ._fits import as_forecast, fit_folds, member

AHEAD, LEAST, FOLDS = 3, 6, 5  # readings asked about, readings needed, folds by patient
RULES = ("locf", "trend")
_MEMBERS = ("persistence", "mean", "direct", "ridge", "knn")
_METRICS = ("mae", "interval_score", "coverage90", "crps")
_HORIZONS = Horizons("readings", tuple(float(k) for k in range(1, AHEAD + 1)), "week")

SPEC = WorldSpec(
    name="tumour-trials",
    clock="week",
    channels=(Channel("volume", "mm^3", link="log", low=0.0, floor=1.0),),
    actions=(),
)


@dataclass(frozen=True)
class Lesion:
    """One subject: its trial, times (weeks) and ln(max(volume, 1))."""

    name: str
    trial: str
    t: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]


@dataclass(frozen=True)
class Fold:
    """Subjects to learn from and to ask about, as indices; `split` is what the fold is part of."""

    split: str
    train: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """All lesions and the folds to be done."""

    lesions: tuple[Lesion, ...]
    folds: tuple[Fold, ...]
    seed: int
    draws: int
    thorough: bool = False


Prediction = tuple[Forecast, ...]  # one a fold


@register("tasks", "tumour-trials")
class TumourTrials(Task[Problem, Prediction]):
    """Lesion volumes of five real trials: the last three readings of a subject."""

    version = "1"
    primary = "mae"
    data = "laleh"

    def make(self, seed: int, setting: Setting) -> Problem:
        """Lesions and folds; the folds are always the same, only the worlds' own randomness depends on the seed."""
        lesions = read(catalogue.find("laleh", setting.data))
        every = folds(lesions)
        full = setting.effort == "full"
        return Problem(lesions, every[:1] if setting.effort == "quick" else every, seed, 480 if full else 96, full)

    def scope(self, setting: Setting) -> str:
        """Quick runs do the first fold by patient only."""
        return f"quick: fold 1 of {FOLDS} by patient" if setting.effort == "quick" else ""

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """The last value and the subject's own trend, then the race's own rules, then the worlds."""
        for rule in RULES:
            yield Answer(rule, "baseline", tuple(_by_rule(problem, fold, rule) for fold in problem.folds))
        fits = fit_folds(lambda i, told: _fit(problem, problem.folds[i], told), len(problem.folds), tell)
        for name in (*_MEMBERS, "world", "world:no-rules"):
            role: Role = "baseline" if name in _MEMBERS else "ours"
            asked = [
                functools.partial(_by_world, problem, *pair, name) for pair in zip(problem.folds, fits, strict=True)
            ]
            yield Answer(name, role, tuple(side_by_side(asked, lambda i: None)))

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Tallies by subject; its three readings count alike."""
        found: dict[tuple[str, str], Tally] = {}
        for fold, said in zip(problem.folds, prediction, strict=True):
            asked = [problem.lesions[i] for i in fold.test]
            truth = np.stack([lesion.y[-AHEAD:] for lesion in asked])
            units = np.repeat([lesion.name for lesion in asked], AHEAD)
            for name in _METRICS:
                counted = tally(METRICS[name], METRICS[name].loss(said, truth).ravel(), units)
                key = fold.split, name
                found[key] = add([found[key], counted]) if key in found else counted
        return found

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """The error over that of the last value, paired by subject, and the median subject."""
        for (name, role, split, metric), ours in pooled.items():
            if metric != "mae":
                continue
            yield row(name, role, split, "median_ae", _median(ours))
            last = pooled.get(("locf", "baseline", split, metric))
            if last is not None:
                yield row(name, role, split, "mae_ratio", ratio(ours, last))


def read(folder: File) -> tuple[Lesion, ...]:
    """The subjects in the order of the file; readings of one week are averaged, a vanished lesion is ln 1."""
    file = folder / catalogue.known("laleh").files
    table = pd.read_csv(file, usecols=["Pt_hashID", "Study_id", "T_weeks", "Lesion_vol"])
    found = []
    for name, own in table.groupby("Pt_hashID", sort=False):
        volume = own.groupby("T_weeks")["Lesion_vol"].mean()
        t, x = volume.index.to_numpy(float), volume.to_numpy(float)
        found.append(Lesion(str(name), str(own["Study_id"].iloc[0]), t, np.log(np.maximum(x, 1.0))))
    return tuple(found)


def folds(lesions: Sequence[Lesion]) -> tuple[Fold, ...]:
    """Five folds by patient, then one a trial; only subjects with enough readings are asked about."""
    able = np.array([len(lesion.t) >= LEAST for lesion in lesions])
    order = np.random.default_rng(0).permutation(len(lesions))
    parts = [("last3", np.sort(order[k::FOLDS])) for k in range(FOLDS)]
    trials = np.array([lesion.trial for lesion in lesions])
    parts += [("study-out", np.flatnonzero(trials == trial)) for trial in dict.fromkeys(trials.tolist())]
    everyone = np.arange(len(lesions))
    return tuple(
        Fold(split, tuple(np.setdiff1d(everyone, out).tolist()), tuple(out[able[out]].tolist())) for split, out in parts
    )


def _by_rule(problem: Problem, fold: Fold, rule: str) -> Forecast:
    """A rule's point forecast, and bands by the quantiles of its errors in training, one lead at a time."""
    says = _locf if rule == "locf" else _trend
    known = [problem.lesions[i] for i in fold.train if len(problem.lesions[i].t) >= LEAST]
    missed = np.stack([lesion.y[-AHEAD:] - says(lesion) for lesion in known])
    said = np.stack([says(problem.lesions[i]) for i in fold.test])
    low, high = (said + np.quantile(missed, q, axis=0) for q in (0.05, 0.95))
    return Forecast(said, said, said[:, None, :], low, high, low, high)


def _locf(lesion: Lesion) -> Float[np.ndarray, " h"]:
    return np.repeat(lesion.y[-AHEAD - 1], AHEAD)


def _trend(lesion: Lesion) -> Float[np.ndarray, " h"]:
    """The straight line through all readings before the last three."""
    slope, level = np.polyfit(lesion.t[:-AHEAD], lesion.y[:-AHEAD], 1)
    return level + slope * lesion.t[-AHEAD:]


def _paths(lesions: Sequence[Lesion]) -> Path:
    """Stacked paths, in weeks since the first reading; the volume is e^y."""
    nothing = schedule([])
    return stack([
        Path(
            (own.t - own.t[0]).astype(np.float32), np.exp(own.y).astype(np.float32)[:, None], nothing,
            np.zeros(0, np.float32), np.asarray(0, np.int32),
        )
        for own in lesions
    ])  # fmt: skip


def _fit(problem: Problem, fold: Fold, tell: Progress) -> Fitted:
    """The default world of a fold; a unit is a subject."""
    paths = _paths([problem.lesions[i] for i in fold.train])
    return fit_paths(SPEC, paths, _HORIZONS, thorough=problem.thorough, seed=problem.seed, halves=False, progress=tell)


def _by_world(problem: Problem, fold: Fold, fitted: Fitted, name: str) -> Forecast:
    asked = [problem.lesions[i] for i in fold.test]
    paths = _paths(asked)
    origin = np.array([len(own.t) - AHEAD - 1 for own in asked])
    rows = np.arange(len(asked))
    times = paths.t[rows[:, None], origin[:, None] + 1 + np.arange(AHEAD)]
    queries = Queries(rows, origin, times)
    world, trust = member(fitted, name)
    volume = forecast(world, paths, queries, key=jax.random.key(problem.seed), draws=problem.draws)
    return as_forecast(SPEC, trust, volume, times - paths.t[rows, origin][:, None], _log)


def _log(volume: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(volume, 1.0))


def _median(errors: Tally) -> Interval:
    """The median over subjects of their mean error, with its bootstrap interval."""
    own = errors.total / errors.count
    again = np.random.default_rng(0).integers(len(own), size=(1000, len(own)))
    low, high = np.quantile(np.median(own[again], axis=1), [0.025, 0.975])
    return Interval(float(np.median(own)), float(low), float(high), len(own))
