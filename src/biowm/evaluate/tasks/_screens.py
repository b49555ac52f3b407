"""What tasks on screens share: conditions as paths that are read once, and what worlds say of new ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float, Int

from biowm.core.condition import condition
from biowm.core.forecast import forecast
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.train.calibrate import band
from biowm.train.fitted import Fitted

from ._fits import member

WORLDS = ("world", "world:no-rules")


@dataclass(frozen=True)
class Said:
    """What one contender says of conditions: means, and the band of each channel by itself (NaN: none is promised)."""

    mean: Float[np.ndarray, "m d"]
    low: Float[np.ndarray, "m d"]
    high: Float[np.ndarray, "m d"]

    def among(self, rows: Int[np.ndarray, " k"]) -> Said:
        """What is said of some of the conditions."""
        return Said(self.mean[rows], self.low[rows], self.high[rows])

    def hits(self, truth: Float[np.ndarray, "m d"]) -> Float[np.ndarray, "m d"]:
        """Whether each reading lies in its band (1 or 0; NaN where none is promised)."""
        return np.where(np.isfinite(self.low), (truth >= self.low) & (truth <= self.high), np.nan)


def unpromised(mean: Float[np.ndarray, "m d"]) -> Said:
    """Means without a band."""
    none = np.full_like(mean, np.nan)
    return Said(mean, none, none)


def conditions(sets: Iterable[Mapping[int, float]], y: Float[np.ndarray, "n d"], when: float) -> Path:
    """Each condition as a path: nothing read at its start, when its set (dose by action) comes; `y` read at `when`."""
    return stack([condition(given, [when], row[None]) for given, row in zip(sets, y, strict=True)])


def answers(
    fitted: Fitted, names: Iterable[str], asked: Path, when: float, *, seed: int, draws: int
) -> dict[str, Said]:
    """What members of a fit say of conditions at `when`; where rules have no weight both worlds are one, asked once."""
    rows = np.arange(asked.t.shape[0])
    times = np.full((len(rows), 1), when, np.float32)
    queries = Queries(rows, np.zeros_like(rows), times)
    alike = dict(fitted.race.rules_free) == fitted.race.weights()
    found: dict[str, Said] = {}
    for name in names:
        if name == "world:no-rules" and alike and "world" in found:
            found[name] = found["world"]
            continue
        world, trust = member(fitted, name)
        said = forecast(world, asked, queries, key=jax.random.key(seed), draws=draws)
        _, low, high = band(trust, fitted.spec, said, times, "pointwise")
        found[name] = Said(said.mean(1)[:, 0], low[:, 0], high[:, 0])
    return found
