"""The balanced design: next what holds the members that were measured least so far."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def balanced(
    members: Int[np.ndarray, "n k"], times: Int[np.ndarray, " m"] | Float[np.ndarray, " m"], count: int
) -> Int[np.ndarray, " c"]:
    """The first `count` rows of a balanced design, as indices of `members`; of equals the first listed comes first.

    Args: the members of each set (padded with -1), and how often each member was measured before. Every pick counts as
    a measurement of its members; a set is as little measured as its members are on average.
    """
    there = members >= 0
    read = np.append(np.asarray(times, float), 0.0)  # the last stands for no member
    size, cost = np.maximum(there.sum(1), 1), np.zeros(len(members))
    order = np.empty(min(count, len(members)), int)
    for k in range(len(order)):
        order[k] = best = int(np.argmin(read[members].sum(1) / size + cost))
        cost[best] = np.inf
        np.add.at(read, members[best][there[best]], 1.0)
    return order
