"""Bucketed sizes, so that a compiled function serves many shapes."""

from __future__ import annotations

from typing import TypeVar

import jax
import numpy as np

Rows = TypeVar("Rows")


def bucket(n: int, least: int = 8) -> int:
    """The smallest size >= n from `least` on, each 3/2 or 4/3 of the one before: at most a third is padding."""
    size = least
    while size < n:
        size = size * 3 // 2 if (size & (size - 1)) == 0 else size * 4 // 3
    return size


def filled(rows: Rows, least: int = 8) -> Rows:
    """Arrays of n rows each, filled up to the bucket of n with their last row."""
    n = len(jax.tree.leaves(rows)[0])
    place = np.minimum(np.arange(bucket(n, least)), n - 1)
    return jax.tree.map(lambda a: np.asarray(a)[place], rows)
