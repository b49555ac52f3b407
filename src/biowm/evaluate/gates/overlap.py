"""Gate `overlap`: how many training subjects had schedules like those asked about, and what could overturn effects."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from biowm.core.path import take
from biowm.core.registry import register
from biowm.core.sampled import evenly
from biowm.safety.overlap import ENOUGH, Likeness, alike, likeness
from biowm.safety.tipping import MOST, e_value, marginal_gamma

from ..exam import Exam, Training, Verdict
from ..metrics import METRICS, interval, tally
from ..tamper import masked, pack, unpack

_QUESTIONS, _NEAREST = 64, 3
_SHARE = 0.9  # of the questions: what the bands promise to hold
_RARE = 0.05


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
    count = alike(like.distance)
    share = interval(tally(METRICS["coverage90"], count >= ENOUGH, exam.units[asked]))
    sensitivity = _sensitivity(exam)
    rare = float((like.propensity < _RARE).any(1).mean())
    said = f"{(count >= ENOUGH).mean():.0%} of {len(asked)} questions have {ENOUGH:g} training subjects or more with a"
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
    queries, start = exam.asked.queries, np.asarray(exam.asked.start, np.float64)
    spec, plans = exam.world.spec, take(exam.paths, queries.subject).plan
    readings = np.asarray(exam.paths.x)[queries.subject, queries.origin]
    found = []
    for q in asked.tolist():
        length = float(queries.times[q, -1] - start[q])
        plan = take(plans, [q])
        found.append(likeness(spec, training.scale, training.paths, plan, float(start[q]), length, readings[q]))
    return Likeness(np.stack([one.distance for one in found]), np.stack([one.propensity for one in found]))


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
