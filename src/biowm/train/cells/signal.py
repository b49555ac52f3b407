"""Which directions of a screen's responses are signal: those that independent quarters of the cells agree on.

A response is the mean of a condition minus the mean of its context's controls, each quarter with controls of its own:
with common controls every response agrees with every other, whatever was given (the trap of arXiv:2409.04949 and
doi:10.1038/s41587-025-02777-8). Directions are found on two quarters and tested on the other two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.interval import Interval

from .sums import APART, QUARTERS, CellSums

MOST, _LEAST_CELLS, _SHUFFLES, _LEVEL, _PATIENCE = 64, 8, 499, 0.01, 3
_SURE = 3.0  # standard deviations of noise
_SHRINK = 20.0  # control cells of a batch at which half of its offset is believed


@dataclass(frozen=True)
class Signal:
    """Orthonormal `directions` [gene, k] of responses, and how many of them two halves agree on (0: none; one is kept).

    All directions are kept where a replicate says more than the other conditions do: what is weak in each may be strong
    in all of them. Elsewhere only as many as are agreed on. `agreement` is the correlation of the halves along each
    direction that was tested, `p` its permutation test. `gain` is how much closer one half of a condition's cells is to
    the other than the mean of the other conditions of the context is: log of the ratio of squared distances, over
    conditions (below 0: a repeated experiment of this size says less of a condition than the others do).
    """

    directions: Float[np.ndarray, "g k"]
    reproducible: int
    agreement: tuple[float, ...]
    p: tuple[float, ...]
    gain: Interval


def offsets(sums: CellSums, control: Bool[np.ndarray, " c"], context: Int[np.ndarray, " c"]) -> np.ndarray:
    """What each batch adds to log1p readings [batch, gene]: its controls against their contexts' controls, shrunk.

    A context that is all in one batch and of which nothing else is there cannot be told from it: the offset is 0.
    """
    total, n = sums.total[list(QUARTERS)].sum(0), sums.cells[list(QUARTERS)].sum(0)
    mean = np.zeros_like(total)
    for k in np.unique(context):
        here = control & (context == k)
        mean[context == k] = total[here].sum(0) / max(n[here].sum(), 1.0)
    mixed = sums.mixed * control[:, None]
    expected = mixed.T @ mean / np.maximum(mixed.sum(0), 1.0)[:, None]
    found = sums.by_batch / np.maximum(sums.in_batch, 1.0)[:, None] - expected
    return found * (sums.in_batch / (sums.in_batch + _SHRINK))[:, None]


def means(sums: CellSums, offset: Float[np.ndarray, "b g"], quarters: tuple[int, ...]) -> np.ndarray:
    """Mean readings [condition, gene] over some parts, freed of what batches add; NaN where there is no cell."""
    total, n = sums.total[list(quarters)].sum(0), sums.cells[list(quarters)].sum(0)
    share = sums.mixed / np.maximum(sums.mixed.sum(1, keepdims=True), 1.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(n[:, None] > 0, total / n[:, None], np.nan) - share @ offset


def controls(mean: np.ndarray, cells: np.ndarray, control: np.ndarray, context: np.ndarray) -> np.ndarray:
    """The mean of every condition's own controls [condition, gene]; NaN where its context has none."""
    found = np.full_like(mean, np.nan)
    for k in np.unique(context):
        here = control & (context == k) & (cells > 0)
        if here.any():
            found[context == k] = np.average(mean[here], axis=0, weights=cells[here])
    return found


def responses(
    sums: CellSums, offset: Float[np.ndarray, "b g"], parts: tuple[int, ...], control: Bool[np.ndarray, " c"],
    context: Int[np.ndarray, " c"],
) -> Float[np.ndarray, "c g"]:  # fmt: skip
    """Mean readings over some parts minus those of the context's controls in the same parts."""
    mean = means(sums, offset, parts)
    return mean - controls(mean, sums.cells[list(parts)].sum(0), control, context)


