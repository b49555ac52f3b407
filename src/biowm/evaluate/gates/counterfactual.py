"""Gate `counterfactual`: effects of schedules that nobody was given, against what the simulator says they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import jax
import numpy as np
from jaxtyping import Float
from scipy import stats

from biowm.core.interval import Interval
from biowm.core.path import Path
from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.engine.cohort import Policy, confounded_policy, doses_of, random_policy
from biowm.safety.dosepath import dose_paths, windows

from ..exam import Exam, Verdict
from ..fresh import SUBJECTS, Fresh, fresh
from ..metrics import METRICS, interval, ratio, tally

_WINDOWS = 64  # stretches of a log in which a schedule is looked for
_ALIKE = 0.01  # of the full dose: schedules no further apart than that in any step are the same
_ROUNDING = 1e-4  # training SDs: effects no larger than that are none
_NEAR = 0.1  # a bias below a tenth of the effect leaves its sign and its size
_BAND = (0.05, 0.95)


@dataclass(frozen=True)
class Effects:
    """Effects of S schedules against nothing, in standardised link units: the true ones, and draws of the model's."""

    truth: Float[np.ndarray, "s n h c"]
    draws: Float[np.ndarray, "s n r h c"]


@register("gates", "counterfactual")
def check(exam: Exam) -> Verdict:
    """Individual effects are told better than "no effect" tells them, and average effects without bias (R17).

    Fresh subjects of the simulator are treated until a decision, once at random and once the more the higher their
    readings are (confounding off and on). From there on each is given several schedules against nothing, with the
    same chances; schedules found in the logs (those of the training subjects, and all of these subjects) are left
    out. In both cohorts the ratio of PEHE to that of no effect must lie wholly below 1, by subject, and every average
    effect (schedule, channel, horizon; intervals jointly 95 %, Bonferroni) must have a bias that is not told from 0
    or below a tenth of it. PEHE as in doi:10.1198/jcgs.2010.08162. The coverage of 90 % intervals is reported.
    """
    truth, spec = exam.truth, exam.world.spec
    if truth is None:
        return exam.skip("counterfactual", "no simulator that the data came from: true effects are not known")
    if not spec.actions:
        return exam.skip("counterfactual", "the world has no action: nothing to test")
    policies: dict[str, Policy] = {"off": random_policy(spec), "on": confounded_policy(spec)}
    cohorts = {name: fresh(exam, truth, policy) for name, policy in policies.items()}
    tried = schedules(spec, len(cohorts["off"].steps) - 1)
    nearest = {name: _nearest(exam, list(cohorts.values()), doses) for name, doses in tried.items()}
    unseen = {name: tried[name] for name, gap in nearest.items() if gap > _ALIKE}
    if not unseen:
        return exam.skip("counterfactual", "each schedule that could be tried was given to somebody in the logs")
    found = {name: _effects(exam, cohort, unseen) for name, cohort in cohorts.items()}
    if max(float(np.nanmax(np.abs(e.truth))) for e in found.values()) <= _ROUNDING:
        return exam.skip("counterfactual", "no schedule that was tried changes anything in the simulator")
    return _judge(exam, list(unseen), nearest, found)


def schedules(spec: WorldSpec, steps: int) -> dict[str, Float[np.ndarray, "g a"]]:
    """Full doses from the decision on: of each action all along, of all together, and of one after the other."""
    top, n = doses_of(spec), len(spec.actions)
    found = {card.name: np.tile(top * np.eye(n)[a], (steps, 1)) for a, card in enumerate(spec.actions)}
    if n > 1:
        found["all together"] = np.tile(top, (steps, 1))
    turns = np.eye(max(n, 2))[np.arange(steps) % max(n, 2), :n]  # one action alone: every other step
    return found | {"in turn": top * turns}


def _nearest(exam: Exam, cohorts: list[Fresh], doses: Float[np.ndarray, "g a"]) -> float:
    """How near any log came to these doses over as long a time: the largest gap of a step, in full doses."""
    spec, steps = exam.world.spec, cohorts[0].steps
    length = float(steps[-1] - steps[0])
    asked = cohorts[0].plans(np.zeros(1, int), doses[None])
    here = dose_paths(spec, asked, steps[:1], length, len(doses))
    logs: list[Path] = [c.cohort.paths for c in cohorts]
    logs += [exam.training.paths] if exam.training is not None else []
    gaps = [np.inf]
    for log in logs:
        subject, origin = windows(log, length, _WINDOWS)
        if len(subject):
            plans = jax.tree.map(lambda leaf, s=subject: np.asarray(leaf)[s], log.plan)
            there = dose_paths(spec, plans, np.asarray(log.t)[subject, origin], length, len(doses))
            gaps.append(float((np.abs(there - here) / doses_of(spec)).max((1, 2)).min()))
    return min(gaps)


