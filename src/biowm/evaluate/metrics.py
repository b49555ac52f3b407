"""Metrics with honest intervals: what is scored is summed by subject, and subjects are resampled.

A `Forecast` says what was foretold, `measure` turns it into a `Tally` (sums by unit, usually a subject), and a tally
becomes a number with its 95 % interval: bootstrap over units, or exact for coverages. Tallies of folds add up, those
of seeds are averaged, and two tallies over the same units give paired differences and ratios.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float
from scipy import stats

from biowm.core.interval import Interval
from biowm.core.scores import crps, inside, inside_jointly, interval_score

REPLICATES = 2000


@dataclass(frozen=True)
class Forecast:
    """Q forecasts at H leads of one quantity, all in the scale that is scored.

    `low` and `high` bound each lead by itself, `joint_low` and `joint_high` the whole path, both with probability .9.
    """

    mean: Float[np.ndarray, "q h"]
    median: Float[np.ndarray, "q h"]
    draws: Float[np.ndarray, "q n h"]
    low: Float[np.ndarray, "q h"]
    high: Float[np.ndarray, "q h"]
    joint_low: Float[np.ndarray, "q h"]
    joint_high: Float[np.ndarray, "q h"]


@dataclass(frozen=True)
class Metric:
    """A loss per forecast and lead (NaN where there is no truth), and how its average becomes the metric.

    `exact`: the loss is an event (covered or not) and its interval is the exact binomial one, counted by unit. Both
    functions have names in a module, so that tallies can be sent between processes.
    """

    loss: Callable[[Forecast, Float[np.ndarray, "q h"]], Float[np.ndarray, "q h"]]
    finish: Callable[[np.ndarray], np.ndarray] = np.asarray
    exact: bool = False


def _squared(forecast: Forecast, truth: np.ndarray) -> np.ndarray:
    return (forecast.mean - truth) ** 2


def _absolute(forecast: Forecast, truth: np.ndarray) -> np.ndarray:
    return np.abs(forecast.median - truth)


def _crps(forecast: Forecast, truth: np.ndarray) -> np.ndarray:
    return crps(forecast.draws, truth, axis=1)


def _interval_score(forecast: Forecast, truth: np.ndarray) -> np.ndarray:
    return interval_score(forecast.low, forecast.high, truth)


def _covered(forecast: Forecast, truth: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(truth), np.nan, inside(forecast.low, forecast.high, truth))


def _path_covered(forecast: Forecast, truth: np.ndarray) -> np.ndarray:
    """At each lead: whether the path up to there stayed in its band."""
    upto = [
        inside_jointly(forecast.joint_low[:, :h], forecast.joint_high[:, :h], truth[:, :h])
        for h in range(1, truth.shape[1] + 1)
    ]
    return np.where(np.isnan(truth), np.nan, np.stack(upto, axis=1))


def given(forecast: Forecast, truth: np.ndarray) -> np.ndarray:
    """The number that is reported itself: the mean of the `forecast`, whatever the `truth`."""
    return forecast.mean


METRICS: dict[str, Metric] = {
    "rmse": Metric(_squared, np.sqrt),
    "mae": Metric(_absolute),
    "crps": Metric(_crps),
    "interval_score": Metric(_interval_score),
    "coverage90": Metric(_covered, exact=True),
    "joint90": Metric(_path_covered, exact=True),
}


@dataclass(frozen=True)
class Tally:
    """Sums of a metric's loss by unit: `total` over `count` scored forecasts of each of the `units`."""

    metric: Metric
    units: np.ndarray
    total: Float[np.ndarray, " u"]
    count: Float[np.ndarray, " u"]


def tally(
    metric: Metric,
    loss: Float[np.ndarray, " q"] | Bool[np.ndarray, " q"],
    units: Sequence[str] | np.ndarray,
    *,
    weights: Float[np.ndarray, " q"] | None = None,
) -> Tally:
    """Sum losses by unit; missing (NaN) losses and units without any are left out.

    `weights`: how many forecasts each loss stands for (default 1 each).
    """
    loss, units = np.asarray(loss, float), np.asarray(units)
    seen = np.isfinite(loss)
    stands = np.ones(len(loss)) if weights is None else weights
    names, place = np.unique(units[seen], return_inverse=True)
    total, count = (_sums(place, v[seen], len(names)) for v in (loss * stands, stands))
    return Tally(metric, names, total, count)


def _sums(place: np.ndarray, values: np.ndarray, n: int) -> Float[np.ndarray, " u"]:
    return np.bincount(place, values, n).astype(float)


def measure(
    name: str, forecast: Forecast, truth: Float[np.ndarray, "q h"], units: Sequence[str] | np.ndarray, lead: int
) -> Tally:
    """The tally of metric `name` at lead number `lead`; `units` names the subject of each forecast."""
    return tally(METRICS[name], METRICS[name].loss(forecast, truth)[:, lead], units)


