"""How many questions each answered one stands for, where subjects were lost: without it only survivors are scored.

Who is lost (event CENSORED) leaves no reading to be scored at the long leads, and those who stay are not like them:
small organoids are lost, or the largest leave the picture. The chance to be read on is learned from what was read and
given before, and an answered question counts by the inverse of the chance that it could be answered (inverse
probability of censoring weights, doi:10.1111/j.0006-341X.2000.00779.x). What nothing that was read before tells of (a
loss without any sign) cannot be put right.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.path import CENSORED, Path

MOST = 10.0  # questions that one may stand for: larger weights say little but noise (doi:10.1093/aje/kwn164)
_LEAST = 10  # losses from which on they are told apart by what was read


def staying(paths: Path, seen: Bool[np.ndarray, "b t"], targets: tuple[int, ...]) -> Float[np.ndarray, "b t"] | None:
    """The chance to be followed from the start up to each time; None where nobody was lost.

    `paths` are stacked; `seen` says where one of the channels `targets` was read. At each reading the hazard to be lost
    right after it is a logistic function of the ranks of its readings, their change, the time and the doses in force.
    """
    lost = (np.asarray(paths.event) == CENSORED) & seen.any(1)
    if not lost.any():
        return None
    b, t = seen.shape
    last = t - 1 - np.argmax(seen[:, ::-1], axis=1)
    at_last = np.arange(t)[None, :] == last[:, None]
    gone = at_last & lost[:, None] & seen
    at_risk = seen & (~at_last | lost[:, None])
    told = _features(paths, seen, targets)
    hazard = np.full((b, t), gone.sum() / at_risk.sum())
    if gone.sum() >= _LEAST:
        from sklearn.linear_model import LogisticRegression

        model = LogisticRegression(C=1.0, max_iter=1000).fit(told[at_risk], gone[at_risk])
        hazard[seen] = model.predict_proba(told[seen])[:, 1]
    goes_on = np.cumprod(np.where(seen, 1 - hazard, 1.0), axis=1)
    return np.concatenate([np.ones((b, 1)), goes_on[:, :-1]], axis=1)


def stand_for(
    stays: Float[np.ndarray, "b t"], subject: int, origin: int, later: Int[np.ndarray, " h"]
) -> Float[np.ndarray, " h"]:
    """How many of those asked at `origin` an answer at each of the readings `later` stands for."""
    chance = stays[subject, later] / stays[subject, origin]
    return np.minimum(1 / np.maximum(chance, 1 / MOST), MOST)


def _features(paths: Path, seen: Bool[np.ndarray, "b t"], targets: tuple[int, ...]) -> Float[np.ndarray, "b t f"]:
    """What may tell of a loss, each standardised over the readings."""
    t, x = np.asarray(paths.t, float), np.asarray(paths.x, float)
    columns = [t - t[:, :1]]
    for j in targets:
        rank = _carried(_ranks(x[..., j]), seen)
        change = np.diff(rank, axis=1, prepend=rank[:, :1])
        columns += [rank, (rank - 0.5) ** 2, change]
    plan = paths.plan
    card, dose = np.asarray(plan.card), np.asarray(plan.dose, float)
    on, off = np.asarray(plan.onset, float), np.asarray(plan.stop, float)
    now = t[..., None]
    begun = on[:, None, :] <= now
    given = begun & ((now < off[:, None, :]) | (off == on)[:, None, :])  # a rate while it is held, a bolus for good
    for action in np.unique(card[card >= 0]):
        mine = given & (card == action)[:, None, :]
        columns.append(np.log1p(np.abs((mine * dose[:, None, :]).sum(-1))))
    told = np.stack(columns, axis=-1)
    middle, spread = told[seen].mean(0), told[seen].std(0)
    return (told - middle) / np.where(spread > 0, spread, 1.0)


def _ranks(x: Float[np.ndarray, "b t"]) -> Float[np.ndarray, "b t"]:
    """The share of all readings below each (NaN where not read): the same in every link."""
    known = np.isfinite(x)
    rank = np.full(x.shape, np.nan)
    rank[known] = (np.searchsorted(np.sort(x[known]), x[known]) + 0.5) / max(known.sum(), 1)
    return rank


def _carried(rank: Float[np.ndarray, "b t"], seen: Bool[np.ndarray, "b t"]) -> Float[np.ndarray, "b t"]:
    """The last known rank at each time, one half before the first."""
    known = np.isfinite(rank) & seen
    at = np.maximum.accumulate(np.where(known, np.arange(rank.shape[1]), -1), axis=1)
    filled = np.take_along_axis(rank, np.maximum(at, 0), axis=1)
    return np.where(at >= 0, filled, 0.5)