def find_signal(
    sums: CellSums, offset: np.ndarray, control: Bool[np.ndarray, " c"], context: Int[np.ndarray, " c"],
    learned: Bool[np.ndarray, " c"], seed: int,
) -> Signal:  # fmt: skip
    """The directions of the responses of the `learned` conditions that are above split-half noise (at least one)."""
    rng = np.random.default_rng([seed, 4])

    def response(*quarters: int) -> np.ndarray:
        return responses(sums, offset, quarters, control, context)

    usable = learned & ~control & (sums.cells[:APART].min(0) * APART >= _LEAST_CELLS)
    rows = np.flatnonzero(usable)
    whole = np.nan_to_num(response(*QUARTERS)[learned & ~control])
    if not len(whole):
        raise ValueError("no treated condition to learn from: expected at least one beside the controls")
    weight = np.sqrt(sums.cells[:APART].sum(0)[learned & ~control])
    directions = np.linalg.svd(whole * (weight / weight.max())[:, None], full_matrices=False)[2].T
    if len(rows) == 0:
        return Signal(directions[:, :1], 0, (), (), Interval(0.0, 0.0, 0.0, 0))
    found, first, second = (response(*q)[rows] for q in ((0, 1), (2,), (3,)))
    place = context[rows]
    common = _common(response(0, 1)[rows], response(2, 3)[rows], place, sums.gram)
    agreement, p = [], []
    count, misses = 0, 0
    inner = _centred(found, place)
    candidates = np.linalg.svd(inner, full_matrices=False)[2] if len(rows) > 3 else np.zeros((0, found.shape[1]))
    for v in candidates[:MOST]:
        a, b = _centred(first @ v, place), _centred(second @ v, place)
        r = _correlation(a, b)
        shuffled = [_correlation(a, b[_shuffle(place, rng)]) for _ in range(_SHUFFLES)]
        chance = (1 + sum(s >= r for s in shuffled)) / (_SHUFFLES + 1)
        agreement.append(float(r))
        p.append(float(chance))
        misses = 0 if chance <= _LEVEL else misses + 1
        count += chance <= _LEVEL
        if misses >= _PATIENCE:
            break
    reproducible = count + common
    gain = _gain(means(sums, offset, (0, 1))[rows], means(sums, offset, (2, 3))[rows], place)
    clear = gain.low > 0 or gain.n == 0  # of a lone condition there are no others
    return Signal(
        directions[:, : MOST if reproducible and clear else max(1, min(reproducible, MOST))],
        reproducible,
        tuple(agreement),
        tuple(p),
        gain,
    )


def _gain(first: np.ndarray, second: np.ndarray, place: np.ndarray) -> Interval:
    """What a half of the cells says of the other half beyond the mean of the context's other conditions."""
    found = []
    for i in range(len(first)):
        others = np.flatnonzero((place == place[i]) & (np.arange(len(first)) != i))
        if len(others):
            mean = 0.5 * (first[others] + second[others]).mean(0)
            apart, noise = ((second[i] - mean) ** 2).sum(), ((second[i] - first[i]) ** 2).sum()
            found.append(np.log(max(apart, 1e-30) / max(noise, 1e-30)))
    if not found:
        return Interval(0.0, 0.0, 0.0, 0)
    values = np.array(found)
    error = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.inf
    return Interval(float(values.mean()), float(values.mean() - error), float(values.mean() + error), len(values))


def _common(first: np.ndarray, second: np.ndarray, place: np.ndarray, gram: np.ndarray) -> int:
    """Whether the mean response of some context has one direction in both halves, beyond what noise would have.

    The cosine of two independent noises has the spread 1 / sqrt(effective genes), which the cells' covariance gives.
    """
    effective = float(np.trace(gram)) ** 2 / max(float((gram.astype(float) ** 2).sum()), 1e-30)
    found = 0
    for k in np.unique(place):
        a, b = first[place == k].mean(0), second[place == k].mean(0)
        cosine = float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))
        found += cosine * np.sqrt(effective) > _SURE
    return int(found > 0)


def _centred(values: np.ndarray, place: np.ndarray) -> np.ndarray:
    out = values.astype(float).copy()
    for k in np.unique(place):
        out[place == k] -= out[place == k].mean(0)
    return out


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-30))


def _shuffle(place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    order = np.arange(len(place))
    for k in np.unique(place):
        here = np.flatnonzero(place == k)
        order[here] = rng.permutation(here)
    return order
