"""Whether there is anything to foretell above the noise of replicates, and whether a prediction foretells it.

Three questions about held-out conditions; a signal is found where each is answered with yes.
- Against the control: are the deltas (condition minus control, with split controls) alike in two halves of the cells
  more than when the labels of condition and control are dealt out anew (p <= .05)?
- Against the others: are the deviations from the mean of the other conditions alike more than when the labels of the
  conditions are dealt out anew (p <= .05)? A shift that all conditions share (a batch, the vector, stress) passes the
  first test and is no knowledge of any one condition; this test it does not pass (doi:10.1038/s41587-025-02777-8).
- Above the noise: is one half of the cells closer to the other half than the mean of the other conditions is? Many
  cells make the faintest agreement certain; this asks whether a repeated experiment of that size says more of a
  condition than the others do. The gain is log(squared error of the others / squared error of the half) over genes,
  means of cells against means of cells, without controls; the lower end of its 95 % interval over conditions has to be
  above 0.
A prediction is asked the same, with itself as the first half and cells it does not know as the second.
Labels are dealt out within contexts (cell lines) with the number of cells of each label held, so the level is exact if
the cells of a context are exchangeable. With a single condition there are no others, and the first question alone is
asked. Where no signal is found a report says so (`NO_SIGNAL`), whatever the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from biowm.train.cells.part import NO_SIGNAL

from .metrics import Metric, given, interval, tally
from .populations import change, halves, means_by, pearson

__all__ = ["LEVEL", "NO_SIGNAL", "Context", "Signal", "prediction_signal", "replicate_signal"]

LEVEL = 0.05
_NUMBER = Metric(given)
_CHUNK = 64  # groupings averaged at once: memory


@dataclass(frozen=True)
class Context:
    """Cells of one context [n, g] and their labels: 0 for control cells, 1 ... k for its conditions."""

    cells: Float[np.ndarray, "n g"]
    labels: Int[np.ndarray, " n"]

    def __post_init__(self) -> None:
        """Refuse labels without cells. Raises: ValueError."""
        sizes = np.bincount(self.labels)
        if len(sizes) < 2 or sizes.min() < 2:
            raise ValueError(f"found {sizes.tolist()} cells by label, expected at least two of each, control first")

    @property
    def conditions(self) -> int:
        """How many conditions there are, without the control."""
        return int(self.labels.max())


@dataclass(frozen=True)
class Signal:
    """`agreement`: mean correlation of deltas (split controls); `p_control`, `p_others`: one-sided p of two questions.

    `gains` on the mean of the others, by condition. Where there is one condition, `p_others` is NaN and there are none.
    """

    agreement: float
    p_control: float
    p_others: float
    gains: Float[np.ndarray, " c"]

    @property
    def found(self) -> bool:
        """Whether all questions are answered with yes."""
        if not len(self.gains):
            return self.p_control <= LEVEL
        above = interval(tally(_NUMBER, self.gains, np.arange(len(self.gains)).astype(str)))
        return self.p_control <= LEVEL and self.p_others <= LEVEL and above.low > 0


def replicate_signal(contexts: Sequence[Context], *, splits: int = 8, permutations: int = 199, seed: int = 0) -> Signal:
    """Whether halves of the same cells agree beyond chance: is there anything to foretell?

    The statistic is the mean correlation over conditions and `splits` random halvings, that of all contexts together;
    under the hypothesis each of `permutations` dealings is halved as often.
    """
    draw = np.random.default_rng(seed)
    conditions = sum(c.conditions for c in contexts)

    def compare(against: Callable[[np.ndarray], np.ndarray], first: int) -> tuple[float, float]:
        total = np.zeros(1 + permutations)
        for context in contexts:
            kept = context.labels >= first
            cells, labels = context.cells[kept], context.labels[kept] - first
            dealt = _dealt(labels, permutations, draw)
            groups = np.concatenate([
                np.stack([2 * row + halves(row, draw) for _ in range(splits)]) for row in dealt
            ])  # fmt: skip
            found = []
            for at in range(0, len(groups), _CHUNK):
                means = means_by(cells, groups[at : at + _CHUNK], 2 * int(labels.max() + 1))
                moved = against(means.reshape(len(means), -1, 2, cells.shape[1]))
                found.append(pearson(moved[:, :, 0], moved[:, :, 1]).sum(1))
            total += np.concatenate(found).reshape(-1, splits).mean(1)
        return float(total[0] / conditions), _p(total)

    agreement, p_control = compare(_from_control, 0)
    if min(c.conditions for c in contexts) < 2:
        return Signal(agreement, p_control, np.nan, np.zeros(0))
    gains = [_replicate_gains(context, splits, draw) for context in contexts]
    return Signal(agreement, p_control, compare(_from_others, 1)[1], np.concatenate(gains))


def prediction_signal(
    context: Context,
    predicted: Float[np.ndarray, "k g"],
    control: Float[np.ndarray, " g"],
    *,
    permutations: int = 199,
    seed: int = 0,
) -> Signal:
    """Whether a prediction foretells the conditions of one context beyond chance, and beyond the mean of the others.

    Args: `context`, cells that the prediction was not made from (held-out conditions, and control cells of which the
    prediction knows none); `predicted`, the mean foretold of each condition; `control`, the mean of the control cells
    that the prediction is compared with, none of them in `context`. Contexts that learned from one another are tested
    one by one (Bonferroni): their tests are not independent.
    """
    draw = np.random.default_rng(seed)

    def compare(of: Callable[[np.ndarray], np.ndarray], foretold: np.ndarray, first: int) -> tuple[float, float]:
        kept = context.labels >= first
        cells, labels = context.cells[kept], context.labels[kept] - first
        dealt, found = _dealt(labels, permutations, draw), []
        for at in range(0, len(dealt), _CHUNK):
            means = means_by(cells, dealt[at : at + _CHUNK], int(labels.max() + 1))
            moved = of(means[:, :, None])[:, :, 0]
            found.append(pearson(np.broadcast_to(foretold, moved.shape), moved).mean(1))
        values = np.concatenate(found)
        return float(values[0]), _p(values)

    agreement, p_control = compare(_from_control, change(predicted, control), 0)
    if context.conditions < 2:
        return Signal(agreement, p_control, np.nan, np.zeros(0))
    means = means_by(context.cells, context.labels[None], context.conditions + 1)[0]
    gains = _gains(predicted, means[1:], _others(means[1:]))
    p_others = compare(_from_others, _from_others(predicted[None, :, None])[0, :, 0], 1)[1]
    return Signal(agreement, p_control, p_others, gains)


def _replicate_gains(context: Context, splits: int, draw: np.random.Generator) -> Float[np.ndarray, " c"]:
    """Gains of one half on the mean of the others (all their cells)."""
    k = context.conditions + 1
    groups = np.stack([2 * context.labels + halves(context.labels, draw) for _ in range(splits)])
    means = means_by(context.cells, groups, 2 * k).reshape(splits, k, 2, -1)
    whole = means_by(context.cells, context.labels[None], k)
    others = np.broadcast_to(_others(whole[:, 1:]), means[:, 1:, 0].shape)
    return _gains(means[:, 1:, 0], means[:, 1:, 1], others).mean(0)


def _gains(
    said: Float[np.ndarray, "*s c g"], truth: Float[np.ndarray, "*s c g"], others: Float[np.ndarray, "*s c g"]
) -> Float[np.ndarray, "*s c"]:
    """Logarithm of the squared error of the others over that of what was said."""
    return np.log(((others - truth) ** 2).sum(-1) / ((said - truth) ** 2).sum(-1))


def _others(means: Float[np.ndarray, "*s c g"]) -> Float[np.ndarray, "*s c g"]:
    """The mean of the other conditions."""
    return (means.sum(-2, keepdims=True) - means) / (means.shape[-2] - 1)


def _from_control(means: Float[np.ndarray, "r k h g"]) -> Float[np.ndarray, "r c h g"]:
    """Deltas to the first group."""
    return change(means[:, 1:], means[:, :1])


def _from_others(means: Float[np.ndarray, "r k h g"]) -> Float[np.ndarray, "r k h g"]:
    """Deviations of each group from the mean of the others."""
    k = means.shape[1]
    return change(means, means.mean(1, keepdims=True)) * (k / (k - 1))


def _dealt(labels: Int[np.ndarray, " n"], times: int, draw: np.random.Generator) -> Int[np.ndarray, "r n"]:
    """The labels as they are, then dealt out anew so many times."""
    return np.stack([labels, *(draw.permutation(labels) for _ in range(times))])


def _p(values: Float[np.ndarray, " r"]) -> float:
    """The share of values that are no smaller than the first, which is what was seen (doi:10.2202/1544-6115.1585)."""
    return float((values >= values[0] - 1e-9).mean())
