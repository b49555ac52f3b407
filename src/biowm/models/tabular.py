"""Finite decision processes learned from logs: by count, shrunk to the state's mean, or to "this action does nothing".

What shrinks how far is found by the evidence (marginal likelihood) of the counts themselves: no constant is tuned on
what a plan turned out to be worth. Dirichlet evidence as in Minka 2000, "Estimating a Dirichlet distribution".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import sparse
from scipy.special import expit, gammaln

from biowm.core.tabular import Log, Mdp

STRENGTHS = tuple(float(2**k) for k in range(11))  # candidate weights of a prior, in visits
_BINS = (2, 5, 10, 20, 50, 100, 300, 1000)  # visits of a choice: the share that does something differs between bins
_EM_STEPS = 100
_SURE = 1e-6  # a share is never surer than this


@dataclass(frozen=True)
class Counts:
    """How often each choice that was ever made led where, and how often episodes began in each state."""

    state: Int[np.ndarray, " r"]
    action: Int[np.ndarray, " r"]
    after: Float[np.ndarray, "r n"]
    first: Float[np.ndarray, " n"]
    live: int
    actions: int

    @property
    def visits(self) -> Float[np.ndarray, " r"]:
        """How often each choice was made."""
        return self.after.sum(1)

    @property
    def by_state(self) -> Float[np.ndarray, "live n"]:
        """How often each live state was followed by each state, whatever was done."""
        choice = np.arange(len(self.state))
        member = sparse.csr_array((np.ones(len(choice)), (self.state, choice)), shape=(self.live, len(choice)))
        return member @ self.after


def count(log: Log, states: int, live: int, actions: int) -> Counts:
    """The counts of a log in a process of `states` states, the first `live` of which do not end an episode."""
    choice, row = np.unique(log.state * actions + log.action, return_inverse=True)
    after = np.bincount(row * states + log.after, minlength=len(choice) * states).reshape(len(choice), states)
    first = np.bincount(log.first, minlength=states)
    return Counts(choice // actions, choice % actions, after.astype(float), first.astype(float), live, actions)


def behaviour(counts: Counts) -> Float[np.ndarray, "live a"]:
    """How often each action was taken in each state; all alike in a state that nobody was in."""
    made = np.zeros((counts.live, counts.actions))
    made[counts.state, counts.action] = counts.visits
    total = made.sum(1, keepdims=True)
    return np.where(total > 0, made / np.maximum(total, 1), 1 / counts.actions)


def likeliest(counts: Counts, reward: Float[np.ndarray, " n"]) -> Mdp:
    """The process under which the log is likeliest: relative frequencies as they are."""
    return _process(counts, np.ones(len(counts.state)), pooled(counts), reward)


def dirichlet(counts: Counts, reward: Float[np.ndarray, " n"], strength: float) -> Mdp:
    """Frequencies shrunk to the mean of their state, which weighs as much as `strength` visits."""
    return _process(counts, counts.visits / (counts.visits + strength), pooled(counts), reward)


def shrunk(counts: Counts, reward: Float[np.ndarray, " n"]) -> Mdp:
    """Frequencies shrunk to the mean of their state as far as it is likely that the action does nothing.

    A choice either leads where its state leads anyway, or does something: then its row is drawn about the mean, as
    loosely as the evidence says. Its own visits have no part in the mean it is tested against: a choice that makes most
    of the mean would always seem to do nothing.
    """
    n = counts.visits
    tried = [(_mixed(odds, n), k) for odds, k in zip(_odds(counts, STRENGTHS), STRENGTHS, strict=True)]
    (_, doing), strength = max(tried, key=lambda item: item[0][0])
    return _process(counts, doing * n / (n + strength), pooled(counts), reward)


def pooled(counts: Counts) -> Float[np.ndarray, "live n"]:
    """Where each state leads, whatever is done: its frequencies, and everything that happened anywhere as one visit."""
    seen = counts.by_state
    return (seen + _everywhere(counts)) / (seen.sum(1, keepdims=True) + 1)


def _everywhere(counts: Counts) -> Float[np.ndarray, " n"]:
    total = counts.after.sum(0)
    return total / total.sum()


def _process(
    counts: Counts, weight: Float[np.ndarray, " r"], mean: Float[np.ndarray, "live n"], reward: Float[np.ndarray, " n"]
) -> Mdp:
    """Rows between the mean of their state (`weight` 0) and their own frequencies (1)."""
    own = counts.after / counts.visits[:, None]
    rows = mean[counts.state]
    rows += weight[:, None] * (own - rows)
    start = counts.first / counts.first.sum()
    return Mdp(counts.state, counts.action, rows, mean, start, reward, counts.actions)


def _odds(counts: Counts, strengths: Sequence[float]) -> Float[np.ndarray, "k r"]:
    """Log odds, by the visits of each choice, that it does something rather than lead where the others lead.

    One row for each candidate strength of what a choice that does something is drawn about.
    """
    row, column = np.nonzero(counts.after)
    c, n, s = counts.after[row, column], counts.visits, counts.state
    seen, everywhere = counts.by_state, _everywhere(counts)
    others = seen.sum(1)[s] - n + 1
    mean = (seen[s[row], column] - c + everywhere[column]) / others[row]
    nothing = np.bincount(row, c * np.log(mean), len(n))
    found = []
    for strength in strengths:
        loose = strength * others / (strength + others)  # the mean of few visits is itself loosely known
        prior = loose[row] * mean
        does = np.bincount(row, gammaln(prior + c) - gammaln(prior), len(n)) + gammaln(loose) - gammaln(loose + n)
        found.append(does - nothing)
    return np.stack(found)


def _mixed(odds: Float[np.ndarray, " r"], visits: Float[np.ndarray, " r"]) -> tuple[float, Float[np.ndarray, " r"]]:
    """Evidence of a mixture whose share is found by bin of visits, and how likely each choice does something."""
    place, doing, evidence = np.digitize(visits, _BINS), np.zeros(len(odds)), 0.0
    for bin_ in np.unique(place):
        here = place == bin_
        share = 0.5
        for _ in range(_EM_STEPS):
            doing[here] = expit(odds[here] + np.log(share / (1 - share)))
            share = np.clip(doing[here].mean(), _SURE, 1 - _SURE)
        evidence += np.logaddexp(np.log(share) + odds[here], np.log1p(-share)).sum()
    return float(evidence), doing
