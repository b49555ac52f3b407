"""Task `tumour-cf`: what would a tumour do under another treatment? Simulated patients, treated by size (confounded).

The generator is a published one (doi:10.1038/s41598-017-13646-z, arXiv:2002.04083); of all contenders only the floors
are told its equations. For gamma 0 to 4 (how strongly size decides on treatment) 2,000 patients are learned from and
400 are asked about: after the reading of a day, all four treatments of that day (`one-step`), and the next five days
under each of ten random sequences (`random`) and under one treatment on one of the days (`sliding`, ten). `tau2` to
`tau6` are the first to the fifth of these days, because the benchmark counts from the day that led to the last reading.
Sequences are asked from day 1 on. As published, the futures asked about end neither by death nor by recovery.

Errors are 100 sqrt(mean over days of the mean squared error) / 1150.35, the volume at death; `crps` and `regret` (true
volume under the treatment that looks best, minus that under the best) are in the same percents. Every patient is asked
on one day of each of six stretches (0, 1, 2-3, 4-7, 8-19, 20-58), drawn by seed, and that day counts for all days of
the stretch: an unbiased estimate of the mean over all days, at a tenth of the cost.

Rows: the race's own rules (`ridge` is the ridge-VAR in log space), `world` and `world:no-rules`; `bayes`, the filter
that knows equations, prior and noise: its likelihood is censored at death and recovery, which changes no score, because
nobody is asked after either; `oracle`, which knows the patient's rates and state as well. Variants: `published` keeps
the defects of the published generator (`worlds/patient/cohort.py`); `saturating`, `delay` and `clone` bend the
equations (`worlds/patient/variants.py`), where the filter is wrong and `bayes` is left out. In `hidden` the doctors
know who responds to what, and neither that nor a patient's type is told: by gamma 0 to 4 the size counts besides.
There `bounds90` is how often the truth lies in the 90 % band of the marginal sensitivity model
(doi:10.1198/016214506000000023): a hidden confounder may change the odds of each decision by Gamma = 2.25, of k
decisions by Gamma^k, and what lies outside the band can then be Gamma^k times as likely as told; tails of bands are
taken as normal in the link's scale. Gamma is what these doctors can do at most, so the bounds hold if the bands do.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import jax
import numpy as np
from jaxtyping import Bool, Float, Int, PRNGKeyArray

from biowm.core.interval import Role, Row, row
from biowm.core.path import Path
from biowm.core.registry import register
from biowm.core.schedule import Schedule
from biowm.core.scores import crps, inside, rank_quantile
from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.safety.tipping import widening
from biowm.train.calibrate import Calibration, band
from biowm.train.contest import Progress, portion
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons
from biowm.worlds.patient.cohort import PLAIN, branches, cohort, courses, daily
from biowm.worlds.patient.tumour import DEATH, SPEC, Tumour, alive
from biowm.worlds.patient.variants import VARIANTS

from ..metrics import METRICS, Tally, ratio, tally
from ..task import Answer, Pooled, Setting, Task
from ._branching import AHEAD, RANDOM, SLIDING, futures, plans
from ._fits import member
from ._published import quoted

DAYS = 60
STRETCHES = ((0, 1), (1, 2), (2, 4), (4, 8), (8, 20), (20, DAYS - 1))
RULES = ("persistence", "mean", "trend", "direct", "knn", "ridge")
HORIZONS = Horizons("clock", tuple(float(day) for day in range(1, AHEAD + 1)), "d")
LEAN = float(np.log(1.5))  # of the doctors of `hidden`, in log odds: a decision's are off by 2 LEAN at most
_DOUBT = np.array([widening(0.9, np.exp(2 * LEAN * 2 * day)) for day in range(1, AHEAD + 1)])  # two decisions a day
_FORECAST, _ORACLE = 1001, 1002  # streams of luck, apart from those of the gammas
_FOUR = [1, 0, 5, 10]  # on the first day: nothing, chemo, radio, both


@dataclass(frozen=True)
class Trial:
    """The patients of one gamma: whom to learn from, whom to ask, about which days and plans, and what happens.

    `given` are 21 plans a question: a single chemo or radio on each of five days, both on the first, ten random ones.
    """

    name: str
    key: PRNGKeyArray
    train: Path
    test: Path
    origin: Int[np.ndarray, "n o"]
    given: Bool[np.ndarray, "n o p h 2"]
    truth: Float[np.ndarray, "n o p h"] = field(default_factory=lambda: np.zeros((0, 0, 0, 0)))

    @functools.cached_property
    def weight(self) -> Float[np.ndarray, "n o"]:
        """How many days a question stands for: those of its stretch, shared among the patients still there."""
        volume = np.take_along_axis(self.test.x[:, :, 0], self.origin, axis=1)
        there = np.isfinite(volume) & np.asarray(alive(volume))
        lengths = np.array([stop - start for start, stop in STRETCHES])
        return there * lengths / np.maximum(there.sum(0), 1)


@dataclass(frozen=True)
class Problem:
    """One trial a gamma, and the world that made them; `plain`: by the equations that the Bayes filter knows."""

    trials: tuple[Trial, ...]
    world: Tumour
    plain: bool
    seed: int
    draws: int
    thorough: bool = False
    hidden: bool = False

    @property
    def spec(self) -> WorldSpec:
        """What contenders are told of: all but the type, if that is hidden."""
        return replace(SPEC, traits=()) if self.hidden else SPEC


@dataclass(frozen=True)
class Told:
    """A contender's answers to one trial, and their CRPS, all in % of the volume at death."""

    trial: int
    mean: Float[np.ndarray, "n o p h"]
    low: Float[np.ndarray, "n o p h"]
    high: Float[np.ndarray, "n o p h"]
    crps: Float[np.ndarray, "n o p h"]
    bounds: tuple[Float[np.ndarray, "n o p h"], Float[np.ndarray, "n o p h"]] | None = None


