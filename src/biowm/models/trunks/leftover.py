"""What a fit leaves unexplained: how it moves channels together, and whether it fades while a subject is followed."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

_CLEARLY, _TINY, _STEEPEST = 2.58, 0.03, 1.5  # errors of a slope; sd of the noise below which all is one; limit
_FAR, _LEAST_PAIRS, _LEAST_VALUE = 4.0, 30, 0.01


def fading(left: Float[np.ndarray, "n t d"], start: Float[np.ndarray, "n t d"]) -> Float[np.ndarray, " d"]:
    """Exponents of the noise variance in 1 + time since the start (spacings), one a channel.

    Early readings respond, late ones have settled. An exponent is the slope of the log of the square of what is
    `left` (sd of the noise; NaN: none) on the log of when it began (`start`): outliers hardly move it
    (doi:10.2307/1913974). Where it is not clearly below 0 (99 %, by subject) it is 0; noise that grows is left alone.
    """
    found = np.zeros(left.shape[2])
    for j in range(len(found)):
        read = np.isfinite(left[..., j])
        x = np.where(read, np.log1p(start[..., j]), 0.0)
        y = np.where(read, 2 * np.log(np.maximum(np.abs(np.nan_to_num(left[..., j])), _TINY)), 0.0)
        n = max(read.sum(), 1)
        x, y = np.where(read, x - x.sum() / n, 0.0), np.where(read, y - y.sum() / n, 0.0)
        spread = (x**2).sum()
        if spread < 1e-6 * n:
            continue
        slope = (x * y).sum() / spread
        error = np.sqrt(((x * (y - slope * x)).sum(1) ** 2).sum()) / spread  # by subject
        if slope < -_CLEARLY * error:
            found[j] = max(slope, -_STEEPEST)
    return found


def correlation(left: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "d d"]:
    """Correlation of columns that are partly missing (NaN): positive definite, 0 where few rows have both.

    Values beyond four sd count as four: an outlier of two channels at once must not decide.
    """
    seen = np.isfinite(left).astype(float)
    z = np.clip(np.nan_to_num(left), -_FAR, _FAR)
    both, spread = seen.T @ seen, (z**2).T @ seen
    found = np.where(both >= _LEAST_PAIRS, z.T @ z / np.sqrt(np.maximum(spread * spread.T, 1e-12)), 0.0)
    np.fill_diagonal(found, 1.0)
    values, axes = np.linalg.eigh(found)
    sound = (axes * np.maximum(values, _LEAST_VALUE)) @ axes.T
    sd = np.sqrt(np.diag(sound))
    return sound / np.outer(sd, sd)
