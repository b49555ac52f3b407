"""Bands at what was asked, on draws whose ranks are known."""

from __future__ import annotations

import numpy as np
from tests.support.decay import Decay

from biowm.core.queries import Queries
from biowm.evaluate.bands import Bands
from biowm.models.scale import fit_scale
from biowm.train.calibrate import Calibration
from biowm.train.horizons import Asked

SPEC = Decay().spec


def bands(truth: list[list[float]], horizon: list[list[int]], joint: tuple[float, ...]) -> Bands:
    """Draws of -1, 0 and 1 at leads 1, 2, 3 from time 5: their own band is [-1, 1], that of a path `joint` times it."""
    q = len(truth)
    times = np.tile(np.array([6, 7, 8], np.float32), (q, 1))
    asked = Asked(
        Queries(np.arange(q), np.zeros(q, int), times),
        np.array(truth, np.float32)[..., None],
        np.array(horizon),
        np.full(q, 5.0),
    )
    scale = fit_scale(SPEC, np.linspace(-20, 20, 60, dtype=np.float32).reshape(3, 20, 1))
    ones, leads = np.ones((len(joint), 1)), tuple(1.0 + h for h in range(len(joint)))
    trust = Calibration(0.9, 20, (20,) * len(joint), leads, ones, np.array(joint), scale)
    draws = np.tile(np.array([-1, 0, 1], np.float32)[None, :, None, None], (q, 1, 3, 1))
    return Bands(SPEC, scale, trust, draws, asked, np.array([f"s{i}" for i in range(q)]))


def shares(found: Bands, horizons: int) -> list[dict[str, float]]:
    return [dict(zip(t.units.tolist(), t.total / t.count, strict=True)) for t in found.path_coverage(horizons)]


def test_a_path_is_held_if_all_of_it_is_up_to_the_horizon():
    nan = np.nan
    truth = [[0.9, 0.9, 0.9], [0.9, 5.0, 0.0], [5.0, 0.0, 0.0], [nan, 0.5, nan], [2.5, 2.5, 2.5]]
    found = bands(truth, [[0, 1, 2]] * 4 + [[0, 1, -1]], (1.0, 1.0, 3.0))
    assert shares(found, 3) == [
        {"s0": 1, "s1": 1, "s2": 0, "s3": 1, "s4": 0},
        {"s0": 1, "s1": 0, "s2": 0, "s3": 1, "s4": 0},
        {"s0": 1, "s1": 0, "s2": 0, "s3": 1},  # s4 is not read so long
    ]


def test_the_band_is_that_of_the_horizon_asked_for():
    """A path of three readings is judged up to the first by the first horizon's factor, not by the last one's."""
    found = bands([[2.5, 2.5, 2.5]], [[0, 1, 2]], (1.0, 2.0, 3.0))
    assert shares(found, 3) == [{"s0": 0}, {"s0": 0}, {"s0": 1}]
    low, high = found.pointwise()
    np.testing.assert_allclose([low, high], found.scale.to_z(np.array([[[[-1.0]] * 3], [[[1.0]] * 3]])), atol=1e-6)


def test_a_horizon_at_which_nobody_is_read_is_passed_over():
    """Readings at leads 2 and 3 belong to the last horizon; paths still reach the one between."""
    found = bands([[0.0, 0.0, 0.0]], [[0, 2, 2]], (1.0, 1.0, 1.0))
    assert shares(found, 3) == [{"s0": 1}, {"s0": 1}, {"s0": 1}]
