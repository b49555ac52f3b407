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

_REACH, _HALVINGS = 7.0, 30  # log fold changes that are looked among, and how finely


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


def fold_for(
    counts: Float[np.ndarray, "n g"],
    mean: Float[np.ndarray, "n g"],
    spread: Float[np.ndarray, " g"],
    size: Float[np.ndarray, " n"],
    wanted: Float[np.ndarray, " g"],
) -> Float[np.ndarray, " g"]:
    """The fold change of every gene's rate at which the mean of log1p(size x count) over the cells is as `wanted`.

    By halving on what is expected of the moved counts (to second order), which grows with the fold change.
    """
    low, high = np.full(len(wanted), -_REACH), np.full(len(wanted), _REACH)
    heavier = (counts + spread) / (mean + spread)
    rate, s = heavier * mean, size[:, None]
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        fold = np.exp(middle)
        share, more = np.minimum(fold, 1.0), np.maximum(fold - 1.0, 0.0)
        expected = share * counts + more * rate
        variance = share * (1 - share) * counts + more * rate + more**2 * rate * mean / (mean + spread)
        value = np.log1p(s * expected) - 0.5 * s**2 * variance / (1 + s * expected) ** 2
        below = value.mean(0) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    found = np.exp(0.5 * (low + high))
    return np.where(wanted <= 0, 0.0, found)
