"""What tasks on real tables share: worlds fitted fold by fold, and what their members say as scored forecasts."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.train.calibrate import Calibration, band
from biowm.train.contest import Progress, portion, silent
from biowm.train.fitted import Fitted
from biowm.train.workers import side_by_side

from ..metrics import Forecast


def fit_folds(fit: Callable[[int, Progress], Fitted], n: int, tell: Progress) -> list[Fitted]:
    """The fits of n folds: the first by itself, which compiles what the others find compiled."""
    ended = itertools.count(2)
    first = fit(0, portion(tell, f"fold 1 of {n}", 0, n))
    others = [functools.partial(fit, i, silent) for i in range(1, n)]
    return [first, *side_by_side(others, lambda i: tell(f"fold {i + 2} of {n}", next(ended) / n))]


def member(fitted: Fitted, name: str) -> tuple[World, Calibration]:
    """The world of that name (`world`, `world:no-rules` or a simple rule) and how far it may be trusted."""
    if name == "world":
        return fitted.world, fitted.calibration
    world = fitted.rules_free if name == "world:no-rules" else fitted.members[name]
    return world, fitted.rules_calibration[name]


def as_forecast(
    spec: WorldSpec,
    trust: Calibration,
    draws: Float[np.ndarray, "q n h d"],
    leads: Float[np.ndarray, "q h"],
    scored: Callable[[np.ndarray], np.ndarray],
    channel: int = 0,
) -> Forecast:
    """Draws (channels' units) as a forecast of one channel, in the scale that `scored` maps it to (increasing)."""
    y = scored(draws[..., channel])
    edges = [band(trust, spec, draws, leads, kind)[1:] for kind in ("pointwise", "joint")]
    (low, high), (joint_low, joint_high) = ([scored(edge[..., channel]) for edge in pair] for pair in edges)
    return Forecast(y.mean(1), np.median(y, axis=1), y, low, high, joint_low, joint_high)
