"""Gate `abstention`: where the model says that it is less sure, it is wrong by more."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from biowm.core.interval import Interval
from biowm.core.registry import register
from biowm.core.scores import crps

from ..exam import Exam, Verdict
from ..metrics import METRICS, Tally, interval, ratio, tally

COVERAGES = (1.0, 0.8, 0.6, 0.4, 0.2)


@register("gates", "abstention")
def check(exam: Exam) -> Verdict:
    """Risk falls, or does not clearly rise, as the least sure answers are refused (R29 of the ladder).

    An answer is one question at one horizon, its uncertainty the width of its calibrated band, its risk its CRPS.
    Answers are ranked within their horizon, so that the later is not refused for being later. The selective risk is
    that of the narrowest 80, 60, 40 and 20 %. It passes if refusing the wider half clearly lowers the risk (ratio to
    the risk of all, 95 % interval by subject below 1); or if no part of the curve clearly rises: who is equally unsure
    of everything has no wrong order, which is said. The value is the area under the curve over that of a random order,
    which is the risk of all.
    """
    if exam.calibrations["world"].level is None:
        return exam.skip("abstention", "no promise: too few calibration subjects for a band")
    loss, rank, units = _answers(exam)
    if len(set(units)) < 2:
        return exam.skip("abstention", "there are fewer than two subjects to refuse or to answer")

    def risk(weights: Float[np.ndarray, " a"]) -> Tally:
        return tally(METRICS["crps"], loss, units, weights=weights)

    curve = {share: risk((rank < share) * 1.0) for share in COVERAGES}
    everything = curve[1.0]
    half = ratio(risk((rank < 0.5) * 1.0), everything, seed=exam.seed)
    steps = {f"{a:g} to {b:g}": ratio(curve[b], curve[a], seed=exam.seed) for a, b in pairwise(COVERAGES)}
    area = ratio(risk(_area_weights(rank)), everything, seed=exam.seed)
    found = {f"{share:g}": interval(t, seed=exam.seed) for share, t in curve.items()}
    return _judge(exam, area, half, steps, found)


def _answers(exam: Exam) -> tuple[Float[np.ndarray, " a"], Float[np.ndarray, " a"], np.ndarray]:
    """Risk, share of the answers of the same horizon that are surer, and subject of every answer."""
    low, high = exam.bands("world")
    truth = exam.scaled(exam.asked.truth)
    scores = crps(exam.scaled(exam.answer("world")), truth, axis=1)
    width = np.where(np.isfinite(truth), high - low, np.nan)
    losses, ranks, units = [], [], []
    for h in range(len(exam.horizons.values)):
        here = (exam.asked.horizon == h)[..., None]
        own, wide = (_mean(np.where(here, value, np.nan)) for value in (scores, width))
        told = np.flatnonzero(np.isfinite(own) & np.isfinite(wide))
        losses.append(own[told])
        ranks.append((_order(wide[told]) + 0.5) / max(len(told), 1))
        units.append(exam.units[told])
    return np.concatenate(losses), np.concatenate(ranks), np.concatenate(units)


def _mean(x: Float[np.ndarray, "q r c"]) -> Float[np.ndarray, " q"]:
    """Means over what there is; NaN where there is nothing."""
    seen = np.isfinite(x).sum((1, 2))
    return np.where(seen > 0, np.nansum(x, axis=(1, 2)) / np.maximum(seen, 1), np.nan)


def _order(width: Float[np.ndarray, " a"]) -> Int[np.ndarray, " a"]:
    return width.argsort(kind="stable").argsort(kind="stable")


def _area_weights(rank: Float[np.ndarray, " a"]) -> Float[np.ndarray, " a"]:
    """How often each answer counts in the mean of the selective risks at all coverages.

    An answer of rank k of n is among the narrowest j of n for every j >= k, with a share of 1 / j each.
    """
    order = rank.argsort(kind="stable")
    weights = np.empty(len(rank))
    weights[order] = np.cumsum((1.0 / np.arange(1, len(rank) + 1))[::-1])[::-1]
    return weights


def _judge(
    exam: Exam, area: Interval, half: Interval, steps: dict[str, Interval], curve: dict[str, Interval]
) -> Verdict:
    lowers = half.high < 1
    rises = [name for name, step in steps.items() if not step.low <= 1]
    detail = f"answering the surer half alone, the error is {half.value:.3f} [{half.low:.3f}, {half.high:.3f}] of that "
    detail += f"of all answers; over all shares {area.value:.3f} [{area.low:.3f}, {area.high:.3f}] of a random order"
    if lowers:
        detail += "; who refuses the least sure half errs clearly less"
    elif rises:
        detail += f"; the surer answers are clearly worse (share answered {', '.join(rises)})"
    else:
        detail += "; the error does not clearly depend on how sure the model is, and does not rise"
    evidence = {
        "metric": "crps",
        "selective_risk": {share: asdict(i) for share, i in curve.items()},
        "half": asdict(half),
        "steps": {name: asdict(step) for name, step in steps.items()},
        "area_ratio": asdict(area),
    }
    return exam.verdict("abstention", lowers or not rises, area, detail, evidence)
