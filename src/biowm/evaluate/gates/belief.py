"""Gate `belief`: what is inferred of a subject against what the simulator says it is, by number of readings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float
from scipy import stats
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict

from biowm.core.forecast import forecast
from biowm.core.interval import Interval
from biowm.core.path import Path
from biowm.core.queries import Queries
from biowm.core.registry import register
from biowm.core.scores import crps
from biowm.core.world import World
from biowm.engine.cohort import Cohort, born, doses_of, random_policy, simulate

from ..constants import Constants, columns, constants, pick
from ..exam import Exam, Verdict
from ..metrics import METRICS, Tally, interval, ratio, tally

READ = (1, 2, 3, 5, 10, 20)
_SUBJECTS, _AHEAD, _DRAWS = 128, 5, 64
_SHARE = 0.25  # of the decisions that give each action: a history that leaves something to be read
_NEW = 2_000_003  # added to the seed of the exam: none of its subjects is met again
_FOLDS, _PENALTIES = 5, np.logspace(-2, 4, 13)
_MARGIN = 1.1  # irregular readings may cost no more than a tenth beside as many regular ones
_MOST = 12  # true constants that are reported; simulators with more are asked about the first


@dataclass(frozen=True)
class Seen:
    """Histories of one set of subjects, by what was left to see of the same readings (NaN = hidden)."""

    cohort: Cohort
    times: Float[np.ndarray, " h"]
    histories: Mapping[str, Path]


@register("gates", "belief")
def check(exam: Exam) -> Verdict:
    """The belief learns who a subject is, reading by reading, also from few and irregular ones.

    Fresh subjects of the simulator, treated at random, are asked about from one moment on with all but their last 1, 2,
    3, 5, 10 or 20 readings hidden, and with half of the 20 hidden at random. Reported by number of readings are CRPS of
    the next five spacings and the multiple correlation of each true constant with the posterior means of what stays
    with a subject in the model (ridge, cross-fitted over subjects; 95 % interval by Fisher's z), beside that of the
    simulator's own belief. What traits foretell is taken off first: who is told a subject's type has not learned it.
    It passes if at least one constant is found (interval above 0), the error falls from one reading to all (paired
    ratio clearly below 1) and no step up is shown to be worse, half the readings leave
    more doubt than all of them, and irregular ones are not shown to cost more than a tenth beside as many regular ones.
    """
    truth, world = exam.truth, exam.dynamics
    if truth is None:
        return exam.skip("belief", "no simulator that the data came from: what is true of a subject is not known")
    if world is None:
        return exam.skip("belief", "the model has no transition, so nothing that could stay with a subject")
    top = doses_of(truth.spec)
    seen = _seen(truth, exam.seed + _NEW)
    prior = {who: constants(w, seen.histories["0"], top, draws=_DRAWS, seed=exam.seed)
             for who, w in (("model", world), ("truth", truth))}  # fmt: skip
    if not prior["truth"].names:
        return exam.skip("belief", "the simulator's subjects are all alike: nothing to infer")
    if not prior["model"].names:
        return exam.skip("belief", "the model holds nothing that stays with a subject: no random effects to examine")
    told = {name: constants(world, path, top, draws=_DRAWS, seed=exam.seed, names=prior["model"].names)
            for name, path in seen.histories.items() if name != "0"}  # fmt: skip
    errors = {name: _error(exam, world, seen, path) for name, path in seen.histories.items() if name != "0"}
    return _judge(exam, truth, seen, prior, told, errors)


def _seen(truth: World, seed: int) -> Seen:
    """The same subjects up to the same moment, with more and less of their readings hidden."""
    most, h = max(READ), truth.spacing
    times = h * np.arange(most + _AHEAD)
    cohort = simulate(truth, _SUBJECTS, times, random_policy(truth.spec, _SHARE), seed=seed)
    past = _until(cohort.paths, most)
    x, place = np.asarray(past.x), np.arange(most)
    kept = {str(k): np.tile(place >= most - k, (_SUBJECTS, 1)) for k in (0, *READ)}
    luck = np.random.default_rng([seed, 1]).random((_SUBJECTS, most))
    luck[:, -1] = 2.0  # the last reading is always there: the moment asked from
    kept["half"] = luck.argsort(1).argsort(1) >= most // 2

    def left(keep: np.ndarray) -> Path:
        return eqx.tree_at(lambda p: p.x, past, np.where(keep[..., None], x, np.nan).astype(np.float32))

    return Seen(cohort, times[most:], {name: left(keep) for name, keep in kept.items()})


def _until(paths: Path, most: int) -> Path:
    """The first readings of stacked paths; their schedules stay whole."""
    return eqx.tree_at(lambda p: (p.t, p.x), paths, (np.asarray(paths.t)[:, :most], np.asarray(paths.x)[:, :most]))


def _error(exam: Exam, world: World, seen: Seen, history: Path) -> Tally:
    """CRPS of what follows, in standardised link units, by subject."""
    n, most = np.asarray(history.t).shape
    queries = Queries(np.arange(n), np.full(n, most - 1), np.broadcast_to(seen.times, (n, len(seen.times))))
    draws = forecast(world, history, queries, key=jax.random.key(exam.seed), draws=_DRAWS)
    loss = crps(exam.scaled(draws), exam.scaled(np.asarray(seen.cohort.paths.x)[:, most:]), axis=1)
    return tally(METRICS["crps"], loss.mean((1, 2)), np.arange(n))


def _judge(
    exam: Exam, truth: World, seen: Seen, prior: Mapping[str, Constants], told: Mapping[str, Constants],
    errors: Mapping[str, Tally],
) -> Verdict:  # fmt: skip
    names, most = prior["truth"].names[:_MOST], str(max(READ))
    traits = np.asarray(seen.cohort.paths.traits, np.float64)
    true = beyond(pick(columns(born(seen.cohort)), names).draws[:, 0], traits)
    found, known = {}, {}
    for read, path in seen.histories.items():
        if read != "0":
            own = constants(truth, path, doses_of(truth.spec), draws=_DRAWS, seed=exam.seed, names=names)
            means, theirs = beyond(told[read].mean, traits), beyond(own.mean, traits)
            found[read] = {name: multiple_r(means, true[:, j], exam.seed) for j, name in enumerate(names)}
            known[read] = {name: fisher(_corr(theirs[:, j], true[:, j]), len(true)) for j, name in enumerate(names)}
    doubt = {name: _doubt(t, prior["model"]) for name, t in told.items()}
    steps = {(a, b): ratio(errors[str(b)], errors[str(a)], seed=exam.seed) for a, b in pairwise(READ)}
    whole = ratio(errors[most], errors["1"], seed=exam.seed)
    uneven = ratio(errors["half"], errors[str(max(READ) // 2)], seed=exam.seed)
    wrong = [what for holds, what in (
        (any(r.low > 0 for r in found[most].values()), "no true constant is found"),
        (whole.high < 1, "more readings are not shown to help"),
        *((s.low <= 1, f"{b} readings are worse than {a}") for (a, b), s in steps.items()),
        (doubt["half"] > doubt[most], "hidden readings leave no more doubt"),
        (uneven.low <= _MARGIN, "irregular readings cost more than as many regular ones"),
    ) if not holds]  # fmt: skip
    evidence = {
        "subjects": len(true),
        "r_by_readings": {
            read: {name: {"model": asdict(r[name]), "simulator": asdict(known[read][name])} for name in names}
            for read, r in found.items()
        },
        "crps_by_readings": {name: asdict(interval(t, seed=exam.seed)) for name, t in errors.items()},
        "doubt_by_readings": doubt,
        "all_to_one": asdict(whole),
        "irregular_to_regular": asdict(uneven),
    }
    best = ", ".join(f"{name} {_shown(r)} (the simulator's own belief {known[most][name].value:.2f})"
                     for name, r in found[most].items())  # fmt: skip
    said = f"multiple r with the true constants after {most} readings: {best}; error with {most} readings "
    said += f"{_shown(whole)} of that with one; irregular readings {_shown(uneven)} of as many regular ones"
    said += "".join(f"; {what}" for what in wrong)
    return exam.verdict("belief", not wrong, whole, said, evidence)


def _shown(number: Interval) -> str:
    return f"{number.value:.2f} [{number.low:.2f}, {number.high:.2f}]"


def _doubt(told: Constants, prior: Constants) -> float:
    """The share of the prior's spread that is left, root mean square over columns and subjects."""
    return float(np.sqrt(np.mean(told.sd**2 / np.maximum(prior.sd**2, 1e-30))))


def beyond(values: Float[np.ndarray, "b c"], traits: Float[np.ndarray, "b s"]) -> Float[np.ndarray, "b c"]:
    """What is left of columns after the mean and what is linear in the traits (NaN: their mean)."""
    known = np.where(np.isfinite(traits).any(0), traits, 0.0)
    rows = np.column_stack([np.ones(len(values)), np.where(np.isfinite(known), known, np.nanmean(known, axis=0))])
    return values - rows @ np.linalg.lstsq(rows, values, rcond=None)[0]


def multiple_r(means: Float[np.ndarray, "b c"], true: Float[np.ndarray, " b"], seed: int) -> Interval:
    """The correlation of a true constant with its prediction from posterior means of subjects left out (ridge).

    Without intercepts of the folds: the mean of the others lies opposite to that of those left out, and where nothing
    can be told it would look like a correlation below 0.
    """
    spread = means.std(0)
    z = (means - means.mean(0))[:, spread > 1e-6 * spread.max()] / spread[spread > 1e-6 * spread.max()]
    folds = KFold(_FOLDS, shuffle=True, random_state=seed)
    model, y = RidgeCV(_PENALTIES, fit_intercept=False), (true - true.mean()) / true.std()
    return fisher(_corr(np.asarray(cross_val_predict(model, z, y, cv=folds)), true), len(true))


def _corr(a: Float[np.ndarray, " b"], b: Float[np.ndarray, " b"]) -> float:
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


def fisher(r: float, n: int) -> Interval:
    """A correlation with its 95 % interval by Fisher's z."""
    z, half = np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9)), stats.norm.ppf(0.975) / np.sqrt(n - 3)
    return Interval(r, float(np.tanh(z - half)), float(np.tanh(z + half)), n)
