"""How far two populations lie apart: energy distance and maximum mean discrepancy, both without bias.

For NumPy and JAX alike, differentiable in JAX also where two cells are the same. A population is an array [n, g], a row
a cell; a weight of 0 leaves a row out (padding, which must be finite). Which space the columns are (all genes, or some
principal components) is the caller's choice and has to be said beside the number: neither is invariant to it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from .arrays import AnyArray, space

Cells = Float[AnyArray, "n g"]
Others = Float[AnyArray, "m g"]
Number = Float[AnyArray, ""]
_TINY = 1e-12


def squared_distances(x: Cells, y: Others) -> Float[AnyArray, "n m"]:
    """Squared Euclidean distance of every row of `x` to every row of `y`, never below 0.

    By one product of matrices, about the mean of `y`, so that single precision does not lose small distances.
    """
    xp = space(x, y)
    x, y = xp.asarray(x), xp.asarray(y)
    middle = y.mean(0, keepdims=True)
    x, y = x - middle, y - middle
    return xp.maximum((x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2.0 * (x @ y.T), 0.0)


def energy_distance(
    x: Cells,
    y: Others,
    *,
    x_weights: Float[AnyArray, " n"] | None = None,
    y_weights: Float[AnyArray, " m"] | None = None,
) -> Number:
    """Energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| of two populations, in the unit of the columns.

    Args: `x` [n, g] and `y` [m, g]; weights, at least 0, of any sum (default equal). Pairs of a row with itself are
    left out (a U-statistic), so the mean over samples is that of the populations, 0 where they are the same, and one
    value may be below 0. The spread of a single row counts as 0.
    Source: doi:10.1016/j.jspi.2013.03.018.
    """
    between, within_x, within_y = _means(x, y, x_weights, y_weights, _root)
    return space(between).asarray(2.0 * between - within_x - within_y)


def mmd(
    x: Cells,
    y: Others,
    bandwidth: float | Number,
    *,
    x_weights: Float[AnyArray, " n"] | None = None,
    y_weights: Float[AnyArray, " m"] | None = None,
) -> Number:
    """Squared maximum mean discrepancy under the kernel exp(-|x - y|^2 / (2 bandwidth^2)), from 0 to 2.

    Args as of `energy_distance`; `bandwidth` in the unit of the columns (`median_distance` of training cells). A
    U-statistic: unbiased, so one value may be below 0.
    Source: Gretton et al., Journal of Machine Learning Research 13:723 (2012), lemma 6.
    """
    between, within_x, within_y = _means(x, y, x_weights, y_weights, lambda d2: _kernel(d2, bandwidth))
    return space(between).asarray(within_x + within_y - 2.0 * between)


def median_distance(x: Float[np.ndarray, "n g"]) -> float:
    """The median Euclidean distance between two different rows: the usual bandwidth of a kernel.

    Raises: ValueError with fewer than two rows, or where half of all pairs are the same.
    """
    d2 = squared_distances(x, x)
    found = float(np.sqrt(np.median(d2[np.triu_indices(len(x), 1)]))) if len(x) > 1 else 0.0
    if not found > 0:
        raise ValueError(f"found {len(x)} rows whose median distance is {found:g}, expected rows that differ")
    return found


def _root(d2: Float[AnyArray, "n m"]) -> Float[AnyArray, "n m"]:
    """The square root, with a gradient of 0 at 0."""
    xp = space(d2)
    apart = d2 > _TINY
    return xp.where(apart, xp.sqrt(xp.where(apart, d2, 1.0)), 0.0)


def _kernel(d2: Float[AnyArray, "n m"], bandwidth: float | Number) -> Float[AnyArray, "n m"]:
    return space(d2).exp(-d2 / (2.0 * bandwidth**2))


def _means(
    x: Cells,
    y: Others,
    x_weights: Float[AnyArray, " n"] | None,
    y_weights: Float[AnyArray, " m"] | None,
    of: Callable[[AnyArray], AnyArray],
) -> tuple[Number, Number, Number]:
    """The mean of a function of the squared distance: between the populations, and within each without a row itself."""
    xp = space(x, y, x_weights, y_weights)
    x, y = xp.asarray(x), xp.asarray(y)
    w, v = _shares(x, x_weights), _shares(y, y_weights)
    within = [_within(of(squared_distances(z, z)), s) for z, s in ((x, w), (y, v))]
    return xp.asarray(w @ of(squared_distances(x, y)) @ v), within[0], within[1]


def _shares(x: Cells, weights: Float[AnyArray, " n"] | None) -> Float[AnyArray, " n"]:
    """Weights that sum to 1."""
    xp = space(x, weights)
    w = xp.ones(x.shape[0], x.dtype) if weights is None else xp.asarray(weights, x.dtype)
    return w / w.sum()


def _within(values: Float[AnyArray, "n n"], w: Float[AnyArray, " n"]) -> Number:
    """The weighted mean over pairs of different rows; 0 where there is no such pair."""
    xp = space(values, w)
    values = xp.where(xp.eye(values.shape[0], dtype=bool), xp.zeros((), values.dtype), values)
    return xp.asarray(w @ values @ w / xp.maximum(1.0 - (w * w).sum(), 1e-6))
