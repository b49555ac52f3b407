"""Calibrated bands at the readings that were asked about, and how often whole paths lie in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from biowm.core.scores import inside_jointly
from biowm.core.spec import WorldSpec
from biowm.models.scale import Scale
from biowm.train.calibrate import Calibration, band
from biowm.train.horizons import Asked

from .metrics import METRICS, Tally, tally

Edges = tuple[Float[np.ndarray, "q r c"], Float[np.ndarray, "q r c"]]


@dataclass(frozen=True)
class Bands:
    """Draws (in units) at the readings `asked` about, and the calibration that their bands are made by.

    `units` are the subjects of the questions. Edges and truths are those of the target channels, by `scale`.
    """

    spec: WorldSpec
    scale: Scale
    calibration: Calibration
    draws: Float[np.ndarray, "q n r d"]
    asked: Asked
    units: np.ndarray

    def pointwise(self) -> Edges:
        """Low and high at each reading by itself."""
        return self._edges(self.asked.leads, "pointwise")

    def path_coverage(self, horizons: int) -> tuple[Tally, ...]:
        """At each horizon, whether the path up to it lies in its joint band, over the questions that reach it.

        The band is that of the horizon asked for: how long a subject will be read is not known when it is given.
        """
        truth, horizon, found = self._scaled(self.asked.truth), self.asked.horizon, []
        for h in range(horizons):
            here, reach = horizon == h, (horizon >= h).any(1)
            longest = np.median(self.asked.leads[here]) if here.any() else np.inf
            low, high = self._edges(np.minimum(self.asked.leads, longest), "joint")
            upto = ((horizon >= 0) & (horizon <= h))[..., None]
            held = inside_jointly(low, high, np.where(upto, truth, np.nan), axis=(1, 2))
            found.append(tally(METRICS["joint90"], held[reach], self.units[reach]))
        return tuple(found)

    def _edges(self, leads: Float[np.ndarray, "q r"], kind: Literal["pointwise", "joint"]) -> Edges:
        _, low, high = band(self.calibration, self.spec, self.draws, leads, kind)
        return self._scaled(low), self._scaled(high)

    def _scaled(self, x: Float[np.ndarray, "q r d"]) -> Float[np.ndarray, "q r c"]:
        return np.asarray(self.scale.to_z(x))[..., list(self.spec.targets)]