def _effects(exam: Exam, cohort: Fresh, tried: Mapping[str, Float[np.ndarray, "g a"]]) -> Effects:
    tables = np.stack([np.zeros_like(next(iter(tried.values()))), *tried.values()])
    subject = np.tile(np.arange(SUBJECTS), len(tables))
    plans = cohort.plans(subject, np.repeat(tables, SUBJECTS, axis=0))
    true, said = exam.scaled(cohort.truth(subject, plans)), exam.scaled(cohort.answer(exam, subject, plans))
    true, said = (z.reshape(len(tables), SUBJECTS, *z.shape[1:]) for z in (true, said))
    return Effects(true[1:] - true[:1], said[1:] - said[:1])


def _judge(exam: Exam, names: list[str], nearest: Mapping[str, float], found: Mapping[str, Effects]) -> Verdict:
    marks = [f"{n}: {exam.world.spec.channels[c].name} at {h}" for n in names for h in exam.horizons.labels()
             for c in exam.world.spec.targets]  # fmt: skip
    errors = {on: _pehe(exam, e) for on, e in found.items()}
    biases = {on: dict(zip(marks, _biases(e), strict=True)) for on, e in found.items()}
    wrong = {on: [name for name, (bias, ate) in rows.items() if _biased(bias, ate)] for on, rows in biases.items()}
    useless = [on for on, found_ratio in errors.items() if not found_ratio["ratio"].high < 1]
    worst = max((e["ratio"] for e in errors.values()), key=lambda r: r.value)
    said = [f"error of individual effects {e['ratio'].value:.2f} of that of no effect (confounding {on})"
            for on, e in errors.items()]  # fmt: skip
    said += [f"effects no better than none (confounding {on})" for on in useless]
    said += [f"biased average effects (confounding {on}): {', '.join(rows)}" for on, rows in wrong.items() if rows]
    said += [] if any(wrong.values()) else ["no average effect is shown to be biased"]
    evidence = {
        "schedules_against_nothing": names,
        "nearest_log": dict(nearest),
        "effects": {
            on: {
                **{name: asdict(number) for name, number in errors[on].items()},
                "average_effects": {
                    name: {"true": ate, "bias": asdict(bias)} for name, (bias, ate) in biases[on].items()
                },
            }
            for on in found
        },
    }  # fmt: skip
    passed = not useless and not any(wrong.values())
    return exam.verdict("counterfactual", passed, worst, "; ".join(said), evidence)


def _pehe(exam: Exam, e: Effects) -> dict[str, Interval]:
    """PEHE, its ratio to that of no effect, and the shares of right signs and of effects inside 90 % intervals."""
    said, units = e.draws.mean(2), np.broadcast_to(np.arange(SUBJECTS)[None, :, None, None], e.truth.shape).ravel()
    low, high = (np.quantile(e.draws, q, axis=2) for q in _BAND)
    held = (low - _ROUNDING <= e.truth) & (e.truth <= high + _ROUNDING)
    sign = np.where(np.abs(e.truth) > _ROUNDING, np.sign(said) == np.sign(e.truth), np.nan)
    error, none = (tally(METRICS["rmse"], loss.ravel(), units) for loss in ((said - e.truth) ** 2, e.truth**2))
    right, cover = (tally(METRICS["coverage90"], hit.ravel(), units) for hit in (sign, held))
    return {
        "pehe": interval(error, seed=exam.seed),
        "ratio": ratio(error, none, seed=exam.seed),
        "right_sign": interval(right),
        "coverage90": interval(cover),
    }


def _biases(e: Effects) -> list[tuple[Interval, float]]:
    """The bias of every average effect with intervals that hold jointly at 95 %, and the true average effect."""
    error = (e.draws.mean(2) - e.truth).swapaxes(1, 2)  # [s, h, n, c]
    mean, n = error.mean(2), error.shape[2]
    half = stats.t.ppf(1 - 0.025 / mean.size, n - 1) * error.std(2, ddof=1) / np.sqrt(n) + _ROUNDING
    rows = zip(mean.ravel(), half.ravel(), e.truth.mean(1).ravel(), strict=True)
    return [(Interval(float(m), float(m - w), float(m + w), n), float(ate)) for m, w, ate in rows]


def _biased(bias: Interval, effect: float) -> bool:
    return not bias.low <= 0 <= bias.high and abs(bias.value) > _NEAR * abs(effect)
