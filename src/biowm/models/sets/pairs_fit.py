"""The Gaussian process over pairs: weights of its terms by marginal likelihood, exact mean and variance of every pair.

Float64 throughout. The likelihood is that of some of the training rows (dense); the posterior is that of all of
them, in the space of the features: one factorisation, however many pairs were read.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import linalg, optimize, sparse

from .pairs_rank import complete
from .pairs_terms import Members, kernel, rows, terms, trend

_MOST, _STEPS, _WIDE = 800, 60, 10.0  # rows of the likelihood, its steps, prior variance of the trend's coefficients
_START, _NOISE, _LEAST = 0.02, 0.05, 1e-7


@dataclass(frozen=True)
class Weights:
    """Prior variances: of each term's features, of what two targets do together (`own`), and of a reading's `noise`."""

    term: Float[np.ndarray, " c"]
    own: float
    noise: float


@dataclass(frozen=True)
class Posterior:
    """Mean and variance of the response to pairs, noise left out."""

    mean: Float[np.ndarray, " p"]
    variance: Float[np.ndarray, " p"]


def learn_weights(
    members: Members, pairs: Int[np.ndarray, "p 2"], y: Float[np.ndarray, " p"], *, seed: int = 0
) -> Weights:
    """Weights of largest marginal likelihood of at most 800 rows, in whole pairs of targets (y: standardised)."""
    duo = _duo(members, pairs)
    some = _some(duo, seed)
    pairs, duo, y = pairs[some], duo[some], y[some]
    grams = [kernel(t, pairs, pairs) for t in terms(members)]
    grams = np.stack([*grams, (duo[:, None] == duo[None, :]).astype(float), np.eye(len(y))])
    # Each gram on its own scale, so that one start serves all.
    scale = np.array([np.mean(np.diag(g)) for g in grams])
    grams /= scale[:, None, None]
    mean = trend(members, pairs)
    fixed = _WIDE * (mean @ mean.T)

    def loss(log: np.ndarray) -> tuple[float, np.ndarray]:
        v = np.exp(log)
        whole = np.tensordot(v, grams, 1) + fixed
        chol = linalg.cho_factor(whole, lower=True)
        inverse = linalg.cho_solve(chol, np.eye(len(y)))
        alpha = inverse @ y
        value = 0.5 * y @ alpha + np.log(np.diag(chol[0])).sum()
        slope = 0.5 * v * np.tensordot(grams, inverse - np.outer(alpha, alpha), 2)
        return value, slope

    start = np.log([*np.full(len(grams) - 1, _START), _NOISE])
    bounds = [(np.log(_LEAST), np.log(10.0))] * (len(grams) - 1) + [(np.log(1e-4), np.log(10.0))]
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": _STEPS})
    v = np.exp(found.x) / scale
    return Weights(v[:-2], float(v[-2]), float(v[-1]))


def posterior(
    members: Members, weights: Weights, pairs: Int[np.ndarray, "p 2"], y: Float[np.ndarray, " p"],
    asked: Int[np.ndarray, "q 2"],
) -> Posterior:  # fmt: skip
    """Mean and variance of the response to the pairs `asked`, given readings y of `pairs`, which may be read again.

    What two targets do together beyond the terms is theirs alone: it is integrated out of the training rows, and
    adds its variance (less what was read of it) to the answer.
    """
    phi, prior = _design(members, weights, pairs)
    duo = _duo(members, pairs)
    _, place = np.unique(duo, return_inverse=True)
    hot = sparse.csr_array((np.ones(len(y)), (np.arange(len(y)), place)))
    count = np.asarray(hot.sum(0))
    share = weights.own / (weights.noise + weights.own * count)  # Woodbury, pair of targets by pair of targets
    sums, total = hot.T @ phi, hot.T @ y
    gram = (phi.T @ phi - sums.T @ (sums.multiply(share[:, None]))).toarray() / weights.noise
    cross = (phi.T @ y - sums.T @ (share * total)) / weights.noise
    chol = linalg.cho_factor(gram + np.diag(1.0 / prior), lower=True)
    cov = linalg.cho_solve(chol, np.eye(len(prior)))
    mean = cov @ cross
    # The answer is linear in the coefficients, with the own departure of a duo that was read folded in.
    new, _ = _design(members, weights, asked)
    known, at = np.unique(duo, return_inverse=True)[0], _duo(members, asked)
    where = np.minimum(np.searchsorted(known, at), len(known) - 1)
    read = (known[where] == at).astype(float)
    part = sparse.csr_array(new - sums[where].multiply((read * share[where])[:, None]))
    own = weights.own * (1 - read * share[where] * count[where])
    value = part @ mean + read * share[where] * total[where]
    return Posterior(value, np.asarray(part.multiply(part @ cov).sum(1)).ravel() + own)


def low_rank(
    members: Members, weights: Weights, pairs: Int[np.ndarray, "p 2"], miss: Float[np.ndarray, " p"], *, seed: int = 0
) -> Float[np.ndarray, "n n"]:
    """What members have in common beyond the terms, from what the posterior's mean missed of its training rows.

    What two targets do together was taken for theirs alone; it is given back here, and strength is judged by whole
    pairs of targets left out.
    """
    place = np.unique(_duo(members, pairs), return_inverse=True)[1]
    own = np.bincount(place, miss) * weights.own / weights.noise
    n = len(members.single)
    every = np.argwhere(np.ones((n, n), bool))
    total, times = np.zeros((n, n)), np.zeros((n, n))
    np.add.at(total, tuple(pairs.T), miss + own[place])
    np.add.at(times, tuple(pairs.T), 1.0)
    total, times = total + total.T, times + times.T
    seen = total / np.maximum(times, 1)
    return complete(seen, times > 0, _duo(members, every).reshape(n, n), seed=seed)


def _design(
    members: Members, weights: Weights, pairs: Int[np.ndarray, "p 2"]
) -> tuple[sparse.csr_array, Float[np.ndarray, " f"]]:
    """Features of pairs, the trend's first, and their prior variances."""
    found = terms(members)
    mean = trend(members, pairs)
    prior = np.repeat(weights.term, [t.width for t in found])
    phi = sparse.csr_array(sparse.hstack([sparse.csr_array(mean), rows(found, pairs)], format="csr"))
    return phi, np.concatenate([np.full(mean.shape[1], _WIDE), prior])


def _duo(members: Members, pairs: Int[np.ndarray, "p 2"]) -> Int[np.ndarray, " p"]:
    """One number for every pair of targets."""
    both = np.sort(members.target[pairs], axis=1)
    return both[:, 0] * (int(members.target.max()) + 1) + both[:, 1]


def _some(duo: Int[np.ndarray, " p"], seed: int) -> Int[np.ndarray, " s"]:
    """Rows of whole pairs of targets, at most so many, at random."""
    order = np.random.default_rng(seed).permutation(np.unique(duo))
    rank = np.empty(duo.max() + 1, int)
    rank[order] = np.arange(len(order))
    return np.sort(np.argsort(rank[duo], kind="stable")[:_MOST])
