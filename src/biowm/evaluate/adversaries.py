"""Predictors that know nothing and try to score: a metric that ranks one of them above the mean is a bad metric.

They enter an exam like any model without transition. What they get away with is a fault of the exam, never a finding.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from biowm.core.endpoint import Endpoint
from biowm.core.path import Path
from biowm.core.queries import Queries
from biowm.core.schedule import Schedule
from biowm.core.spec import WorldSpec
from biowm.models.scale import Scale

Guess = Callable[[Float[np.ndarray, "q d"], np.random.Generator, tuple[int, ...]], Float[np.ndarray, "q n h d"]]
_WIDE = 20.0  # training SDs: a band that holds everything


class Adversary(Endpoint):
    """Draws made from the last reading alone, in standardised link space (0: the training mean, 1: one SD off)."""

    def __init__(self, spec: WorldSpec, spacing: float, scale: Scale, guess: Guess) -> None:
        self.spec, self.spacing, self.scale, self.guess = spec, spacing, scale, guess

    def answer(
        self, paths: Path, queries: Queries, plans: Schedule, *, seed: int, draws: int
    ) -> Float[np.ndarray, "q n h d"]:
        shape = (len(queries.subject), draws, queries.times.shape[1], len(self.spec.channels))
        z = self.scale.to_z(np.asarray(paths.x))[queries.subject]
        found = self.guess(_last(z, queries.origin), np.random.default_rng(seed), shape)
        return np.asarray(self.scale.to_x(np.broadcast_to(found, shape).astype(np.float32)))


def adversaries(spec: WorldSpec, spacing: float, scale: Scale) -> dict[str, Adversary]:
    """All of them by name; `mean` is the baseline that none of the others may outrank.

    copy-last is the rule persistence under another name: it may outrank the mean, and must not outrank persistence.
    `leak` says the last number it finds in what it is shown, as a model would that hopes to find the answer there.
    """

    def made(guess: Guess) -> Adversary:
        return Adversary(spec, spacing, scale, guess)

    return {
        "mean": made(lambda last, rng, shape: rng.normal(size=shape)),
        "constant": made(lambda last, rng, shape: np.full(shape, 1.0)),
        "confident mean": made(lambda last, rng, shape: np.zeros(shape)),
        "scaled": made(lambda last, rng, shape: 3.0 * last[:, None, None, :]),
        "sign flip": made(lambda last, rng, shape: -last[:, None, None, :]),
        "anything": made(lambda last, rng, shape: _WIDE * rng.normal(size=shape)),
        "copy-last": made(lambda last, rng, shape: last[:, None, None, :]),
        "leak": made(lambda last, rng, shape: last[:, None, None, :]),
    }


def _last(z: Float[np.ndarray, "q t d"], origin: np.ndarray) -> Float[np.ndarray, "q d"]:
    """The last number of each channel that is shown, wherever it stands; the mean where there is none."""
    t = z.shape[1]
    place = np.where(np.isfinite(z), np.arange(t)[None, :, None], -1).max(1)
    found = np.take_along_axis(z, np.maximum(place, 0)[:, None], axis=1)[:, 0]
    return np.where(place >= 0, found, 0.0)
