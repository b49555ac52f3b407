"""The race: variants and simple rules by multi-step CRPS on held-out training subjects, and the blend they earn.

The CRPS of a linear pool is a quadratic in its weights, w'a - w'C w / 2 with a_m = E|X_m - y| and
C_mk = E|X_m - X_k|, so the best weights are found exactly (doi:10.1198/016214506000001437, section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.optimize import minimize
from scipy.stats import t

_LEAST_WEIGHT = 0.05


@dataclass(frozen=True)
class RaceRow:
    """One entrant: multi-step CRPS in standardised link units with its interval by unit, and its weight."""

    name: str
    is_rule: bool
    crps: float
    low: float
    high: float
    weight: float


@dataclass(frozen=True)
class Race:
    """The ranking, best first; what the rules weigh together; the best of them; what the blend itself scores."""

    rows: tuple[RaceRow, ...]
    rules_weight: float
    best_rule: str
    blend_crps: float
    rules_free: tuple[tuple[str, float], ...]

    def weights(self) -> dict[str, float]:
        """Weights of the members of the blend."""
        return {r.name: r.weight for r in self.rows if r.weight > 0}


@dataclass(frozen=True)
class Sheet:
    """Distances by unit: `to_truth` E|X_m - y| and `apart` E|X_m - X_k|, averaged over what was asked.

    A unit is what is split as a whole: a subject, or the group that it belongs to.
    """

    names: tuple[str, ...]
    is_rule: tuple[bool, ...]
    to_truth: Float[np.ndarray, "u m"]
    apart: Float[np.ndarray, "u m m"]

    def alone(self) -> Float[np.ndarray, "u m"]:
        """The CRPS of each entrant by itself."""
        return self.to_truth - 0.5 * np.einsum("umm->um", self.apart)


@jax.jit
def _distances(draws: Float[Array, "m r n"], truth: Float[Array, " r"]) -> tuple[Array, Array]:
    """Per row r: mean |X_m - y| and mean |X_m - X_k| (for m = k over distinct draws)."""
    n = draws.shape[-1]
    to_truth = jnp.mean(jnp.abs(draws - truth[None, :, None]), axis=-1)

    def pair(a: Array, b: Array) -> Array:
        return jnp.mean(jnp.abs(a[:, :, None] - b[:, None, :]), axis=(1, 2))

    apart = jax.lax.map(lambda a: jax.lax.map(lambda b: pair(a, b), draws), draws)
    own = jnp.eye(draws.shape[0])[:, :, None]
    return to_truth, apart * (1 + own / (n - 1))


def score_sheet(
    names: tuple[str, ...],
    is_rule: tuple[bool, ...],
    draws: list[Float[np.ndarray, "q n h d"]],
    truth: Float[np.ndarray, "q h d"],
    horizon: Int[np.ndarray, "q h"],
    subject: Int[np.ndarray, " q"],
    unit: Int[np.ndarray, " q"] | None = None,
    chunk: int = 512,
    stands: Float[np.ndarray, "q h"] | None = None,
) -> Sheet:
    """Distances of all entrants on the same questions (standardised link units).

    Readings are averaged within each (subject, horizon, channel), these within each subject, and subjects within the
    `unit` of their questions (default: each is its own). Where subjects were lost, `stands` says of how many questions
    each answer is: then readings are averaged within each horizon and channel, so weighted, and these within the sheet.
    """
    unit = subject if unit is None else unit
    q, h, d = np.nonzero(np.isfinite(truth) & (horizon >= 0)[:, :, None])
    flat_truth = truth[q, h, d]
    m = len(draws)
    to_truth, apart = np.empty((m, len(q))), np.empty((m, m, len(q)))
    for start in range(0, len(q), chunk):
        rows = np.arange(start, min(start + chunk, len(q)))
        pad = np.concatenate([rows, np.repeat(rows[-1:], chunk - len(rows))])
        part = np.stack([x[q[pad], :, h[pad], d[pad]] for x in draws])
        a, c = _distances(jnp.asarray(part), jnp.asarray(flat_truth[pad]))
        to_truth[:, rows], apart[:, :, rows] = np.asarray(a)[:, : len(rows)], np.asarray(c)[..., : len(rows)]
    cell = np.stack([subject[q], horizon[q, h], d], axis=1)
    cells, index, count = np.unique(cell, axis=0, return_inverse=True, return_counts=True)
    who = np.unique(cells[:, 0], return_inverse=True)[1]
    first = np.unique(subject[q], return_index=True)[1]  # a question of each of these subjects
    _, row, size = np.unique(unit[q][first], return_inverse=True, return_counts=True)
    share = 1.0 / count[index] / np.bincount(who)[who[index]] / size[row[who[index]]]
    if stands is not None:
        kind = np.unique(cells[:, 1:], axis=0, return_inverse=True)[1].ravel()[index]
        weight = stands[q, h] / count[index] / size[row[who[index]]]
        share = weight / np.bincount(kind, weight)[kind] * len(size) / (kind.max() + 1)
    a_u, c_u = np.zeros((len(size), m)), np.zeros((len(size), m, m))
    np.add.at(a_u, row[who[index]], (to_truth * share).T)
    np.add.at(c_u, row[who[index]], np.moveaxis(apart * share, -1, 0))
    return Sheet(names, is_rule, a_u, c_u)


def weigh(sheet: Sheet, entrants: Sequence[int] | None = None) -> Float[np.ndarray, " m"]:
    """Weights of the best blend of some entrants (default: all); the others get 0, and so does who drew no number.

    A member that by itself is clearly worse than the best one stays only if the blend is clearly better with it: else
    a few odd subjects, whom hardly anybody foresees, would buy weight for whoever says that anything may happen.
    Clearly: the 95 % interval of the difference, paired by unit.
    """
    sound = np.isfinite(sheet.to_truth.mean(0))
    chosen = [i for i in (range(len(sheet.names)) if entrants is None else entrants) if sound[i]]
    if not chosen:
        return np.zeros(len(sheet.names))
    to_truth, apart = sheet.to_truth[:, chosen], sheet.apart[:, chosen][:, :, chosen]

    def losses(w: Float[np.ndarray, " m"]) -> Float[np.ndarray, " u"]:
        return to_truth @ w - 0.5 * np.einsum("m,umk,k->u", w, apart, w)

    def best_of(live: list[int]) -> Float[np.ndarray, " m"]:
        w = np.zeros(len(chosen))
        w[live] = pool(to_truth.mean(0)[live], apart.mean(0)[np.ix_(live, live)])
        return w

    alone = sheet.alone()[:, chosen]
    best = alone[:, alone.mean(0).argmin()]
    poor = {i for i in range(len(chosen)) if _clearly(alone[:, i] - best)}
    live = list(range(len(chosen)))
    while True:
        w = best_of(live)
        costs = {}
        for i in poor & set(np.flatnonzero(w).tolist()):
            cost = losses(best_of([k for k in live if k != i])) - losses(w)
            if not _clearly(cost):
                costs[i] = cost.mean()
        if not costs:
            out = np.zeros(len(sheet.names))
            out[chosen] = w
            return out
        live.remove(min(costs, key=lambda i: costs[i]))


def _clearly(excess: Float[np.ndarray, " u"]) -> bool:
    """Whether the 95 % interval of the mean lies above 0."""
    n = len(excess)
    return n > 1 and bool(excess.mean() > t.ppf(0.975, n - 1) * excess.std(ddof=1) / np.sqrt(n))


def pool(a: Float[np.ndarray, " m"], C: Float[np.ndarray, "m m"]) -> Float[np.ndarray, " m"]:
    """Weights that minimise w'a - w'C w / 2 on the simplex; members below 5 % are dropped and the rest refitted."""
    live = np.arange(len(a))
    while True:
        w = _simplex(a[live], C[np.ix_(live, live)])
        keep = w >= _LEAST_WEIGHT
        if keep.all():
            out = np.zeros(len(a))
            out[live] = w / w.sum()
            return out
        live = live[keep]


def _simplex(a: np.ndarray, C: np.ndarray) -> np.ndarray:
    m = len(a)
    start = np.zeros(m)
    start[int(np.argmin(a - 0.5 * np.diag(C)))] = 1.0
    scale = max(float(np.abs(a).max()), 1e-9)
    best = None
    for w0 in (start, np.full(m, 1.0 / m)):
        got = minimize(
            lambda w: (w @ a - 0.5 * w @ C @ w) / scale,
            w0,
            jac=lambda w: (a - C @ w) / scale,
            bounds=[(0.0, 1.0)] * m,
            constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: np.ones_like(w)},
            method="SLSQP",
            options={"maxiter": 200, "ftol": 1e-10},
        )
        if best is None or got.fun < best.fun:
            best = got
    w = np.clip(best.x, 0.0, None)
    return w / w.sum()


def run_race(sheet: Sheet) -> Race:
    """Rank the entrants and find the blend, with and without the simple rules."""
    a, C = sheet.to_truth.mean(0), sheet.apart.mean(0)
    own = sheet.alone()
    free = np.flatnonzero(~np.array(sheet.is_rule))
    w, w_free = weigh(sheet), weigh(sheet, free.tolist())
    live = np.flatnonzero(w)
    error = 1.96 * own.std(0, ddof=1) / np.sqrt(len(own)) if len(own) > 1 else np.full(own.shape[1], np.inf)
    mean = own.mean(0)
    rows = [
        RaceRow(n, r, float(mean[i]), float(mean[i] - error[i]), float(mean[i] + error[i]), float(w[i]))
        for i, (n, r) in enumerate(zip(sheet.names, sheet.is_rule, strict=True))
    ]
    ranked = tuple(sorted(rows, key=lambda row: (not np.isfinite(row.crps), row.crps)))
    return Race(
        rows=ranked,
        rules_weight=float(sum(r.weight for r in ranked if r.is_rule)),
        best_rule=next(r.name for r in ranked if r.is_rule),
        blend_crps=float(w[live] @ a[live] - 0.5 * w[live] @ C[np.ix_(live, live)] @ w[live]),
        rules_free=tuple((sheet.names[i], float(v)) for i, v in enumerate(w_free) if v > 0),
    )
