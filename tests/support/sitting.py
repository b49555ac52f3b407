"""An exam of toy worlds on a cohort of `Decay`, with what they would have learned from."""

from __future__ import annotations

import functools
from collections.abc import Mapping

import numpy as np

from biowm.core.endpoint import Endpoint
from biowm.core.forecast import Model
from biowm.core.path import Path
from biowm.core.world import World
from biowm.evaluate.exam import Exam, Training
from biowm.models.scale import fit_scale
from biowm.train.calibrate import Calibration
from biowm.train.envelope import envelope
from biowm.train.horizons import Horizons
from tests.support.cohort import Still, cohort, promise
from tests.support.decay import SPEC, Decay

HORIZONS = Horizons("clock", (1.0, 3.0, 6.0), "d")


@functools.cache
def training() -> Training:
    """Forty subjects of `Decay`, none of whom sits the exam."""
    paths, subjects = cohort(seed=1)
    scale = fit_scale(SPEC, np.asarray(paths.x))
    return Training(paths, subjects, scale, envelope(SPEC, scale, paths, HORIZONS.values[-1]))


@functools.cache
def sitters() -> tuple[Path, tuple[str, ...]]:
    """Forty other subjects of `Decay`, who do."""
    return cohort()


@functools.cache
def bands() -> Calibration:
    """What the true world may promise."""
    return promise(Decay(), training().paths, HORIZONS)


class Told(Endpoint):
    """A model without transition: the last value, with a little noise."""

    spec, spacing = SPEC, 1.0

    def answer(self, paths, queries, plans, *, seed, draws):
        last = np.asarray(paths.x)[queries.subject, queries.origin]
        shape = (len(last), draws, queries.times.shape[1], last.shape[1])
        return last[:, None, None, :] + 0.1 * np.random.default_rng(seed).normal(size=shape)


def sit(
    world: Model,
    given: tuple[Path, tuple[str, ...]] | None = None,
    *,
    rules: Mapping[str, World] | None = None,
    horizons: Horizons = HORIZONS,
    learned: Training | None = None,
    promised: Calibration | None = None,
) -> Exam:
    """The exam of a world on forty subjects of `Decay`, or on those given (stacked paths, names)."""
    paths, subjects = given or sitters()
    rules = rules or {"persistence": Still(sigma=0.5)}
    promises = dict.fromkeys(rules, bands()) | {"world": promised or bands()}
    return Exam(world, rules, paths, subjects, horizons, promises, draws=64, training=learned)
