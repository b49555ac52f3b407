"""Gate `overlap`: how many training subjects had schedules like those asked about, and what could overturn effects."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from biowm.core.path import take
from biowm.core.registry import register

from ..dosepath import dose_paths, windows
from ..exam import Exam, Training, Verdict
from ..metrics import METRICS, interval, tally
from ..sampled import evenly
from ..tamper import masked, pack, unpack
from ..tipping import MOST, e_value, marginal_gamma

_QUESTIONS, _WINDOWS, _PIECES, _NEAREST = 64, 4, 8, 3
_ENOUGH = 10.0  # subjects: their mean has a standard error below a third of their spread
_SHARE = 0.9  # of the questions: what the bands promise to hold
_RIDGE = 1.0  # prior precision of the logistic slopes, per training SD of a reading
_RARE = 0.05


@dataclass(frozen=True)
class Likeness:
    """How far each question's dose path is from every training subject's, and how likely its first actions were.

    A distance is infinite where a subject was not followed as long, a propensity NaN where nobody was.
    """

    distance: Float[np.ndarray, "q u"]
    propensity: Float[np.ndarray, "q a"]


@register("gates", "overlap")
def check(exam: Exam) -> Verdict:
    """At least ten training subjects had a schedule like the one asked about, in 90 % of the questions (R17).

    Questions are counted by subject. A dose path is what each action gives in eight pieces of the horizon, in training
    SDs of that action; the distance of two is their root mean square difference. Every training subject counts as
    exp(-distance^2 / 2) of one, by its nearest stretch followed as long: the sum is never above Kish's effective
    sample size of these weights, and unlike it falls to 0 far from everybody. Reported and never thresholded: the
    propensity of what was given (a logistic regression on the last readings), the nearest subjects, and how much hidden
    confounding would overturn the model's effect of the schedules against nothing (Gamma of the marginal sensitivity
    model; E-value, doi:10.7326/M16-2607).
    """
    training = exam.training
    if not exam.world.spec.actions:
        return exam.skip("overlap", "the world has no action: nothing to test")
    if training is None:
        return exam.skip("overlap", "what the model learned from is not known")
    asked = evenly(len(exam.units), _QUESTIONS)
    like = _likeness(exam, training, asked)
    count = np.exp(-0.5 * like.distance**2).sum(1)
    share = interval(tally(METRICS["coverage90"], count >= _ENOUGH, exam.units[asked]))
    sensitivity = _sensitivity(exam)
    rare = float((like.propensity < _RARE).any(1).mean())
    said = (
        f"{(count >= _ENOUGH).mean():.0%} of {len(asked)} questions have {_ENOUGH:g} training subjects or more with a"
    )
    said += f" schedule alike (median {np.median(count):.1f}); {rare:.0%} have an action whose propensity is below"
    said += f" {_RARE:g}; {_told(sensitivity)}"
    evidence = {
        "questions": len(asked),
        "training_subjects": len(training.units),
        "effective_sample_size": dict(zip(("min", "p10", "median", "max"), _spread(count), strict=True)),
        "propensity_of_what_was_given": _propensities(exam, like),
        "nearest": _nearest(exam, training, asked, like, count),
        "sensitivity": sensitivity,
    }
    return exam.verdict("overlap", share.value >= _SHARE, share, said, evidence)


def _likeness(exam: Exam, training: Training, asked: Int[np.ndarray, " q"]) -> Likeness:
    """Each question is compared with stretches of training of its own length."""
    queries, start = exam.asked.queries, np.asarray(exam.asked.start)
    lengths: list[float] = (queries.times[:, -1] - start).tolist()
    plans = take(exam.paths, queries.subject).plan
    distance, propensity = [], []
    for q in asked.tolist():
        subject, origin = windows(training.paths, lengths[q], _WINDOWS)
        own = dose_paths(exam.world.spec, take(plans, [q]), start[[q]], lengths[q], _PIECES)
        near = np.full(len(training.units), np.inf)
        likely = np.full(own.shape[-1], np.nan)
        if len(subject):
            there = _stretches(exam, training, subject, origin, lengths[q])
            sd = there.std((0, 1))
            gap = np.abs(there - own) / np.where(sd > 0, sd, 1.0)
            gap = np.where((sd > 0) | (gap == 0), gap, np.inf)  # never varied in training: alike or not at all
            np.minimum.at(near, subject, np.sqrt((gap**2).mean((1, 2))))
            z = training.scale.to_z(np.asarray(training.paths.x)[subject, origin])
            now = training.scale.to_z(np.asarray(exam.paths.x)[queries.subject[q], queries.origin[q]][None])
            likely = _likely(z, there[:, 0] != 0, now, own[0, 0] != 0)
        distance.append(near)
        propensity.append(likely)
    return Likeness(np.stack(distance), np.stack(propensity))


def _stretches(
    exam: Exam, training: Training, subject: Int[np.ndarray, " w"], origin: Int[np.ndarray, " w"], length: float
) -> Float[np.ndarray, "w p a"]:
    """The dose paths of stretches of training, padded so that one compiled program serves all questions."""
    most = len(training.units) * _WINDOWS
    room = np.arange(most).clip(max=len(subject) - 1)
    start = np.asarray(training.paths.t, np.float64)[subject, origin]
    plans = take(training.paths, subject[room]).plan
    return dose_paths(exam.world.spec, plans, start[room], length, _PIECES)[: len(subject)]


def _likely(
    z: Float[np.ndarray, "w d"], given: np.ndarray, now: Float[np.ndarray, "1 d"], asked: np.ndarray
) -> Float[np.ndarray, " a"]:
    """The propensity of what is asked of each action in the first piece, by ridge logistic regressions (Newton)."""
    design, here = (np.concatenate([np.ones((len(x), 1)), np.nan_to_num(x)], axis=1) for x in (z, now))
    prior = _RIDGE * np.diag([1e-3] + [1.0] * z.shape[1])
    found = []
    for a in range(given.shape[1]):
        slope = np.zeros(design.shape[1])
        for _ in range(12):
            p = 1 / (1 + np.exp(-(design @ slope).clip(-30, 30)))
            hessian = (design * (p * (1 - p))[:, None]).T @ design + prior
            slope += np.linalg.solve(hessian, design.T @ (given[:, a] - p) - prior @ slope)
        p = 1 / (1 + np.exp(-(here @ slope).clip(-30, 30)[0]))
        found.append(p if asked[a] else 1 - p)
    return np.array(found)


def _propensities(exam: Exam, like: Likeness) -> dict[str, dict[str, float]]:
    """Per action, the spread of propensities over the questions that training reaches."""
    rows = like.propensity[np.isfinite(like.propensity).all(1)]
    names = [card.name for card in exam.world.spec.actions]
    marks = ("min", "p10", "median", "max")
    return {n: dict(zip(marks, _spread(rows[:, a]), strict=True)) for a, n in enumerate(names)} if len(rows) else {}


def _spread(values: Float[np.ndarray, " q"]) -> list[float]:
    return [float(v) for v in np.quantile(values, [0.0, 0.1, 0.5, 1.0])]


def _nearest(
    exam: Exam, training: Training, asked: Int[np.ndarray, " q"], like: Likeness, count: Float[np.ndarray, " q"]
) -> list[dict[str, Any]]:
    """Of every question its subject, when it was asked, its effective sample size and the subjects most alike."""
    order = np.argsort(like.distance, axis=1, kind="stable")[:, :_NEAREST]
    return [
        {
            "subject": str(exam.units[q]),
            "from": float(exam.asked.start[q]),
            "effective_sample_size": float(count[i]),
            "alike": {training.units[u]: float(like.distance[i, u]) for u in order[i] if like.distance[i, u] < np.inf},
        }
        for i, q in enumerate(asked)
    ]


def _sensitivity(exam: Exam) -> dict[str, Any] | None:
    """The model's effect of the schedules given against nothing, on the first target at the end of each question.

    None where no question's schedule gives anything. Effects are in standardised link units; the E-value takes them in
    SDs of what would come without treatment.
    """
    queries = exam.asked.queries
    given = take(exam.paths, queries.subject).plan
    before = unpack(given)
    without = masked(before, np.asarray(exam.asked.start))
    if without == before:
        return None
    none = pack(without, given.card.shape[1])
    treated, untreated = (exam.scaled(exam.answer("world", p))[:, :, -1, 0] for p in (None, none))
    spread = float(untreated.std())
    effect = interval(tally(METRICS["mae"], (treated - untreated).mean(1), exam.units), seed=exam.seed)
    nearer = 0.0 if effect.low <= 0 <= effect.high else min(abs(effect.low), abs(effect.high))
    return {
        "channel": exam.world.spec.channels[exam.world.spec.targets[0]].name,
        "effect": asdict(effect),
        "gamma": marginal_gamma(treated, untreated),
        "e_value": e_value(effect.value / spread),
        "e_value_of_the_nearer_limit": e_value(nearer / spread),
    }


def _told(sensitivity: dict[str, Any] | None) -> str:
    if sensitivity is None:
        return "no schedule asked about gives anything: no effect to overturn"
    gamma = sensitivity["gamma"]
    could = f"could flip its sign at Gamma {gamma:.4g}" if gamma < MOST else f"keeps its sign up to Gamma {MOST:g}"
    return f"the model's mean effect on {sensitivity['channel']} {could} (E-value {sensitivity['e_value']:.2f})"
