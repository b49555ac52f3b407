"""Task `ias`: 72 men under intermittent androgen suppression; PSA 1, 3, 6 and 12 visits ahead, given the treatment.

Five folds by patient. Every visit (a row with a PSA reading) from a patient's second on is an origin, and the treatment
that was given after it is told: it carries information of its own, because treatment followed PSA. Errors are those of
y = log(PSA + .1). `world` and its kin are fitted on the training patients of each fold (doi:10.1002/cncr.21989).

Variant `equations`: `world:equations` has the mechanism `androgen` (doi:10.1038/s41467-020-15424-4) in its race, by
itself and under a kernel; `mechanism:androgen` is it alone, and its `weight` what both earn in the race.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path as File

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float

from biowm.core.forecast import forecast
from biowm.core.interval import Role
from biowm.core.mechanism_units import Declared
from biowm.core.mechanisms.androgen import Androgen
from biowm.core.path import Path, stack, take
from biowm.core.queries import Queries
from biowm.core.registry import register
from biowm.core.schedule import Entry, Schedule, schedule
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.data import catalogue
from biowm.models.trunks.mechanism_fit import named
from biowm.train.contest import Progress, mixture, portion, silent
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons
from biowm.train.workers import side_by_side

from ..metrics import Forecast, Metric, Tally, add, given, measure
from ..tamper import pack, shuffled, unpack
from ..task import Answer, Setting, Task
from ._ar import LEADS, RULES, Visits, foretell, truths
from ._fits import as_forecast, fit_folds

_SPLITS = {"next": 1, "h3": 3, "h6": 6, "h12": 12}
_METRICS = ("rmse", "mae", "crps", "coverage90", "joint90", "interval_score")
_MEMBERS = ("mean", "trend", "direct", "knn")  # simple rules of the race; the others have exact references above
_FOLDS = 5
_FLOOR = 0.1
_EQUATIONS = Declared(Androgen())
_WEIGHT = Metric(given)

SPEC = WorldSpec(
    name="ias",
    clock="d",
    channels=(Channel("psa", "ng/mL", link="log", low=0.0, floor=_FLOOR, resolution=0.01),),
    actions=(ActionCard("on", "dimensionless", "switch", 0.0, 1.0),),
)


@dataclass(frozen=True)
class Fold:
    """Training and test patients, as indices into the cohort."""

    train: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """The cohort, as visits for the reference rules and as paths for worlds, and the folds to be done."""

    visits: tuple[Visits, ...]
    paths: tuple[Path, ...]
    folds: tuple[Fold, ...]
    seed: int
    draws: int
    thorough: bool = False
    equations: bool = False


@dataclass(frozen=True)
class Earned:
    """The weight that a contender earned in the race of each fold."""

    weights: tuple[float, ...]


Forecasts = tuple[tuple[Forecast, ...], ...]  # by fold, then by split
Prediction = Forecasts | Earned


@register("tasks", "ias")
class Ias(Task[Problem, Prediction]):
    """Intermittent androgen suppression: PSA at the next visits, given the treatment."""

    version = "1"
    primary = "rmse"
    data = "ias"
    variants = ("equations",)

    def make(self, seed: int, setting: Setting) -> Problem:
        """The cohort and its folds; only the worlds' own randomness depends on the seed."""
        tables = read(catalogue.find("ias", setting.data))
        order = np.random.default_rng(0).permutation(len(tables))
        parts = [tuple(order[k::_FOLDS].tolist()) for k in range(_FOLDS)]
        folds = [Fold(tuple(i for i in range(len(tables)) if i not in part), part) for part in parts]
        return Problem(
            visits=tuple(_visits(table) for table in tables),
            paths=tuple(_path(table) for table in tables),
            folds=tuple(folds[:1] if setting.effort == "quick" else folds),
            seed=seed,
            draws=480 if setting.effort == "full" else 96,
            thorough=setting.effort == "full",
            equations=setting.variant == "equations",
        )

    def scope(self, setting: Setting) -> str:
        """Quick runs do the first fold only."""
        parts = [] if setting.variant is None else [f"variant {setting.variant}"]
        return "; ".join(parts + ([f"quick: fold 1 of {_FOLDS}"] if setting.effort == "quick" else []))

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """The reference rules, then the race's own rules, then the worlds."""
        for rule in RULES:
            yield Answer(rule, "baseline", tuple(_reference(rule, problem, fold) for fold in problem.folds))
        fits = _fits(problem, SPEC, portion(tell, "world", 0, 2))
        answers = _answers(problem, fits)
        for name in (*_MEMBERS, "world", "world:no-rules"):
            yield Answer(name, _role(name), _forecasts(answers, name))
        if problem.equations:
            yield from _with_equations(problem, portion(tell, "world:equations", 1, 2))
            return
        yield Answer("world:shuffled", "ours", _forecasts(_answers(problem, fits, blend=True, swap=True), "world"))
        blind = _fits(problem, replace(SPEC, actions=()), portion(tell, "world:no-action", 1, 2))
        yield Answer("world:no-action", "ours", _forecasts(_answers(problem, blind, blend=True), "world"))

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Tallies by patient at 1, 3, 6 and 12 visits ahead."""
        if isinstance(prediction, Earned):
            one = np.ones(1)
            told = zip(problem.folds, prediction.weights, strict=True)
            units = [(np.array([problem.visits[fold.test[0]].patient]), weight) for fold, weight in told]
            return {("race", "weight"): add([Tally(_WEIGHT, who, weight * one, one) for who, weight in units])}
        tallies: dict[tuple[str, str], list[Tally]] = {(s, m): [] for s in _SPLITS for m in _METRICS}
        for fold, forecasts in zip(problem.folds, prediction, strict=True):
            visits = [problem.visits[i] for i in fold.test]
            truth = np.concatenate([truths(v) for v in visits])
            units = [v.patient for v in visits for _ in v.origins]
            for (split, lead), found in zip(_SPLITS.items(), forecasts, strict=True):
                for metric in _METRICS:
                    tallies[split, metric].append(measure(metric, found, truth[:, :lead], units, lead - 1))
        return {key: add(parts) for key, parts in tallies.items()}


def _with_equations(problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
    """The world with equations in its race, the equations alone, and the weight they earned."""
    fits = _fits(problem, SPEC, tell, _EQUATIONS)
    answers, name = _answers(problem, fits), named(_EQUATIONS)
    earned = tuple(sum(w for member, w in fit.race.weights().items() if member.startswith(name)) for fit in fits)
    yield Answer("world:equations", "ours", _forecasts(answers, "world"))
    yield Answer("mechanism:androgen", "ours", _forecasts(answers, name))
    yield Answer("mechanism:androgen", "ours", Earned(earned))


def _fits(problem: Problem, spec: WorldSpec, tell: Progress, equations: Declared | None = None) -> list[Fitted]:
    """The world of every fold."""
    return fit_folds(
        lambda i, told: fit_world(problem, problem.folds[i], spec, told, equations), len(problem.folds), tell
    )


def fit_world(
    problem: Problem, fold: Fold, spec: WorldSpec, tell: Progress = silent, equations: Declared | None = None
) -> Fitted:
    """The default world of one fold's training patients; a spec without actions is fitted to paths without them."""
    horizons = Horizons("readings", tuple(float(lead) for lead in _SPLITS.values()), spec.clock)
    train = _stacked(problem, fold.train, spec)
    return fit_paths(
        spec, train, horizons, mechanism=equations, thorough=problem.thorough, seed=problem.seed, halves=False,
        progress=tell,
    )  # fmt: skip


