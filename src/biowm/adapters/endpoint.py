"""An endpoint made of one NumPy function: what will be read at the times asked, and no state in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np
from jaxtyping import Float

from biowm.core.endpoint import Endpoint
from biowm.core.path import Path
from biowm.core.queries import Queries
from biowm.core.schedule import Schedule
from biowm.core.spec import WorldSpec

from .functions import called, checked
from .histories import given_between, histories

Predict = Callable[
    [np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.random.Generator, int], np.ndarray
]


@final
@dataclass(frozen=True, eq=False)
class Asking(Endpoint):
    """A function that is shown histories up to the origin, and asked."""

    spec: WorldSpec
    spacing: float
    predict: Predict

    def answer(
        self, paths: Path, queries: Queries, plans: Schedule, *, seed: int, draws: int
    ) -> Float[np.ndarray, "q n h d"]:
        known = histories(self.spec, paths, queries.subject, queries.origin)
        times = np.asarray(queries.times, np.float32)
        now = np.asarray(paths.t, np.float32)[queries.subject, queries.origin]
        before = np.concatenate([now[:, None], times[:, :-1]], axis=1)
        planned = given_between(self.spec, plans, before, times)
        name = f"predict of {self.spec.name}"
        rng = np.random.default_rng(seed)
        value = called(
            name, self.predict, known.times, known.readings, known.actions, known.traits, times - now[:, None], planned,
            rng, draws,
        )  # fmt: skip
        return checked(name, value, (len(times), draws, times.shape[1], len(self.spec.channels)))


def wrap_endpoint(spec: WorldSpec, spacing: float, predict: Predict, name: str = "foreign") -> Endpoint:
    """A model without transition from one function on batches of NumPy rows (float32).

    Args:
        spec: what the model is about; it bears `name` in reports.
        spacing: the usual time between readings, in the spec's clock.
        predict: (times [B, T], readings [B, T, D], actions [B, T, A], traits [B, S], ask [B, H], planned [B, H, A],
            rng, draws) -> draws of readings [B, N, H, D], N = `draws`. The first four as in `Histories`, the last row
            is now and nothing later is in them; `ask` are leads from now on (the last may repeat), `planned` what is
            given between one asked time and the next, `rng` all the chance there is.
        name: what the model is called.

    Raises: BadInput, when asked, where the function raises or does not return what it should.
    """
    return Asking(replace(spec, name=name), float(spacing), predict)
