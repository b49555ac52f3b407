"""Power: how often a trial of a given size tells two arms apart, from a pool of virtual patients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from biowm.core.interval import Interval

_POOLS = 400  # bootstrap replicates of the pool


@dataclass(frozen=True)
class Power:
    """Trials with `size` patients in each arm: the share that reach significance, and the differences they report.

    The interval of `power` holds the chance of the trials and of the pool they were drawn from; n counts trials.
    `low` and `high` hold 95 % of the estimates that single trials would report, `wrong` the share of all trials that
    are significant with the wrong sign.
    """

    size: int
    power: Interval
    low: float
    high: float
    wrong: float


def power(
    control: Float[np.ndarray, " n"],
    treated: Float[np.ndarray, " n"],
    size: int,
    *,
    trials: int,
    alpha: float,
    seed: int,
) -> Power:
    """Randomise 2 x `size` patients of the pool to one arm each, `trials` times, and test the means (Welch).

    Args: the outcome of every patient of the pool under each arm; patients are drawn with replacement, so a pool serves
    trials of any size. The interval joins the exact one of the share of trials with the bootstrap spread, over the
    pool, of the power that normal theory gives (root of the sum of squares of the half-widths).
    Source: doi:10.1093/biomet/34.1-2.28.
    """
    rng = np.random.default_rng([seed, 5, size])
    who = rng.integers(len(control), size=(trials, 2, size))
    a, b = control[who[:, 0]], treated[who[:, 1]]
    gap, var_a, var_b = b.mean(1) - a.mean(1), a.var(1, ddof=1) / size, b.var(1, ddof=1) / size
    se = np.sqrt(var_a + var_b)
    freedom = (var_a + var_b) ** 2 / np.maximum((var_a**2 + var_b**2) / (size - 1), 1e-300)
    p = 2 * stats.t.sf(np.abs(gap) / np.maximum(se, 1e-300), np.maximum(freedom, 1.0))
    found = (p < alpha) & (gap != 0)
    truth = float((treated - control).mean())
    low, high = np.quantile(gap, (0.025, 0.975)).tolist()
    wrong = float((found & (np.sign(gap) != np.sign(truth))).mean())
    return Power(size, _joined(found, _over_pools(control, treated, size, alpha, rng)), low, high, wrong)


def _over_pools(
    control: Float[np.ndarray, " n"],
    treated: Float[np.ndarray, " n"],
    size: int,
    alpha: float,
    rng: np.random.Generator,
) -> Float[np.ndarray, " r"]:
    """The power by normal theory in bootstrap replicates of the pool."""
    n = len(control)
    weight = rng.multinomial(n, np.full(n, 1 / n), _POOLS) / n
    mean_a, mean_b = weight @ control, weight @ treated
    spread = weight @ control**2 - mean_a**2 + weight @ treated**2 - mean_b**2
    shift = np.abs(mean_b - mean_a) / np.sqrt(np.maximum(spread, 1e-300) / size)
    edge = stats.norm.isf(alpha / 2)
    return stats.norm.sf(edge - shift) + stats.norm.sf(edge + shift)


def _joined(found: np.ndarray, pools: Float[np.ndarray, " r"]) -> Interval:
    share, n = float(found.mean()), len(found)
    exact = stats.binomtest(int(found.sum()), n).proportion_ci()
    below, above = np.median(pools) - np.quantile(pools, 0.025), np.quantile(pools, 0.975) - np.median(pools)
    low = share - np.hypot(share - exact.low, below)
    high = share + np.hypot(exact.high - share, above)
    return Interval(share, float(max(low, 0.0)), float(min(high, 1.0)), n)