def read(folder: File) -> list[pd.DataFrame]:
    """The patients' tables in file order: patient, psa (NaN where not read), on, day."""
    tables = []
    for file in sorted(folder.glob(catalogue.known("ias").files)):
        table = pd.read_csv(file, header=None, usecols=[0, 4, 7, 9], names=["patient", "psa", "on", "day"])
        tables.append(table.sort_values("day", kind="stable").astype({"psa": float, "on": float, "day": float}))
    return tables


def _visits(table: pd.DataFrame) -> Visits:
    """Visits with the mean of `on` between them; rows without PSA count for the treatment too."""
    read_at = table["psa"].notna().to_numpy()
    day, on = table["day"].to_numpy(), table["on"].to_numpy()
    days_on = np.concatenate([[0.0], np.cumsum(np.diff(day) * on[:-1])])[read_at]
    t, psa = day[read_at], table["psa"].to_numpy()[read_at]
    return Visits(str(table["patient"].iloc[0]), t, np.log(psa + _FLOOR), np.diff(days_on) / np.diff(t))


def _path(table: pd.DataFrame) -> Path:
    """The visits as a path from the patient's first row, with the treatment held from each row to the next."""
    day = table["day"].to_numpy() - table["day"].iloc[0]
    runs: list[Entry] = []
    for (start, stop), on in zip(pairwise(day.tolist()), table["on"], strict=False):
        if on and runs and runs[-1].stop == start:
            runs[-1] = runs[-1]._replace(stop=stop)
        elif on:
            runs.append(Entry(0, 1.0, start, stop))
    read_at = table["psa"].notna().to_numpy()
    x = table["psa"].to_numpy()[read_at, None]
    empty = np.zeros(0, np.float32)
    return Path(day[read_at].astype(np.float32), x.astype(np.float32), schedule(runs), empty, np.asarray(0, np.int32))


