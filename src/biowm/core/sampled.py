"""Fewer questions, evenly spread over the subjects and their origins, where a gate cannot afford them all."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int


def evenly(n: int, most: int) -> Int[np.ndarray, " r"]:
    """At most `most` of the numbers below `n`, evenly spread from the first to the last."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
