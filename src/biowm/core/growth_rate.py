"""Growth rate inhibition: what a drug does to how fast cells divide, whatever that speed is.

Source: Hafner et al. 2016, doi:10.1038/nmeth.3853; the fit as its package GRmetrics does it, Clark et al. 2017,
doi:10.1186/s12885-017-3689-3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy import optimize, stats

LEVEL = 0.05  # of the test of a sigmoid against a flat line
_HILL = (0.1, 5.0)  # bounds of the slope
_REACH = 2.0  # decades beyond the concentrations tried in which that of half effect is looked for
_STARTS = 5
_FLAT = 1e-9  # root mean square about the mean below which there is nothing to fit


@dataclass(frozen=True)
class GrowthRateFit:
    """Metrics of one curve of GR by concentration; concentrations are in the unit that was given.

    `gr50` is where GR is one half (infinite where it never is, -infinite where a flat line lies lower), `gr_max` the
    lower of the two GR at the highest concentrations (means of replicates), `gr_inf` the bottom of the
    sigmoid, `gec50` and `hill` its middle and slope (NaN of a flat line), `gr_aoc` the area over the curve per decade,
    `p` that of the F test of the sigmoid against the flat line and `r2` the sigmoid's share of the variance.
    """

    fit: Literal["sigmoid", "flat"]
    gr50: float
    gr_max: float
    gr_inf: float
    gec50: float
    hill: float
    gr_aoc: float
    p: float
    r2: float
    readings: int
    concentrations: int


def growth_rate_inhibition(
    treated: Float[np.ndarray, " n"], before: Float[np.ndarray, " n"], control: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " n"]:
    """GR of each reading: 2^(log2(treated / before) / log2(control / before)) - 1.

    All are counts of cells (or anything in proportion): `treated` and `control` after the assay, `before` at its start.
    1 is no effect, 0 no net growth, below 0 cells are lost, down to -1 where none is left.
    Raises: ValueError naming the reading where `treated` is below 0, `before` is not above 0 or `control` did not grow.
    Source: doi:10.1038/nmeth.3853.
    """
    treated, before, control = (np.asarray(x, float) for x in (treated, before, control))
    wrong = ~((treated >= 0) & (before > 0) & (control > before) & np.isfinite(treated) & np.isfinite(control))
    if wrong.any():
        i = int(np.flatnonzero(wrong)[0])
        raise ValueError(
            f"reading {i}: found treated {treated[i]:g}, before {before[i]:g}, control {control[i]:g}, "
            "expected treated >= 0 and control > before > 0"
        )
    with np.errstate(divide="ignore"):
        return 2 ** (np.log2(treated / before) / np.log2(control / before)) - 1


def sigmoid(
    concentration: Float[np.ndarray, " n"], gr_inf: float, gec50: float, hill: float
) -> Float[np.ndarray, " n"]:
    """GR at each concentration: from 1 down to `gr_inf`, half of the way at `gec50`."""
    return gr_inf + (1 - gr_inf) / (1 + (np.asarray(concentration, float) / gec50) ** hill)


def fit_growth_rate(concentration: Float[np.ndarray, " n"], gr: Float[np.ndarray, " n"]) -> GrowthRateFit:
    """Fit a sigmoid to GR values by bounded least squares, and say so where a flat line explains them as well.

    `concentration` is above 0, in any unit; replicates are rows of the same concentration. Bounds, degrees of freedom
    of the F test (2 and n - 2) and metrics are those of GRmetrics, so that numbers compare; it prints 0 and .01 for
    middle and slope of a flat line, which has neither.
    Raises: ValueError with fewer than four readings or three concentrations, or for values that cannot be.
    Source: doi:10.1186/s12885-017-3689-3.
    """
    c, y = np.asarray(concentration, float), np.asarray(gr, float)
    if not (np.isfinite(c).all() and (c > 0).all() and np.isfinite(y).all() and (y >= -1).all()):
        raise ValueError("found a concentration or GR that cannot be, expected concentrations above 0 and GR from -1")
    levels, which = np.unique(c, return_inverse=True)
    if len(levels) < 3 or len(c) < 4:
        raise ValueError(
            f"found {len(c)} readings at {len(levels)} concentrations, expected at least 4 readings at 3 concentrations"
        )
    means = np.bincount(which, y) / np.bincount(which)
    flat_error = float(np.sum((y - y.mean()) ** 2))
    gr_inf, log_middle, hill, error = _least_squares(np.log10(c), y)
    p, r2 = 1.0, float("nan")
    if flat_error > len(y) * _FLAT**2:
        freedom = len(y) - 2
        ratio = (flat_error - error) / 2 / max(error / freedom, np.finfo(float).tiny)
        p, r2 = float(stats.f.sf(ratio, 2, freedom)), 1 - error / flat_error
    decades = np.log10(levels)
    over = 1 - (means[1:] + means[:-1]) / 2
    aoc = float(over @ np.diff(decades) / (decades[-1] - decades[0]))
    low, counts = float(means[-2:].min()), (len(y), len(levels))
    if p >= LEVEL:
        gr50 = np.inf if y.mean() > 0.5 else -np.inf
        return GrowthRateFit("flat", gr50, low, low, np.nan, np.nan, aoc, p, r2, *counts)
    middle = 10**log_middle
    gr50 = middle * (0.5 / (0.5 - gr_inf)) ** (1 / hill) if gr_inf < 0.5 else np.inf
    return GrowthRateFit("sigmoid", gr50, low, gr_inf, middle, hill, aoc, p, r2, *counts)


def _least_squares(decade: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"]) -> tuple[float, float, float, float]:
    """Bottom, logarithm of the middle, slope and sum of squares of the best sigmoid, from several starts."""
    low, high = decade.min(), decade.max()

    def residual(x: np.ndarray) -> np.ndarray:
        slope = np.log(10) * x[2] * (decade - x[1])
        return x[0] + (1 - x[0]) * 0.5 * (1 - np.tanh(slope / 2)) - y

    bounds = ([-1.0, low - _REACH, _HILL[0]], [1.0, high + _REACH, _HILL[1]])
    bottom = float(np.clip(y.min(), -0.9, 0.9))
    starts = [(bottom, middle, 1.5) for middle in np.linspace(low, high, _STARTS)]
    fits = [optimize.least_squares(residual, x0, bounds=bounds, x_scale=(0.5, 0.5, 1.0), xtol=1e-10) for x0 in starts]
    best = min(fits, key=lambda f: f.cost)
    return float(best.x[0]), float(best.x[1]), float(best.x[2]), 2 * float(best.cost)
