"""The reference rules of `ias`: last value and autoregressions by least squares, free-running, with conformal bands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from biowm.core.scores import conformal_radius

from ..metrics import Forecast

LEADS = 12
_DRAWS = 200
_INNER = 5


@dataclass(frozen=True)
class Visits:
    """One patient's readings `y` at days `t`, and the mean of `on` over the interval to each next visit."""

    patient: str
    t: Float[np.ndarray, " v"]
    y: Float[np.ndarray, " v"]
    on: Float[np.ndarray, " w"]

    @property
    def origins(self) -> range:
        """Every visit with one before it and one after it."""
        return range(1, len(self.y) - 1)


Features = Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray], list[np.ndarray]]
"""From y, the y before, log dt, the mean of `on` over the interval ahead and over the one before."""


def ar(y: np.ndarray, before: np.ndarray, gap: np.ndarray, on: np.ndarray, was_on: np.ndarray) -> list[np.ndarray]:
    """[1, y, y', log dt]; y - y' is in their span."""
    return [np.ones_like(y), y, before, gap]


def ridge(y: np.ndarray, before: np.ndarray, gap: np.ndarray, on: np.ndarray, was_on: np.ndarray) -> list[np.ndarray]:
    """AR plus the treatment of the interval and its products with y, log dt and y - y'."""
    return [*ar(y, before, gap, on, was_on), on, on * y, on * gap, on * (y - before)]


def ridge_previous(
    y: np.ndarray, before: np.ndarray, gap: np.ndarray, on: np.ndarray, was_on: np.ndarray
) -> list[np.ndarray]:
    """The same with the treatment of the interval before it as well."""
    return [*ridge(y, before, gap, on, was_on), was_on, was_on * y, was_on * gap, was_on * (y - before)]


RULES: dict[str, Features | None] = {"persistence": None, "ar": ar, "ridge": ridge, "ridge-previous": ridge_previous}


def fit(features: Features, train: Sequence[Visits]) -> Float[np.ndarray, " f"]:
    """Least squares of the next visit on the features of this one (penalty 1e-6, for rank only)."""
    rows = [np.stack(features(v.y[1:-1], v.y[:-2], np.log(np.diff(v.t)[1:]), v.on[1:], v.on[:-1]), -1) for v in train]
    x, y = np.concatenate(rows), np.concatenate([v.y[2:] for v in train])
    return np.linalg.solve(x.T @ x + 1e-6 * np.eye(x.shape[1]), x.T @ y)


def run(features: Features | None, weights: np.ndarray | None, visits: Visits) -> Float[np.ndarray, "o h"]:
    """Free-running forecasts of the visits after each origin, given the treatment; NaN beyond the last visit."""
    origins = np.asarray(visits.origins)
    points = np.full((len(origins), LEADS), np.nan)
    now, before = visits.y[origins], visits.y[origins - 1]
    gap = np.log(np.diff(visits.t))
    for h in range(LEADS):
        alive = origins + h + 1 < len(visits.y)
        step = np.minimum(origins + h, len(gap) - 1)
        if features is not None:
            given = features(now, before, gap[step], visits.on[step], visits.on[step - 1])
            now, before = np.stack(given, -1) @ weights, now
        points[alive, h] = now[alive]
    return points


def truths(visits: Visits) -> Float[np.ndarray, "o h"]:
    """What was read at the visits after each origin; NaN beyond the last visit."""
    at = np.asarray(visits.origins)[:, None] + 1 + np.arange(LEADS)
    return np.where(at < len(visits.y), visits.y[np.minimum(at, len(visits.y) - 1)], np.nan)


def foretell(rule: str, train: Sequence[Visits], test: Sequence[Visits], splits: Sequence[int]) -> tuple[Forecast, ...]:
    """One forecast of the test patients a split (leads up to it), with bands from patients the rule did not see."""
    features = RULES[rule]
    weights = None if features is None else fit(features, train)
    points = np.concatenate([run(features, weights, v) for v in test])
    errors, units = _errors(features, train)
    rng = np.random.default_rng(0)
    seen = [errors[np.isfinite(errors[:, h]), h] for h in range(LEADS)]
    draws = points[:, None] + np.stack([rng.choice(e, (len(points), _DRAWS)) for e in seen], axis=-1)
    radius = np.array([_radius(np.abs(errors[:, h]), units) for h in range(LEADS)])
    forecasts = []
    for lead in splits:
        whole = np.isfinite(errors[:, lead - 1])
        scores = (np.abs(errors[:, :lead]) / radius[:lead]).max(axis=1)
        wide = radius[:lead] * _radius(np.where(whole, scores, np.nan), units)
        p, r = points[:, :lead], radius[:lead]
        forecasts.append(Forecast(p, p, draws[..., :lead], p - r, p + r, p - wide, p + wide))
    return tuple(forecasts)


def _errors(features: Features | None, train: Sequence[Visits]) -> tuple[Float[np.ndarray, "o h"], np.ndarray]:
    """Free-running errors on patients left out of the fit, and the patient of each row."""
    parts, units = [], []
    for k in range(_INNER):
        inside = [v for i, v in enumerate(train) if i % _INNER != k]
        weights = None if features is None else fit(features, inside)
        for v in train[k::_INNER]:
            parts.append(truths(v) - run(features, weights, v))
            units += [v.patient] * len(v.origins)
    return np.concatenate(parts), np.asarray(units)


def _radius(scores: Float[np.ndarray, " o"], units: np.ndarray) -> float:
    seen = np.isfinite(scores)
    return conformal_radius(scores[seen], units[seen])
