"""How well a change of means was foretold, and how well a repeated experiment would have foretold it.

A delta is the mean expression of a condition minus that of control cells. If prediction and truth share their control
cells, the noise of those cells is in both deltas and makes them alike whatever was foretold. So there are always two
samples of control cells here, that of the prediction and that of the truth, real cells on both sides (never cells that
a model made), and the caller splits them. Deltas keep their sign. Source of the trap: doi:10.1038/s41587-025-02777-8.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.dealt import dealt

Genes = Float[np.ndarray, "... g"]


def pearson(a: Genes, b: Genes) -> Float[np.ndarray, "..."]:
    """Correlation over genes (the last axis) of each pair; 0 where one of them is constant, which foretells nothing."""
    return cosine(change(a, a.mean(-1, keepdims=True)), change(b, b.mean(-1, keepdims=True)))


def cosine(a: Genes, b: Genes) -> Float[np.ndarray, "..."]:
    """Cosine of the angle between each pair over genes (the last axis); 0 where one of them is 0."""
    lengths = np.sqrt((a * a).sum(-1) * (b * b).sum(-1))
    return np.asarray(np.divide((a * b).sum(-1), lengths, out=np.zeros_like(lengths), where=lengths > 0))


def pearson_delta(
    predicted: Genes, truth: Genes, *, predicted_control: Genes, true_control: Genes
) -> Float[np.ndarray, "..."]:
    """Correlation over genes of the foretold change with the one that came, signed, from -1 to 1.

    Args: means of expression of the prediction and of the truth, [..., g], in one kind (log1p or counts); means of the
    real control cells that each of the two is compared with. Give two samples of control cells that share none: with
    shared ones the value is inflated, and is a figure about the controls.
    """
    return pearson(change(predicted, predicted_control), change(truth, true_control))


def change(a: Genes, b: Float[np.ndarray, "..."]) -> Genes:
    """The difference a - b, where what is less than a millionth of the largest value is rounding, and so nothing."""
    apart = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    largest = np.maximum(np.abs(a).max(-1, keepdims=True), np.abs(b).max(-1, keepdims=True))
    return np.where(np.abs(apart) > 1e-6 * largest, apart, 0.0)


def halves(labels: Int[np.ndarray, " n"], draw: np.random.Generator) -> Bool[np.ndarray, " n"]:
    """A random half of the cells of every label (the smaller half where their number is odd)."""
    _, group, count = np.unique(labels, return_inverse=True, return_counts=True)
    return dealt(labels, draw) < (count // 2)[group]


def means_by(cells: Float[np.ndarray, "n g"], groups: Int[np.ndarray, "r n"], count: int) -> Float[np.ndarray, "r k g"]:
    """The mean cell of every group 0 ... `count` - 1 under each of r groupings; NaN of a group without cells."""
    hot = (groups[:, None, :] == np.arange(count)[None, :, None]).astype(cells.dtype)
    size = hot.sum(-1, keepdims=True)
    sums = (hot.reshape(-1, cells.shape[0]) @ cells).reshape(*hot.shape[:2], cells.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        return sums / size


def split_half(
    cells: Float[np.ndarray, "n g"],
    labels: Int[np.ndarray, " n"],
    *,
    control: int = 0,
    splits: int = 100,
    seed: int = 0,
    centred: bool = True,
) -> Float[np.ndarray, "s c"]:
    """What half of the cells of a condition, with half of the control cells, say of the other halves: a ceiling.

    Args: `cells` of one context (log1p or counts) and their `labels`; `control`, the label of control cells; `splits`,
    how often both are halved at random; `centred`: correlation, else cosine. Returns: the agreement of both deltas by
    split and condition (labels in rising order, without the control). It is that of an experiment of half the size:
    who pools more cells than that may do better.
    Raises: ValueError for a label with fewer than two cells, or without control cells.
    """
    names, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if control not in names or sizes.min() < 2 or len(names) < 2:
        raise ValueError(
            f"found labels {dict(zip(names.tolist(), sizes.tolist(), strict=True))}, expected at least "
            f"two cells of each, of the control ({control}) and of some condition"
        )
    draw = np.random.default_rng(seed)
    groups = np.stack([2 * codes + halves(codes, draw) for _ in range(splits)])
    means = means_by(cells, groups, 2 * len(names)).reshape(splits, len(names), 2, -1)
    place = int(np.flatnonzero(names == control)[0])
    deltas = np.delete(means, place, 1) - means[:, place : place + 1]
    return (pearson if centred else cosine)(deltas[:, :, 0], deltas[:, :, 1])