def add(tallies: Sequence[Tally]) -> Tally:
    """One tally from several of the same metric; the sums of a unit that occurs in several add up."""
    names, place = np.unique(np.concatenate([t.units for t in tallies]), return_inverse=True)
    total, count = (np.concatenate(parts) for parts in ([t.total for t in tallies], [t.count for t in tallies]))
    return Tally(tallies[0].metric, names, _sums(place, total, len(names)), _sums(place, count, len(names)))


def average(tallies: Sequence[Tally]) -> Tally:
    """One tally from several of the same metric (seeds); of a unit that occurs in several the sums are averaged."""
    whole = add(tallies)
    times = np.unique(np.concatenate([t.units for t in tallies]), return_counts=True)[1]
    return Tally(whole.metric, whole.units, whole.total / times, whole.count / times)


def interval(sums: Tally, *, seed: int = 0) -> Interval:
    """The metric with its 95 % interval over units; `n` is the number of scored forecasts.

    Errors are averaged over forecasts, coverages first within each unit and then over units. The interval of a
    coverage is exact (Clopper-Pearson) where each unit counts once, and conservative where it counts several times.
    """
    units, scored = len(sums.units), round(sums.count.sum())
    if not units:
        return Interval(np.nan, np.nan, np.nan, 0)
    if sums.metric.exact:
        share = exact_share(float(np.sum(sums.total / sums.count)), units)
        return replace(share, n=scored)
    value = float(_value(sums, np.ones((1, units)))[0])
    return Interval(value, *_bounds(_value(sums, _weights(units, seed))), scored)


def exact_share(hits: float, n: int) -> Interval:
    """The share `hits` / n with its exact (Clopper-Pearson) 95 % interval (doi:10.1093/biomet/26.4.404)."""
    low = stats.beta.ppf(0.025, hits, n - hits + 1) if hits > 0 else 0.0
    high = stats.beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return Interval(hits / n, float(low), float(high), n)


def difference(ours: Tally, other: Tally, *, seed: int = 0) -> Interval:
    """Paired difference ours - other over the units they share, resampled together."""
    return _paired(ours, other, np.subtract, seed)


def ratio(ours: Tally, other: Tally, *, seed: int = 0) -> Interval:
    """Paired ratio ours / other over the units they share, resampled together."""
    return _paired(ours, other, np.divide, seed)


def geometric_ratio(ours: Sequence[Tally], other: Sequence[Tally], *, seed: int = 0) -> Interval:
    """Geometric mean of the ratios ours / other of several metrics (one a channel), units resampled together."""
    units = np.unique(np.concatenate([t.units for t in (*ours, *other)]))
    both = []
    for weights in (np.ones((1, len(units))), _weights(len(units), seed)):
        x, y = (np.stack([_value(_among(t, units), weights) for t in side]) for side in (ours, other))
        both.append(np.exp(np.log(x / y).mean(0)))
    return Interval(float(both[0][0]), *_bounds(both[1]), round(sum(t.count.sum() for t in ours)))


def _among(sums: Tally, units: np.ndarray) -> Tally:
    """The same tally over more units, which count nothing."""
    place = np.searchsorted(units, sums.units)
    total, count = (_sums(place, v, len(units)) for v in (sums.total, sums.count))
    return Tally(sums.metric, units, total, count)


def _paired(ours: Tally, other: Tally, combine: np.ufunc, seed: int) -> Interval:
    shared, a, b = np.intersect1d(ours.units, other.units, return_indices=True)
    if not len(shared):
        return Interval(np.nan, np.nan, np.nan, 0)
    ours, other = (Tally(t.metric, shared, t.total[i], t.count[i]) for t, i in ((ours, a), (other, b)))
    both = []
    for weights in (np.ones((1, len(shared))), _weights(len(shared), seed)):
        x, y = _value(ours, weights), _value(other, weights)
        with np.errstate(divide="ignore", invalid="ignore"):  # both sides may be exactly right
            both.append(np.where(x == y, combine(1.0, 1.0), combine(x, y)))
    return Interval(float(both[0][0]), *_bounds(both[1]), round(ours.count.sum()))


def _weights(units: int, seed: int) -> Float[np.ndarray, "r u"]:
    """How often each unit occurs in each bootstrap replicate."""
    return np.random.default_rng(seed).multinomial(units, np.full(units, 1.0 / units), REPLICATES).astype(float)


def _value(sums: Tally, weights: Float[np.ndarray, "r u"]) -> Float[np.ndarray, " r"]:
    with np.errstate(invalid="ignore"):  # of few units a replicate may hold none that was scored: no number
        return sums.metric.finish(weights @ sums.total / (weights @ sums.count))


def _bounds(replicates: Float[np.ndarray, " r"]) -> tuple[float, float]:
    low, high = np.nanquantile(replicates, [0.025, 0.975])
    return float(low), float(high)