@dataclass(frozen=True)
class Size:
    """How much of the task is run."""

    gammas: tuple[int, ...]
    train: int
    test: int
    draws: int
    thorough: bool = False


SIZES = {
    "quick": Size((0, 3), 400, 100, 21),
    "default": Size((0, 1, 2, 3, 4), 2_000, 400, 21),
    "full": Size((0, 1, 2, 3, 4), 10_000, 1_000, 43, thorough=True),
}


@register("tasks", "tumour-cf")
class TumourCf(Task[Problem, Told]):
    """Tumours under chemotherapy and radiotherapy: counterfactual volumes one to five days ahead."""

    version = "1"
    primary = "nrmse"
    variants = ("published", "hidden", *VARIANTS)

    def make(self, seed: int, setting: Setting) -> Problem:
        """Cohorts, questions and truths of every gamma."""
        return make(seed, setting.variant, SIZES[setting.effort])

    def scope(self, setting: Setting) -> str:
        """Quick runs do two gammas with fewer patients."""
        size = SIZES[setting.effort]
        parts = [] if setting.variant is None else [f"variant {setting.variant}"]
        if setting.effort != "default":
            parts.append(f"{setting.effort}: gammas {size.gammas}, {size.train} training and {size.test} test patients")
        return "; ".join(parts)

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Told]]:
        """Of each gamma the rules, the worlds and the floors."""
        for i, trial in enumerate(problem.trials):
            fitted = fit_paths(
                problem.spec, trial.train, HORIZONS, thorough=problem.thorough, seed=problem.seed, halves=False,
                progress=portion(tell, trial.name, i, len(problem.trials)),
            )  # fmt: skip
            for name in (*RULES, "world", "world:no-rules"):
                role: Role = "ours" if name.startswith("world") else "baseline"
                yield Answer(name, role, _learned(problem, i, fitted, name))
            if problem.plain:
                yield Answer("bayes", "floor", _bayes(problem, i))
            yield Answer("oracle", "floor", _oracle(problem, i))

    def score(self, prediction: Told, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Tallies by patient; a patient counts by the days its questions stand for."""
        trial = problem.trials[prediction.trial]
        found = {}
        for split, options, lead, late in splits(trial.name):
            truth = 100 / DEATH * trial.truth[:, :, options, lead]
            mean = prediction.mean[:, :, options, lead]
            low, high = prediction.low[:, :, options, lead], prediction.high[:, :, options, lead]
            chosen = np.take_along_axis(truth, mean.argmin(-1)[..., None], axis=-1)[..., 0]
            losses = {
                ("nrmse", "rmse"): ((mean - truth) ** 2).mean(-1),
                ("crps", "crps"): prediction.crps[:, :, options, lead].mean(-1),
                ("coverage90", "coverage90"): inside(low, high, truth).mean(-1),
                ("regret", "mae"): chosen - truth.min(-1),
            }
            if prediction.bounds is not None:
                edges = (edge[:, :, options, lead] for edge in prediction.bounds)
                losses["bounds90", "coverage90"] = inside(*edges, truth).mean(-1)
            weight = trial.weight * (trial.origin > 0) if late else trial.weight
            asked = weight > 0
            units = np.repeat([f"{problem.seed}/{i}" for i in range(len(asked))], asked.sum(1))
            share = weight[asked] * asked.sum() / weight.sum()
            for (name, kind), loss in losses.items():
                found[split, name] = tally(METRICS[kind], loss[asked], units, weights=share)
        return found

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """Ratios to the floor, paired by patient, and what was published about the defective generator."""
        for (name, role, split, metric), ours in pooled.items():
            floor = pooled.get(("bayes", "floor", split, metric))
            if metric == "nrmse" and role != "floor" and floor is not None:
                yield row(name, role, split, "nrmse_ratio", ratio(ours, floor))
        if setting.variant in (None, "published"):
            splits_run = {split for _, _, split, _ in pooled}
            yield from (r for r in quoted() if r.split in splits_run)


def splits(trial: str) -> Iterator[tuple[str, slice | list[int], int, bool]]:
    """Of each split its name, its plans, the day that is scored (from 0), and whether day 0 is left out."""
    yield f"{trial}/one-step", _FOUR, 0, False
    for kind, options in (("random", RANDOM), ("sliding", SLIDING)):
        for lead in range(AHEAD):
            yield f"{trial}/{kind}/tau{lead + 2}", options, lead, True


def make(seed: int, variant: str | None, size: Size) -> Problem:
    """The problem of one seed at a given size."""
    world, hidden = VARIANTS.get(variant or "", PLAIN), variant == "hidden"
    lean = LEAN if hidden else 0.0
    learned, asked = ("published-train", "published-test") if variant == "published" else ("corrected", "corrected")
    trials = []
    for gamma in size.gammas:
        rng = np.random.default_rng([seed, gamma])
        train, test = jax.random.split(jax.random.fold_in(jax.random.key(seed), gamma))
        origin = np.stack([rng.integers(*days, size.test) for days in STRETCHES], axis=1)
        trial = Trial(
            name=f"gamma{gamma}",
            key=test,
            train=cohort(train, size.train, gamma, DAYS, world=world, policy=learned, lean=lean),
            test=cohort(test, size.test, gamma, DAYS, world=world, policy=asked, lean=lean),
            origin=origin,
            given=plans(rng, origin.shape),
        )
        trials.append(replace(trial, truth=_after(trial, world, None)))
    if hidden:
        trials = [replace(trial, train=_typeless(trial.train), test=_typeless(trial.test)) for trial in trials]
    return Problem(tuple(trials), world, variant in (None, "published"), seed, size.draws, size.thorough, hidden)


def _typeless(paths: Path) -> Path:
    return replace(paths, traits=np.asarray(paths.traits)[:, :0])


def _after(trial: Trial, world: Tumour, luck: PRNGKeyArray | None) -> Float[np.ndarray, "n o p h"]:
    """What follows the true states under the plans, by the patients' own luck or by another."""
    past = daily(trial.test.plan, DAYS)
    return branches(trial.key, past, trial.origin, trial.given, world=world, luck=luck)


def _asked(trial: Trial) -> Schedule:
    """The plans as schedules [n, o, p, k] that start on the day of the question."""
    shape = trial.given.shape[:3]
    plan = courses(trial.given.reshape(-1, AHEAD, 2))
    start = np.repeat(trial.origin.reshape(-1), shape[2]).astype(np.float32)[:, None]
    plan = Schedule(plan.card, plan.dose, plan.onset + start, plan.stop + start, plan.assigned)
    return jax.tree.map(lambda leaf: leaf.reshape(*shape, -1), plan)


def _futures(problem: Problem, index: int, world: World) -> Float[np.ndarray, "n o p draws h"]:
    trial = problem.trials[index]
    key = jax.random.fold_in(jax.random.key(problem.seed), _FORECAST)
    return futures(world, trial.test, trial.origin, _asked(trial), key=key, draws=problem.draws, days=AHEAD)


def _learned(problem: Problem, index: int, fitted: Fitted, name: str) -> Told:
    world, calibration = member(fitted, name)
    drawn = _futures(problem, index, world)
    leads = np.broadcast_to(np.arange(1.0, AHEAD + 1), (*drawn.shape[:3], AHEAD))
    low, high = _band(problem, calibration, drawn, leads)
    told = _told(problem, index, drawn, low, high)
    if not problem.hidden:
        return told
    wide = replace(calibration, pointwise=calibration.pointwise * _DOUBT[:, None])
    low, high = (100 / DEATH * edge for edge in _band(problem, wide, drawn, leads))
    return replace(told, bounds=(low, high))


def _band(problem: Problem, calibration: Calibration, drawn: np.ndarray, leads: np.ndarray) -> tuple[np.ndarray, ...]:
    _, low, high = band(calibration, problem.spec, drawn[..., None], leads, "pointwise")
    return low[..., 0], high[..., 0]


def _bayes(problem: Problem, index: int) -> Told:
    return _known(problem, index, _futures(problem, index, Tumour(ends=False)))


def _oracle(problem: Problem, index: int) -> Told:
    keys = jax.random.split(jax.random.fold_in(jax.random.key(problem.seed), _ORACLE), problem.draws)
    drawn = [_after(problem.trials[index], problem.world, key) for key in keys]
    return _known(problem, index, np.stack(drawn, axis=3))


def _known(problem: Problem, index: int, drawn: Float[np.ndarray, "n o p draws h"]) -> Told:
    """Answers of somebody whose draws need no calibration."""
    return _told(problem, index, drawn, rank_quantile(drawn, 0.05, 3), rank_quantile(drawn, 0.95, 3))


def _told(problem: Problem, index: int, drawn: np.ndarray, low: np.ndarray, high: np.ndarray) -> Told:
    scale, truth = 100 / DEATH, problem.trials[index].truth
    return Told(index, scale * drawn.mean(3), scale * low, scale * high, scale * crps(drawn, truth, axis=3))
