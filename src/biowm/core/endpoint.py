"""Models that answer questions and have no transition: what they can be asked, and no more."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from jaxtyping import Float

from .path import Path
from .queries import Queries
from .schedule import Schedule
from .spec import WorldSpec


class Endpoint(ABC):
    """A model of what will be read, with no state that could be kept, carried on or given another action.

    `spec` says what it is about, `spacing` the usual time between its readings (clock units).
    """

    spec: WorldSpec
    spacing: float

    @abstractmethod
    def answer(
        self, paths: Path, queries: Queries, plans: Schedule, *, seed: int, draws: int
    ) -> Float[np.ndarray, "q n h d"]:
        """Draws of every query's readings (units of the channels), under its schedule of `plans` (one a query).

        `forecast` hides what lies after the origins: its `paths`, one a query, hold no later reading (NaN). The same
        `seed` gives the same draws.
        """
