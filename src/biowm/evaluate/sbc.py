"""Simulation-based calibration: whether what a model says of simulated subjects has the spread that it should have.

Where the model is right, the rank of the truth among its draws is uniform (doi:10.48550/arXiv.1804.06788). Every
simulated subject gives one rank, so that ranks are independent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy.stats import chisquare

from biowm.core.forecast import Model, forecast
from biowm.core.queries import Queries
from biowm.core.world import World
from biowm.engine.cohort import random_policy, simulate

LEAST = 500  # simulations: with fewer, a posterior twice as narrow as it should be may pass
_DRAWS, _BINS = 127, 16  # 128 possible ranks, eight to a bin

Fault = Literal["too narrow", "too wide", "too low", "too high"]


@dataclass(frozen=True)
class Ranks:
    """The rank of each truth among `draws` draws: 0 to `draws`, ties broken at random."""

    ranks: Int[np.ndarray, " n"]
    draws: int

    def counts(self, bins: int = _BINS) -> Int[np.ndarray, " b"]:
        """How many ranks fall into each of `bins` equal parts."""
        edges = np.linspace(0, self.draws + 1, bins + 1)
        return np.histogram(self.ranks, edges)[0]

    def p_value(self, bins: int = _BINS) -> float:
        """Of the chi-squared test that the ranks are uniform."""
        return float(chisquare(self.counts(bins)).pvalue)

    def fault(self) -> Fault:
        """What the ranks say of the forecasts, if they are not uniform: their mean and their spread tell."""
        place = (self.ranks + 0.5) / (self.draws + 1)
        lean = abs(place.mean() - 0.5) * np.sqrt(12)  # in spreads of a uniform rank
        spread = place.std() * np.sqrt(12) - 1
        if lean > abs(spread):
            return "too low" if place.mean() > 0.5 else "too high"
        return "too narrow" if spread > 0 else "too wide"


def ranks(truth: Float[np.ndarray, " n"], draws: Float[np.ndarray, "n m"], rng: np.random.Generator) -> Ranks:
    """The rank of each truth among its draws; among equals it is drawn at random."""
    below, equal = (draws < truth[:, None]).sum(1), (draws == truth[:, None]).sum(1)
    return Ranks(below + rng.integers(0, equal + 1), draws.shape[1])


def simulation_based_calibration(
    model: Model, source: World, *, readings: int = 6, ahead: int = 4, simulations: int = LEAST, seed: int = 0
) -> Ranks:
    """Ranks of what is read of subjects of `source` among the draws of `model`, `ahead` spacings after `readings`.

    Subjects are treated at random and read every spacing; the model sees the first `readings` and the whole schedule.
    The first target channel is asked for. Raises ValueError for fewer than 500 simulations.
    """
    if simulations < LEAST:
        raise ValueError(f"found {simulations} simulations, expected at least {LEAST}")
    times = source.spacing * np.arange(readings + ahead)
    paths = simulate(source, simulations, times, random_policy(source.spec), seed=seed).paths
    who, channel = np.arange(simulations), source.spec.targets[0]
    asked = np.tile(times[readings:], (simulations, 1)).astype(np.float32)  # every step on the way: doses come there
    queries = Queries(who, np.full(simulations, readings - 1), asked)
    said = forecast(model, paths, queries, key=jax.random.key(seed + 1), draws=_DRAWS)
    truth = np.asarray(paths.x)[:, -1, channel]
    return ranks(truth, said[:, :, -1, channel], np.random.default_rng(seed))
