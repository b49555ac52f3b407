from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.spec import Channel, WorldSpec
from biowm.models.scale import Scale, fit_scale


def scale_of(channel: Channel, values: list[float]) -> Scale:
    spec = WorldSpec("one", "d", (channel,))
    return fit_scale(spec, np.array(values, np.float32).reshape(1, -1, 1))


def there_and_back(scale: Scale, values: list[float]) -> np.ndarray:
    z = scale.to_z(jnp.asarray(values, jnp.float32)[:, None])
    return np.asarray(jax.vmap(scale.to_x)(z))[:, 0]


@pytest.mark.parametrize(
    ("channel", "values"),
    [
        (Channel("x", "mg/L", "log"), [0.01, 1.0, 20.0, 3e4]),
        (Channel("x", "mg/L", "log", floor=0.5), [0.0, 0.1, 20.0, 3e4]),
        (Channel("x", "mg/L", "real"), [-5.0, 0.0, 2.0, 100.0]),
        (Channel("x", "%", "logit", low=0.0, high=100.0), [1.0, 50.0, 99.0]),
        (Channel("x", "mg/L", "logit", low=-2.0, high=3.0), [-1.9, 0.0, 2.9]),
    ],
)
def test_there_and_back_again(channel: Channel, values: list[float]):
    np.testing.assert_allclose(there_and_back(scale_of(channel, values), values), values, rtol=2e-5, atol=1e-5)


def test_z_is_the_standardised_link():
    values = [1.0, 2.0, 8.0, 30.0]
    log = np.log(np.array(values) + 0.5)
    z = scale_of(Channel("x", "mg/L", "log", floor=0.5), values).to_z(jnp.asarray(values, jnp.float32)[:, None])
    np.testing.assert_allclose(np.asarray(z)[:, 0], (log - log.mean()) / log.std(), rtol=1e-5, atol=1e-6)


def test_a_constant_channel_is_not_blown_up():
    scale = scale_of(Channel("x", "mg/L", "real"), [3.0, 3.0, 3.0])
    np.testing.assert_allclose(np.asarray(scale.to_z(jnp.asarray([[4.0]]))), 1.0)


@pytest.mark.parametrize("link", ["log", "logit", "real"])
def test_missing_stays_missing(link: str):
    scale = scale_of(Channel("x", "mg/L", link), [0.2, np.nan, 0.5, 0.9])
    z = np.asarray(scale.to_z(jnp.asarray([[0.2], [np.nan]], jnp.float32)))
    assert np.isfinite(z[0]).all()
    assert np.isnan(z[1]).all()


def test_a_log_channel_with_zeros_and_no_floor_gets_half_its_least_positive_reading():
    scale = scale_of(Channel("x", "mg/L", "log"), [0.0, 0.4, 2.0])
    np.testing.assert_allclose(np.asarray(scale.floor), 0.2, rtol=1e-6)
    np.testing.assert_allclose(there_and_back(scale, [0.0, 0.4, 2.0]), [0.0, 0.4, 2.0], atol=1e-6)
    assert float(scale_of(Channel("x", "mg/L", "log"), [0.1, 2.0]).floor[0]) == 0.0
    assert float(scale_of(Channel("x", "mg/L", "log"), [0.0, 0.0]).floor[0]) == 1.0


def test_below_zero_reads_as_zero_and_the_ends_of_a_share_are_kept_in():
    log = scale_of(Channel("x", "mg/L", "log", floor=0.5), [0.0, 1.0, 2.0])
    assert float(log.to_z(jnp.asarray([[-3.0]]))[0, 0]) == float(log.to_z(jnp.asarray([[0.0]]))[0, 0])
    share = scale_of(Channel("x", "%", "logit", low=0.0, high=100.0), [10.0, 50.0])
    ends = np.asarray(share.to_z(jnp.asarray([[0.0], [100.0]])))
    assert np.isfinite(ends).all()
    np.testing.assert_allclose(there_and_back(share, [0.0, 100.0]), [0.1, 99.9], rtol=1e-4)


def test_limits_let_a_rollout_go_to_three_times_the_largest_reading_and_no_further():
    scale = scale_of(Channel("x", "mg/L", "log", floor=0.5), [0.0, 2.0, 9.5])
    np.testing.assert_allclose(float(scale.to_x(scale.highest)[0]), 3 * 10 - 0.5, rtol=1e-5)
    np.testing.assert_allclose(float(scale.to_x(scale.lowest)[0]), 0.0, atol=1e-6)
    real = scale_of(Channel("x", "mg/L", "real"), [-1.0, 4.0])
    np.testing.assert_allclose(float(real.to_x(real.highest)[0]), 9.0, rtol=1e-5)
    np.testing.assert_allclose(float(real.to_x(real.lowest)[0]), -6.0, rtol=1e-5)
    bare = scale_of(Channel("x", "mg/L", "log"), [1.0, 5.0])
    np.testing.assert_allclose(float(bare.to_x(bare.lowest)[0]), np.exp(-3.0), rtol=1e-5)
