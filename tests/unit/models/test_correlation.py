"""Noise that moves several channels together: found in what a trunk leaves unexplained, and put into its futures."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.path import Path, stack
from biowm.core.schedule import schedule
from biowm.core.spec import Channel, WorldSpec
from biowm.models.tracker import fit_frame
from biowm.models.trunks.em import MixedConfig, fit_mixed, unexplained
from biowm.models.trunks.leftover import correlation

TRUE = np.array([[1.0, 0.8, 0.0], [0.8, 1.0, -0.4], [0.0, -0.4, 1.0]])
TWO = WorldSpec("two", "d", (Channel("x", "mg/L"), Channel("y", "mg/L")))


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).multivariate_normal(np.zeros(3), TRUE, n)


def test_it_is_found_where_readings_are_missing():
    left = noise(4000)
    left[np.random.default_rng(1).random(left.shape) < 0.3] = np.nan
    np.testing.assert_allclose(correlation(left), TRUE, atol=0.05)


def test_outliers_of_two_channels_at_once_do_not_decide():
    left = noise(2000)
    left[:5, 0] = left[:5, 2] = 1e3
    np.testing.assert_allclose(correlation(left), TRUE, atol=0.1)


def test_channels_that_are_hardly_read_together_are_independent():
    left = noise(400)
    left[20:, 0] = np.nan
    found = correlation(left)
    np.testing.assert_allclose(found[0], [1, 0, 0], atol=1e-6)
    assert found[1, 2] == pytest.approx(-0.4, abs=0.1)


def test_pairs_that_contradict_each_other_still_give_a_correlation():
    a = np.random.default_rng(0).normal(size=300)
    left = np.full((900, 3), np.nan)
    left[:300, 0], left[:300, 1] = a, a
    left[300:600, 1], left[300:600, 2] = a, a
    left[600:, 0], left[600:, 2] = a, -a
    found = correlation(left)
    assert np.linalg.eigvalsh(found).min() > 1e-3
    np.testing.assert_allclose(np.diag(found), 1)


def walks(subjects: int = 80, readings: int = 20) -> Path:
    """Two channels with a pace of their own in every subject, and noise of correlation 0.8."""
    rng = np.random.default_rng(0)
    root, paths = np.linalg.cholesky(TRUE[:2, :2]), []
    for _ in range(subjects):
        rise = rng.normal(0, [1.0, 2.0]) + rng.normal(size=(readings, 2)) @ root.T
        t = np.arange(readings, dtype=np.float32)
        paths.append(Path(t, np.cumsum(rise, 0, np.float32), schedule([]), np.zeros(0, np.float32), np.int32(0)))
    return stack(paths)


@pytest.mark.slow
def test_futures_move_together_as_the_readings_did():
    """What is left of the readings is noise of sd 1, without the subjects' own pace; steps have its correlation."""
    paths = walks()
    world = fit_mixed(TWO, fit_frame(TWO, paths, 1.0), paths, MixedConfig(("one",), "full"))
    left = unexplained(world, paths)[0].reshape(-1, 2)
    left = left[np.isfinite(left).all(1)]
    assert len(left) == 80 * 19
    np.testing.assert_allclose(np.sqrt((left**2).mean(0)), 1, atol=0.06)  # a little less: the pace is fitted to them
    np.testing.assert_allclose(np.asarray(world.mix @ world.mix.T), TRUE[:2, :2], atol=0.04)

    @eqx.filter_jit
    def rises(world, keys):
        state = world.draw(world.begin(jnp.zeros(0)), key=jax.random.key(0))
        after = jax.vmap(lambda key: world.step(state, jnp.zeros(0), jnp.ones(()), key=key).tracker.z)(keys)
        return after - state.tracker.z[None, :]

    drawn = np.asarray(rises(world, jax.random.split(jax.random.key(1), 4000)))
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(0.8, abs=0.05)
