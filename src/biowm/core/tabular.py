"""Finite decision processes: their transitions choice by choice, and logs of episodes in one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Mdp:
    """A finite decision process: choice r leads from `state[r]` by `action[r]` to a next state drawn from `rows[r]`.

    States are numbered 0 to n - 1. The first `live` of them are left, the others end an episode. A choice that is not
    listed leads from state s to one drawn from `other[s]`. `reward` is earned on arrival, undiscounted; an episode
    begins in a state drawn from `start`.
    """

    state: Int[np.ndarray, " r"]
    action: Int[np.ndarray, " r"]
    rows: Float[np.ndarray, "r n"]
    other: Float[np.ndarray, "live n"]
    start: Float[np.ndarray, " n"]
    reward: Float[np.ndarray, " n"]
    actions: int

    @property
    def live(self) -> int:
        """How many states do not end an episode."""
        return len(self.other)


@dataclass(frozen=True)
class Log:
    """Steps of whole episodes, in order within each: in `episode`, from `state` by `action` to `after`."""

    episode: Int[np.ndarray, " m"]
    state: Int[np.ndarray, " m"]
    action: Int[np.ndarray, " m"]
    after: Int[np.ndarray, " m"]
    first: Int[np.ndarray, " e"]  # the state in which each episode began
