"""Which pairs of genes to read next, and how many it takes: a balanced design against pairs at random."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.plan import balanced as design

from ._gi_rules import Map

BUDGETS = (300, 400, 500, 600, 700, 800)
MARKS = (0.940, 0.945)


def at_random(whole: Map, seed: int) -> Int[np.ndarray, " d"]:
    """The pairs of genes in random order, as `some` draws them."""
    return np.random.default_rng(seed).permutation(np.unique(whole.duo))


def balanced(whole: Map, seed: int) -> Int[np.ndarray, " d"]:
    """The first `BUDGETS[-1]` pairs of genes: each of the two that were read least so far, ties at random."""
    left, genes = at_random(whole, seed), len(whole.genes)
    pairs = np.stack([left // genes, left % genes], 1)
    return left[design.balanced(pairs, np.zeros(genes), BUDGETS[-1])]


def reached(
    whole: Map, order: Int[np.ndarray, " d"],
    answer: Callable[[Map, Bool[np.ndarray, " p"]], Float[np.ndarray, " p"]],
) -> dict[float, float]:  # fmt: skip
    """How many pairs of genes of `order` it takes to each mark: correlation with replicate 2 of all pairs not read.

    Linear between budgets; NaN where the mark is not reached, or was passed before the first budget.
    """
    found = []
    for budget in BUDGETS:
        train = np.isin(whole.duo, order[:budget])
        found.append(np.corrcoef(answer(whole, train)[~train], whole.second[~train])[0, 1])
        if found[-1] >= MARKS[-1]:
            break
    return {mark: crossing(np.array(BUDGETS[: len(found)], float), np.array(found), mark) for mark in MARKS}


def crossing(at: Float[np.ndarray, " k"], value: Float[np.ndarray, " k"], mark: float) -> float:
    """Where a curve first reaches the mark, linear between its points; NaN where it does not, or starts above it."""
    above = np.flatnonzero(value >= mark)
    if not len(above) or above[0] == 0:
        return float("nan")
    k = above[0]
    return float(np.interp(mark, value[k - 1 : k + 1], at[k - 1 : k + 1]))
