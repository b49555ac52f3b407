"""Rows dealt at random within their group: halves, quarters, and what is kept apart."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def dealt(labels: Int[np.ndarray, " n"], draw: np.random.Generator) -> Int[np.ndarray, " n"]:
    """The place of every row in a random order of those with its label: 0, 1, ... within each."""
    shuffled = draw.permutation(len(labels))
    order = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, first, count = np.unique(labels[order], return_index=True, return_counts=True)
    place = np.empty(len(labels), int)
    place[order] = np.arange(len(labels)) - np.repeat(first, count)
    return place
