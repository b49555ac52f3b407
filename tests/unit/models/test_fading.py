from __future__ import annotations

import jax
import numpy as np
import pytest

from biowm.core.forecast import forecast
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.core.schedule import schedule
from biowm.core.spec import Channel, WorldSpec
from biowm.models.tracker import fit_frame
from biowm.models.trunks.em import MixedConfig, fit_mixed
from biowm.models.trunks.leftover import fading

SPEC = WorldSpec("two", "d", (Channel("steady", "mg/L"), Channel("settling", "mg/L")), ())


@pytest.mark.parametrize("fade", [-0.8, -0.3, 0.0, 0.5])
def test_noise_that_fades_is_recovered(fade: float):
    rng = np.random.default_rng(1)
    start = np.broadcast_to(np.arange(20.0)[None, :, None], (200, 20, 1))
    left = rng.normal(size=start.shape) * (1 + start) ** (fade / 2)
    left[rng.uniform(size=left.shape) < 0.2] = np.nan
    left[0, 0, 0] = 1e6
    assert fading(left, start)[0] == pytest.approx(min(fade, 0.0), abs=0.1)


def test_the_trunk_learns_how_noise_fades_and_draws_it():
    rng = np.random.default_rng(2)
    t = np.arange(16, dtype=np.float32)
    paths = []
    for _ in range(120):
        rise = rng.normal(size=15) * (1 + t[:-1]) ** -0.5
        x = np.column_stack([np.cumsum(rng.normal(0, 0.3, 16)), np.concatenate([[0.0], np.cumsum(rise)])])
        paths.append(Path(t, x.astype(np.float32), schedule([]), np.zeros(0, np.float32), np.asarray(0, np.int32)))
    every = stack(paths)
    world = fit_mixed(SPEC, fit_frame(SPEC, every, 1.0), every, MixedConfig(("one",), "none"))
    assert float(world.fade[0]) == 0.0
    assert float(world.fade[1]) == pytest.approx(-1.0, abs=0.15)
    queries = Queries(np.array([0, 0]), np.array([0, 14]), np.array([[1.0], [15.0]], np.float32))
    draws = forecast(world, every, queries, key=jax.random.key(0), draws=512)[:, :, 0, 1]
    assert draws[0].std() == pytest.approx(1.0, rel=0.15)
    assert draws[1].std() == pytest.approx(15**-0.5, rel=0.15)