def _stacked(problem: Problem, patients: Sequence[int], spec: WorldSpec) -> Path:
    """The paths of some patients, padded alike in all folds, without the treatment where the spec knows none."""
    paths = problem.paths if spec.actions else [replace(path, plan=schedule([])) for path in problem.paths]
    return take(stack(paths), list(patients))


def _role(name: str) -> Role:
    return "ours" if name.startswith("world") else "baseline"


def _reference(rule: str, problem: Problem, fold: Fold) -> tuple[Forecast, ...]:
    train, test = ([problem.visits[i] for i in part] for part in (fold.train, fold.test))
    return foretell(rule, train, test, tuple(_SPLITS.values()))


@dataclass(frozen=True)
class Answers:
    """What members of one fold's fit say of its test patients: draws of PSA at the leads."""

    fitted: Fitted
    draws: Mapping[str, Float[np.ndarray, "q n h 1"]]
    leads: Float[np.ndarray, "q h"]


def _answers(problem: Problem, fits: Sequence[Fitted], *, blend: bool = False, swap: bool = False) -> list[Answers]:
    """The answers of every fold; `blend`: of its members alone; `swap`: under the treatment of other test patients."""
    found = []
    for fold, fitted in zip(problem.folds, fits, strict=True):
        tests = _stacked(problem, fold.test, fitted.spec)
        queries = _queries([problem.visits[i] for i in fold.test], tests)
        plans = _swapped(tests, queries, problem.seed) if swap else None
        asked = functools.partial(forecast, key=jax.random.key(problem.seed), draws=problem.draws, plans=plans)
        members = {name: fitted.members[name] for name in (fitted.race.weights() if blend else fitted.members)}
        drawn = side_by_side([functools.partial(asked, w, tests, queries) for w in members.values()], lambda i: None)
        draws = dict(zip(members, drawn, strict=True))
        found.append(Answers(fitted, draws, queries.times - tests.t[queries.subject, queries.origin][:, None]))
    return found


def _forecasts(answers: Sequence[Answers], name: str) -> Forecasts:
    """The forecasts of a member, or of the pool of members that a world is."""
    parts = []
    for a in answers:
        pools = {"world": a.fitted.race.weights(), "world:no-rules": dict(a.fitted.race.rules_free)}
        trust = a.fitted.calibration if name == "world" else a.fitted.rules_calibration[name]
        psa = mixture(a.draws, pools.get(name, {name: 1.0}))
        parts.append(tuple(
            as_forecast(a.fitted.spec, trust, psa[:, :, :lead], a.leads[:, :lead], _log) for lead in _SPLITS.values()
        ))  # fmt: skip
    return tuple(parts)


def _queries(visits: Sequence[Visits], tests: Path) -> Queries:
    """From every origin, the visits that follow it (the last one repeated as padding)."""
    subject = np.concatenate([np.full(len(v.origins), i) for i, v in enumerate(visits)])
    origin = np.concatenate([np.asarray(v.origins) for v in visits])
    last = np.array([len(v.y) - 1 for v in visits])[subject]
    at = np.minimum(origin[:, None] + 1 + np.arange(LEADS), last[:, None])
    return Queries(subject, origin, tests.t[subject[:, None], at])


def _swapped(tests: Path, queries: Queries, seed: int) -> Schedule:
    origins = tests.t[queries.subject, queries.origin]
    return pack(shuffled(unpack(take(tests, queries.subject).plan), origins, queries.subject, seed))


def _log(psa: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(psa, 0.0) + _FLOOR)
