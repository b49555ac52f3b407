from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from biowm.models.features import ACTION_BLOCKS, BLOCKS, columns_of, features, widths, with_traits
from biowm.models.tracker import EXPOSURE_TAUS, MEMORY_TAUS, Tracker

D, A, K, M = 2, 3, len(EXPOSURE_TAUS), len(MEMORY_TAUS)


def example() -> Tracker:
    rng = np.random.default_rng(0)

    def some(*shape: int):
        return jnp.asarray(rng.uniform(0.5, 1.5, shape), jnp.float32)

    return Tracker(
        clock=some(), z=some(D), prev=some(D), lag=jnp.asarray([0.05, 0.0]), age=jnp.asarray([2.0, 0.5]), seen=some(D),
        still=some(D), mean=some(D, M), e=some(A, K), given=some(D, A), felt=some(D, A, K), total=some(A, 2),
        pending=some(A), traits=some(2), moments=some(5, D),
    )  # fmt: skip


def block(name: str) -> np.ndarray:
    return np.asarray(features(example()))[:, columns_of((name,), D, A)]


def test_widths_and_columns_add_up():
    total = sum(widths(D, A).values())
    assert features(example()).shape == (D, total)
    assert np.stack([columns_of((name,), D, A) for name in BLOCKS]).sum(0).tolist() == [1] * total
    assert columns_of(BLOCKS, D, A).all()
    assert not columns_of((), D, A).any()


def test_every_block_holds_what_its_name_says():
    t = example()
    z, age = np.asarray(t.z), np.asarray(t.age)[:, None]
    dose = np.asarray(t.given) / age
    felt = np.asarray(t.felt) / age[..., None]
    expected = {
        "one": np.ones((D, 1)),
        "z": np.stack([z, z]),
        "delta": np.stack([z - np.asarray(t.prev)] * D),
        "dose": dose,
        "exposure": felt.reshape(D, -1),
        "z*dose": z[:, None] * dose,
        "z*exposure": z[:, None] * felt.reshape(D, -1),
        "delta*dose": (z - np.asarray(t.prev))[:, None] * dose,
        "gap": np.log(age),
        "gap*dose": np.log(age) * dose,
        "memory": np.stack([(z[:, None] - np.asarray(t.mean)).reshape(-1)] * D),
    }
    for name, values in expected.items():
        np.testing.assert_allclose(block(name), values, rtol=1e-5, err_msg=name)
    assert set(expected) | {"rate"} == set(BLOCKS)


def test_the_pace_is_clipped_and_zero_before_the_second_reading():
    t = example()
    fast = np.clip((float(t.z[0]) - float(t.prev[0])) / 0.05, -3.0, 3.0)
    np.testing.assert_allclose(block("rate"), [[fast, 0.0]] * D, rtol=1e-5)
    assert abs(fast) == 3.0


def test_traits_multiply_one_doses_and_exposures_in_this_order():
    t = example()
    row = features(t)
    full = np.asarray(with_traits(row, t))
    own = row.shape[1]
    np.testing.assert_array_equal(full[:, :own], row)
    acting = np.asarray(row)[:, columns_of(ACTION_BLOCKS, D, A)]
    assert acting.shape == (D, 1 + A + A * K)
    crossed = np.concatenate([float(s) * acting for s in t.traits], axis=1)
    np.testing.assert_allclose(full[:, own:], crossed, rtol=1e-6)
