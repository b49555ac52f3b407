"""Exact dynamic programming in a finite decision process: what a policy is worth, and the best policy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy import sparse

from biowm.core.tabular import Mdp

_COST = 1e-5  # of a step: undiscounted, a policy that never ends would otherwise lose nothing
_GOES_ON = 1 - 1e-9  # discount: without any, a state that is never left would make the system singular
_TIE = 1e-10  # a choice is left only for one that is better by more


def values(mdp: Mdp, policy: Float[np.ndarray, "live a"], cost: float = 0.0) -> Float[np.ndarray, " n"]:
    """The expected sum of rewards to come from each state (0 where the episode has ended), by one linear solve.

    Args: `policy` gives the probability of each action in each live state; every step costs `cost`. An episode that
    never ends earns nothing.
    """
    moves = _moves(mdp, policy)
    found = np.linalg.solve(np.eye(mdp.live) - _GOES_ON * moves[:, : mdp.live], moves @ mdp.reward - cost)
    return np.concatenate([found, np.zeros(len(mdp.start) - mdp.live)])


def worth(mdp: Mdp, policy: Float[np.ndarray, "live a"]) -> float:
    """The expected sum of rewards of an episode under `policy`."""
    return float(mdp.start @ values(mdp, policy))


def returns(mdp: Mdp, value: Float[np.ndarray, " n"]) -> Float[np.ndarray, " r"]:
    """The expected sum of rewards of each choice where states are worth `value` afterwards."""
    return mdp.rows @ (mdp.reward + value)


def best(
    mdp: Mdp,
    free: Bool[np.ndarray, " r"] | None = None,
    fixed: Float[np.ndarray, "live a"] | None = None,
) -> Float[np.ndarray, "live a"]:
    """The best policy, by policy iteration.

    Args: `free` marks the choices that may be made (default: all that are listed). `fixed` are probabilities that
    stay: only what they leave of 1 goes to the best free choice of its state (default: none where a choice is free, and
    all actions alike elsewhere).
    Returns: the probability of each action in each live state.
    """
    free = np.ones(len(mdp.state), bool) if free is None else free
    able = np.bincount(mdp.state[free], minlength=mdp.live)
    if fixed is None:
        fixed = np.where(able[:, None] > 0, 0.0, np.full((1, mdp.actions), 1 / mdp.actions))
    left = 1 - fixed.sum(1)
    policy = fixed.copy()
    np.add.at(policy, (mdp.state[free], mdp.action[free]), (left / np.maximum(able, 1))[mdp.state[free]])
    chosen = np.full(mdp.live, -1)
    while True:
        gain = np.where(free, returns(mdp, values(mdp, policy, _COST)), -np.inf)
        found = top(mdp, gain)
        stays = (chosen >= 0) & (gain[chosen] >= gain[found] - _TIE)
        found = np.where(stays, chosen, found)
        if np.array_equal(found, chosen):
            return policy
        chosen, policy, moves = found, fixed.copy(), found >= 0
        policy[mdp.state[found[moves]], mdp.action[found[moves]]] += left[moves]


def top(mdp: Mdp, gain: Float[np.ndarray, " r"]) -> Int[np.ndarray, " live"]:
    """The choice of most `gain` in each live state, -1 where none has a finite one."""
    order = np.lexsort((gain, mdp.state))
    order = order[np.isfinite(gain[order])]
    last = np.flatnonzero(np.diff(mdp.state[order], append=-1))
    found = np.full(mdp.live, -1)
    found[mdp.state[order[last]]] = order[last]
    return found


def _moves(mdp: Mdp, policy: Float[np.ndarray, "live a"]) -> Float[np.ndarray, "live n"]:
    """Where a policy leads from each live state."""
    share = policy[mdp.state, mdp.action]
    made = np.flatnonzero(share)
    mix = sparse.csr_array((share[made], (mdp.state[made], np.arange(len(made)))), shape=(mdp.live, len(made)))
    left = policy.sum(1) - mix.sum(1)
    return mix @ mdp.rows[made] + left[:, None] * mdp.other
