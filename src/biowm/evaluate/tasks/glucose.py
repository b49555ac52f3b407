"""Task `glucose`: insulin for unseen patients with type 1 diabetes, decided by looking ahead in a learned world.

Patients are the thirty of `patient/glucose`. A world is fitted to what eighteen of them did by habit for some days;
the other twelve are never learned from. After a day by habit of their own each of these is handed over: to the fitted
world, which plans four hours ahead every half hour and does the first half hour (`plan/receding.py`), or to one of the
controllers beside it. All meet the same meals and the same luck. The protocol is docs/benchmarks/glucose.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from biowm.core.interval import Role, Row, row
from biowm.core.registry import register
from biowm.core.world import World
from biowm.train.contest import Progress
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons
from biowm.worlds.patient.glucose_meals import LOW
from biowm.worlds.patient.glucose_patients import NAMES

from ..metrics import Metric, Tally, difference, given, tally
from ..task import Answer, Pooled, Setting, Task
from ._diabetes import Trace, Ward, in_range, meals, paths, patients, treat
from ._insulin import AHEAD, SPEC, BasalBolus, by_habit, mpc, scales, traits, tuned, watch

LEARNED = 6  # of each group of ten, the first so many are learned from, the others never
_WATCHED = 1  # day by habit, of those who are treated
_HORIZONS = Horizons("clock", (60.0, 120.0, AHEAD), "min")
_PERCENT = Metric(given)
_RIVALS: tuple[tuple[str, Role], ...] = (("basal-bolus", "baseline"), ("pid", "baseline"), ("oracle", "ceiling"))
_METRICS = {
    "time_in_range": in_range,
    "time_below_70": lambda glucose: glucose < LOW,
    "time_below_54": lambda glucose: glucose < 54,
}


@dataclass(frozen=True)
class Problem:
    """What was logged, in `known`, of whom (a ward to tune on); and whom to treat, `watched` for a day before.

    `names` are those of the patients to treat, `draws` the futures that a plan is weighed by.
    """

    seed: int
    known: Trace
    practice: Ward
    watched: Trace
    ward: Ward
    names: tuple[str, ...]
    draws: int
    thorough: bool
    oracle: bool


@register("tasks", "glucose")
class GlucoseTask(Task[Problem, Trace]):
    """Insulin for unseen patients, by planning in a learned world: time in range, and time too low."""

    version = "1"
    primary = "time_in_range"
    higher = True

    def make(self, seed: int, setting: Setting) -> Problem:
        """The logs, and the ward; meals, habits and luck depend on the seed, who is unseen does not."""
        quick, full = setting.effort == "quick", setting.effort == "full"
        logged, treated = (3, 1) if quick else (6, 2)
        first = LEARNED + 2 if quick else LEARNED
        unseen = _of_each_group(range(first, 10))
        known, practice = _lived(_of_each_group(range(LEARNED)), logged, treated, seed, 0)
        watched, ward = _lived(unseen, _WATCHED, treated, seed, 1)
        names = tuple(NAMES[i] for i in unseen)
        return Problem(seed, known, practice, watched, ward, names, 32 if full else 8, full, not quick)

    def scope(self, setting: Setting) -> str:
        """A quick run treats half of the patients, for one day, and asks no oracle."""
        quick = "quick: 6 of 12 patients, 1 of 2 days, 3 of 6 days of logs, no oracle"
        return quick if setting.effort == "quick" else ""

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Trace]]:
        """The rules, then the worlds, then who knows the equations."""
        yield Answer("basal-bolus", "baseline", treat(BasalBolus(), problem.ward))
        yield Answer("pid", "baseline", treat(tuned(problem.practice), problem.ward))
        fitted = fit(problem, tell)
        world = _ahead(fitted.world, problem)
        yield Answer("world", "ours", world)
        alone = fitted.race.weights() == dict(fitted.race.rules_free)  # the rules weigh nothing
        yield Answer("world:no-rules", "ours", world if alone else _ahead(fitted.rules_free, problem))
        if problem.oracle:
            yield Answer("oracle", "ceiling", _ahead(None, problem))

    def score(self, prediction: Trace, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Percent of the time, by patient."""
        return percents(np.asarray(prediction.glucose, float), problem.names)

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """What the worlds gain over each controller, paired by patient."""
        for (name, role, split, metric), ours in pooled.items():
            for rival, its in _RIVALS if role == "ours" else ():
                theirs = pooled.get((rival, its, split, metric))
                if theirs is not None:
                    yield row(name, role, split, f"{metric}_minus_{rival}", difference(ours, theirs))


def percents(glucose: Float[np.ndarray, "n t"], names: Sequence[str]) -> Mapping[tuple[str, str], Tally]:
    """Percent of the time in range and below it, by patient."""
    units = np.repeat(names, glucose.shape[1])
    return {
        ("unseen", name): tally(_PERCENT, 100.0 * inside(glucose).ravel(), units) for name, inside in _METRICS.items()
    }


def _of_each_group(numbers: range) -> list[int]:
    """Patients by their number within each group of ten."""
    return [10 * group + i for group in range(3) for i in numbers]


def fit(problem: Problem, tell: Progress) -> Fitted:
    """The default world of what was logged."""
    who = problem.practice.who
    logs = paths(problem.known, *(np.asarray(a) for a in (*scales(who), traits(who))))
    return fit_paths(
        SPEC, logs, _HORIZONS, thorough=problem.thorough, seed=problem.seed, halves=False, progress=tell
    )  # fmt: skip


def _lived(rows: list[int], logged: int, treated: int, seed: int, stream: int) -> tuple[Trace, Ward]:
    """What patients log who dose by habit for some days, and the ward that they then are."""
    who = patients(rows)
    key = jax.random.fold_in(jax.random.key(seed), stream)
    eaten = jnp.asarray(meals(len(rows), logged + treated, [seed, stream]))
    cut = eaten.shape[1] * logged // (logged + treated)
    return by_habit(who, eaten[:, :cut], eaten[:, cut:], jax.random.split(key, len(rows)))


def _ahead(world: World | None, problem: Problem) -> Trace:
    """What becomes of the ward by looking ahead in a world, or, without one, in the true equations."""
    controller = mpc(world, problem.draws)
    return treat(controller, problem.ward, watch(controller, problem.ward.who, problem.watched))
