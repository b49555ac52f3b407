"""Futures: what a simulation returns: draws, bands, the verdict on support and the record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from .contrast import Contrast
from .record import Record
from .schedule import Entry
from .spec import WorldSpec

Verdict = Literal["inside", "edge", "outside"]


@dataclass(frozen=True)
class Support:
    """Whether the data cover the question that was asked, and why not."""

    verdict: Verdict
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Futures:
    """Draws of one subject's future with a calibrated band; times count from the last reading used.

    `low` and `high` hold the whole path with probability `level` where `band` is "joint", each time by
    itself where it is "pointwise"; `level` is None where no promise could be calibrated. `against` are the futures
    under an alternative with the same chances, `contrast` what the two say together.
    """

    spec: WorldSpec
    times: Float[np.ndarray, " t"]
    draws: Float[np.ndarray, "n t d"]
    median: Float[np.ndarray, "t d"]
    low: Float[np.ndarray, "t d"]
    high: Float[np.ndarray, "t d"]
    level: float | None
    band: Literal["joint", "pointwise"]
    support: Support
    record: Record
    plan: tuple[dict[str, Any], ...] = ()
    against: Futures | None = None
    contrast: Contrast | None = None

    def entries(self, now: float) -> list[Entry]:
        """The interventions it was simulated under, in the absolute times of a history that was used up to `now`."""
        return [
            Entry(self.spec.action(e["action"]), e["dose"], e["onset"] + now, e["stop"] + now, e["assigned"])
            for e in self.plan
        ]

    def to_json(self) -> dict[str, Any]:
        """The object that `biowm simulate --json` prints."""

        def numbers(array: np.ndarray) -> dict[str, list[float]]:
            return {c.name: array[:, j].tolist() for j, c in enumerate(self.spec.channels)}

        body = {
            "times": self.times.tolist(),
            "clock": self.spec.clock,
            "channels": [c.name for c in self.spec.channels],
            "units": {c.name: c.unit for c in self.spec.channels},
            "median": numbers(self.median),
            "low": numbers(self.low),
            "high": numbers(self.high),
            "level": self.level,
            "band": self.band,
            "support": {"verdict": self.support.verdict, "reasons": list(self.support.reasons)},
            "plan": list(self.plan),
            "record": self.record.to_json(),
        }
        if self.against is not None:
            body["against"] = self.against.to_json()
        if self.contrast is not None:
            body["contrast"] = self.contrast.to_json()
        return body
