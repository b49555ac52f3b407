"""Readings of control cells as they would be in a population whose mean is another: each cell keeps its own noise.

A count of mean mu and inverse dispersion r is a Poisson draw of a rate of the cell's own. Where the rate falls to a
share, every molecule that was read is read again with that share (thinning); where it rises, those it would add are
drawn from the cell's rate as its count tells it (Gamma posterior). Both are exact: the moved count has the negative
binomial law of the moved mean, and where nothing changes the cell stays as it was read. Values that are no counts are
shifted.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_REACH, _STEPS, _CLOSE = 7.0, 12, 1e-4  # log fold changes that are looked among, how long, how near to what is wanted
_PRIOR, _TURNS = 1.0, 5  # counts that the decoder's own total of a gene or a cell is worth
_TIMES = np.exp(np.arange(-15.0, 4.0, 1.0))  # of the transform; as many more would change a mean by less than .001


def moved_counts(
    counts: Float[np.ndarray, "n g"],
    mean: Float[np.ndarray, "n g"],
    spread: Float[np.ndarray, " g"],
    fold: Float[np.ndarray, " g"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "n g"]:
    """Counts at `fold` times the rate; `mean` is what was expected of each, `spread` the inverse dispersions."""
    down = rng.binomial(counts.astype(np.int64), np.minimum(fold, 1.0)[None, :])
    up = np.maximum(fold - 1.0, 0.0)
    grown = np.flatnonzero(up > 0)
    if len(grown):
        r = spread[grown]
        rate = rng.gamma(counts[:, grown] + r) * mean[:, grown] / (mean[:, grown] + r)
        down[:, grown] += rng.poisson(rate * up[grown])
    return down.astype(np.float32)


def matched(mean: Float[np.ndarray, "n g"], counts: Float[np.ndarray, "n g"]) -> Float[np.ndarray, "n g"]:
    """Expected counts of a population whose totals of genes and of cells are as they were read (each in turn).

    A decoder that was fitted to many populations does not know what is particular to one that has few of the cells.
    """
    for axis in (1, 0) * _TURNS:
        mean = mean * ((counts.sum(axis, keepdims=True) + _PRIOR) / (mean.sum(axis, keepdims=True) + _PRIOR))
    return mean


def read_again(
    counts: Float[np.ndarray, "n g"], mean: Float[np.ndarray, "n g"], spread: Float[np.ndarray, " g"],
    rng: np.random.Generator,
) -> Float[np.ndarray, "n g"]:  # fmt: skip
    """Other readings of the same cells: Poisson draws of the rate of each, as its count tells it (Gamma posterior)."""
    return rng.poisson(rng.gamma(counts + spread) * mean / (mean + spread)).astype(np.float32)


def fold_for(
    counts: Float[np.ndarray, "n g"],
    mean: Float[np.ndarray, "n g"],
    spread: Float[np.ndarray, " g"],
    size: Float[np.ndarray, " n"],
    wanted: Float[np.ndarray, " g"],
) -> Float[np.ndarray, " g"]:
    """The fold change of every gene's rate at which log1p(size x moved count) is expected to average to `wanted`.

    Found by regula falsi (the Illinois rule) on `expected_log1p`, which grows with the fold change.
    """
    g = len(wanted)
    found = np.zeros(g)
    here = np.log1p(size[:, None] * counts).mean(0)
    open_ = np.flatnonzero((wanted > 0) & (np.abs(here - wanted) > _CLOSE))
    found[np.abs(here - wanted) <= _CLOSE] = 1.0
    if not len(open_):
        return found
    counts, mean, spread, wanted = counts[:, open_], mean[:, open_], spread[open_], wanted[open_]
    rising = here[open_] < wanted
    low, high = np.where(rising, 0.0, -_REACH), np.where(rising, _REACH, 0.0)

    def miss(at: np.ndarray) -> np.ndarray:
        return expected_log1p(counts, mean, spread, size, np.exp(at)) - wanted

    below, above = np.where(rising, here[open_] - wanted, miss(low)), np.where(rising, miss(high), here[open_] - wanted)
    at, side = 0.5 * (low + high), np.zeros(len(open_))
    for _ in range(_STEPS):
        gap = above - below
        share = np.where(np.abs(gap) > 1e-12, -below / np.where(np.abs(gap) > 1e-12, gap, 1.0), 0.5)
        at = low + np.clip(share, 0.02, 0.98) * (high - low)
        now = miss(at)
        if (np.abs(now) < _CLOSE).all():
            break
        up = now < 0
        above = np.where(up & (side > 0), 0.5 * above, above)
        below = np.where(~up & (side < 0), 0.5 * below, below)
        low, below = np.where(up, at, low), np.where(up, now, below)
        high, above = np.where(up, high, at), np.where(up, above, now)
        side = np.where(up, 1.0, -1.0)
    found[open_] = np.exp(at)
    return found


def expected_log1p(
    counts: Float[np.ndarray, "n g"],
    mean: Float[np.ndarray, "n g"],
    spread: Float[np.ndarray, " g"],
    size: Float[np.ndarray, " n"],
    fold: Float[np.ndarray, " g"],
) -> Float[np.ndarray, " g"]:
    """The mean over cells of what log1p(size x count) is expected to be when counts are moved by `fold`.

    log(1 + x) is the integral of (1 - exp(-x t)) exp(-t) / t, and of exp(-t x) the expectation is known of thinned
    counts and of added ones; the integral over log t is that of a smooth function, by the trapezium rule.
    """
    share, more = np.minimum(fold, 1.0), np.maximum(fold - 1.0, 0.0)
    odds = more * mean / (mean + spread)
    total = np.zeros(counts.shape)
    for t in _TIMES:
        gone = -np.expm1(-t * size)[:, None]  # 1 - exp(-t size)
        log = counts * np.log1p(-np.minimum(share * gone, 1 - 1e-12)) - (counts + spread) * np.log1p(odds * gone)
        total -= np.exp(-t) * np.expm1(log)
    return np.log(_TIMES[1] / _TIMES[0]) * total.mean(0)
