"""Proper scores and honest quantiles of finite samples; NumPy in, NumPy out, and the same for JAX."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Bool, Float

from .arrays import AnyArray, space

Numbers = Float[AnyArray, "..."]
Answers = Bool[AnyArray, "..."]


def crps(
    draws: Numbers,
    truth: Numbers,
    *,
    weights: Float[AnyArray, " n"] | None = None,
    fair: bool = True,
    axis: int = 0,
) -> Numbers:
    """Continuous ranked probability score of a sample, in the unit of the truth (lower is better).

    Args: `draws` with n draws along `axis`; `truth`, the shape of `draws` without that axis; `weights` of the
    draws (n, summing to 1; default equal); `fair`: unbiased for the score of the distribution behind the draws,
    so that few draws are not punished (one draw scores its absolute error either way).
    Source: doi:10.18637/jss.v090.i12 (sorted form, O(n log n)), doi:10.1002/qj.2270 (fair).
    """
    xp = space(draws, truth, weights)
    apart = xp.moveaxis(xp.asarray(draws), axis, -1) - xp.asarray(truth)[..., None]
    order = xp.argsort(apart, axis=-1)
    x = xp.take_along_axis(apart, order, axis=-1)
    n = x.shape[-1]
    w = xp.full(n, 1.0 / n, x.dtype) if weights is None else xp.asarray(weights, x.dtype)
    w = w[order]
    error = (w * xp.abs(x)).sum(-1)
    below, moment = xp.cumsum(w, -1) - w, xp.cumsum(w * x, -1) - w * x
    spread = (w * (x * below - moment)).sum(-1)
    if fair:
        spread = spread / xp.maximum(1.0 - (w * w).sum(-1), 1e-6)
    return xp.asarray(error - spread)


def interval_score(low: Numbers, high: Numbers, truth: Numbers, level: float = 0.9) -> Numbers:
    """Width of a central interval plus 2 / (1 - level) for every unit by which it misses (lower is better).

    Source: doi:10.1198/016214506000001437.
    """
    xp = space(low, high, truth)
    miss = xp.maximum(low - truth, 0.0) + xp.maximum(truth - high, 0.0)
    return xp.asarray((high - low) + 2.0 / (1.0 - level) * miss)


def rank_quantile(draws: Numbers, p: float, axis: int = 0) -> Numbers:
    """The order statistic of n draws that bounds a further draw with probability p, without interpolation.

    Below one half it lies at or below the p quantile, above at or beyond it, so a band between p and 1 - p holds
    a further draw with probability 1 - 2p or more; the outermost draw where n is too small for that.
    """
    xp = space(draws)
    n = draws.shape[axis]
    place = p * (n + 1)
    down, up = math.floor(place + 1e-9), math.ceil(place - 1e-9)
    down, up = (min(max(k, 1), n) - 1 for k in (down, up))
    ranked = xp.sort(draws, axis=axis)
    if p == 0.5:
        return xp.asarray(0.5 * (xp.take(ranked, down, axis=axis) + xp.take(ranked, up, axis=axis)))
    return xp.asarray(xp.take(ranked, down if p < 0.5 else up, axis=axis))


def conformal_radius(scores: Float[np.ndarray, " k"], units: np.ndarray, level: float = 0.9) -> float:
    """The radius that holds a new unit's score with probability `level`; infinite where there are too few units.

    Args: `scores` (k, one a forecast) and the unit (subject) each belongs to. A unit counts once however many
    scores it has, each with an equal share; the promise is for one score of a new exchangeable unit.
    Source: arXiv:2306.06342 (repeated measures).
    """
    _, unit, count = np.unique(units, return_inverse=True, return_counts=True)
    order = np.argsort(scores, kind="stable")
    held = np.cumsum(1.0 / count[unit[order]])
    rank = int(np.searchsorted(held, level * (len(count) + 1) - 1e-9))
    return float(scores[order[rank]]) if rank < len(scores) else math.inf


def inside(low: Numbers, high: Numbers, truth: Numbers) -> Answers:
    """Whether each truth lies in its interval, ends included; a missing (NaN) truth does not."""
    return space(low, high, truth).asarray((truth >= low) & (truth <= high))


def inside_jointly(low: Numbers, high: Numbers, truth: Numbers, axis: int | tuple[int, ...] = -1) -> Answers:
    """Whether the whole path along `axis` lies in its band; missing (NaN) truths are passed over."""
    xp = space(low, high, truth)
    return xp.asarray((inside(low, high, truth) | xp.isnan(truth)).all(axis))
