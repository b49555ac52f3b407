"""Single cells: how they are read, decoded, and moved to another mean."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from biowm.models.cells.decoder import CellEncoder, CountDecoder, NormalDecoder
from biowm.models.cells.moved import expected_log1p, fold_for, matched, moved_counts, read_again
from biowm.models.cells.pool import CellPool, Escape
from biowm.models.cells.reading import are_counts, counts_of, read_cells

RNG = np.random.default_rng(0)
MEAN, SIZE = np.array([0.2, 1.0, 6.0]), np.array([0.7, 2.0, 5.0])  # negative binomial: mean, inverse dispersion


def drawn(n: int, mean: np.ndarray = MEAN) -> np.ndarray:
    return stats.nbinom.rvs(SIZE, SIZE / (SIZE + mean), size=(n, 3), random_state=1).astype(np.float32)


def decoder() -> CountDecoder:
    return CountDecoder(
        weights=jnp.array([[0.5], [-0.3], [0.0]]), batch=jnp.array([[0.0, 0, 0], [0.4, 0, -0.2]]),
        level=jnp.log(jnp.asarray(MEAN, jnp.float32)), spread=jnp.log(jnp.asarray(SIZE, jnp.float32)),
    )  # fmt: skip


def test_counts_are_found_again_behind_log1p_of_scaled_counts():
    counts = RNG.poisson(2.0, (50, 30)).astype(np.float32)
    scaled = read_cells(counts, "counts").log1p
    again = read_cells(scaled, "log1p")
    assert are_counts(again)
    np.testing.assert_array_equal(counts_of(again), counts)
    assert not are_counts(read_cells(RNG.gamma(2.0, 1.0, (50, 30)).astype(np.float32), "log1p"))


def test_an_empty_cell_is_read_as_nothing_and_not_as_infinite():
    read = read_cells(np.zeros((1, 4), np.float32), "counts")
    assert (read.log1p == 0).all()
    assert np.isfinite(read.size).all()
    assert (counts_of(read_cells(np.zeros((1, 4), np.float32), "log1p")) == 0).all()


def test_the_count_decoder_is_the_negative_binomial():
    x = drawn(5)
    z, size, batch = jnp.zeros((5, 1)), jnp.ones(5), jnp.zeros(5, jnp.int32)
    want = stats.nbinom.logpmf(x, SIZE, SIZE / (SIZE + MEAN))
    np.testing.assert_allclose(jax.vmap(decoder().log_prob)(jnp.asarray(x), z, size, batch), want, rtol=2e-4, atol=2e-4)
    keys = jax.random.split(jax.random.key(0), 4000)
    many = jax.vmap(lambda key: decoder().sample(z[0], size[0], batch[0], key=key))(keys)
    np.testing.assert_allclose(many.mean(0), MEAN, rtol=0.12)
    np.testing.assert_allclose(many.var(0), MEAN + MEAN**2 / SIZE, rtol=0.2)


@pytest.mark.parametrize("kind", [CountDecoder, NormalDecoder])
def test_a_batch_label_changes_what_is_read_and_not_the_cell(kind):
    d = decoder()
    d = kind(weights=d.weights, batch=d.batch, level=d.level, spread=d.spread)
    z, size = jnp.full(1, 0.7), jnp.ones(())
    first, second = (d.mean(z, size, jnp.asarray(b, jnp.int32)) for b in (0, 1))
    assert not np.allclose(first, second)
    apart = jnp.log(second / first) if kind is CountDecoder else second - first
    np.testing.assert_allclose(apart, d.batch[1], atol=1e-5)
    encoder = CellEncoder(jnp.zeros(3), jnp.eye(3), jnp.zeros((2, 3)).at[1].set(jnp.array([0.3, 0.0, -0.1])))
    read = jnp.array([1.0, 2.0, 3.0])
    same = encoder(read + encoder.offset[1], jnp.ones((), jnp.int32))
    np.testing.assert_allclose(same, encoder(read, jnp.zeros((), jnp.int32)), atol=1e-6)


def test_the_mean_of_counts_grows_with_the_total_of_the_cell():
    none = jnp.zeros((), jnp.int32)
    one, deep = (decoder().mean(jnp.zeros(1), jnp.asarray(size), none) for size in (1.0, 0.5))
    np.testing.assert_allclose(deep, 2 * one, rtol=1e-5)


@pytest.mark.parametrize("fold", [0.3, 1.0, 2.5])
def test_moved_counts_have_the_law_of_the_moved_mean(fold):
    x = drawn(20_000)
    moved = moved_counts(x, np.broadcast_to(MEAN, x.shape), SIZE, np.full(3, fold), np.random.default_rng(2))
    for j in range(3):
        top = int(moved[:, j].max()) + 1
        seen = np.bincount(moved[:, j].astype(int), minlength=top)[:top] / len(x)
        want = stats.nbinom.pmf(np.arange(top), SIZE[j], SIZE[j] / (SIZE[j] + fold * MEAN[j]))
        assert 0.5 * np.abs(seen - want).sum() < 0.03
    if fold == 1.0:
        np.testing.assert_array_equal(moved, x)
    else:  # the cell keeps its noise: who read much, reads much
        assert all(np.corrcoef(moved[:, j], x[:, j])[0, 1] > 0.3 for j in range(3))


@pytest.mark.parametrize("scale", [0.8, 20.0])
def test_the_fold_is_found_at_which_the_mean_is_as_wanted(scale):
    x, size = drawn(20_000), np.full(20_000, scale)
    mean = np.broadcast_to(MEAN, x.shape)
    here = np.log1p(size[:, None] * x).mean(0)
    np.testing.assert_allclose(fold_for(x, mean, SIZE, size, here), 1.0, atol=1e-3)
    wanted = here * np.array([1.8, 0.4, 1.2])
    fold = fold_for(x, mean, SIZE, size, wanted)
    moved = moved_counts(x, mean, SIZE, fold, np.random.default_rng(3))
    np.testing.assert_allclose(np.log1p(size[:, None] * moved).mean(0), wanted, rtol=0.03)
    assert (fold_for(x, mean, SIZE, size, np.zeros(3)) == 0).all()


def test_a_cell_that_is_read_again_has_the_law_of_its_population_and_is_like_itself():
    x = drawn(40_000)
    again = read_again(x, np.broadcast_to(MEAN, x.shape), SIZE, np.random.default_rng(5))
    np.testing.assert_allclose(again.mean(0), x.mean(0), rtol=0.03)
    np.testing.assert_allclose(again.var(0), x.var(0), rtol=0.06)
    alike = [np.corrcoef(a, b)[0, 1] for a, b in zip(x.T, again.T, strict=True)]
    np.testing.assert_allclose(alike, MEAN / (MEAN + SIZE), atol=0.03)


def test_what_is_expected_of_a_population_has_its_totals():
    rng = np.random.default_rng(6)
    depth = rng.lognormal(0, 0.8, (60, 1))
    x = rng.poisson(np.array([[4.0, 0.5, 9.0]]) * depth).astype(np.float32)
    mean = matched(np.broadcast_to(MEAN, x.shape), x)
    np.testing.assert_allclose(mean.sum(0), x.sum(0), rtol=0.02)
    np.testing.assert_allclose(mean.sum(1), x.sum(1), atol=1.0)


@pytest.mark.parametrize(("fold", "scale"), [(0.3, 0.5), (1.0, 2.0), (1.1, 4.0), (3.0, 20.0)])
def test_what_is_expected_of_moved_counts_is_their_average(fold, scale):
    x, size = drawn(400), np.full(400, scale)
    mean, all_ = np.broadcast_to(MEAN, x.shape), np.full(3, fold)
    seen = [np.log1p(scale * moved_counts(x, mean, SIZE, all_, np.random.default_rng(i))).mean(0) for i in range(200)]
    np.testing.assert_allclose(expected_log1p(x, mean, SIZE, size, all_), np.mean(seen, 0), rtol=0.01)


def test_a_population_is_built_from_those_that_part_of_the_set_was_given():
    dose = jnp.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]])
    empty = jnp.zeros((0, 1))
    pool = CellPool(
        x=empty, z=empty, size=jnp.zeros(0), batch=jnp.zeros(0, jnp.int32), of=jnp.zeros(0, jnp.int32), dose=dose,
        context=jnp.array([0, 0, 0, 0, 1], jnp.int32), mean=jnp.zeros((5, 1)),
    )  # fmt: skip
    assert pool.nearest(0, np.array([1.0, 0, 1])).tolist() == [1]
    assert pool.nearest(0, np.array([1.0, 1, 0])).tolist() == [3]
    assert pool.nearest(0, np.array([1.0, 2, 0])).tolist() == [1], "another dose is another population"
    assert pool.nearest(0, np.array([0.0, 0, 1])).tolist() == [0]
    assert pool.nearest(1, np.array([1.0, 0, 0])).tolist() == [4]
    with pytest.raises(ValueError, match="no population"):
        pool.nearest(2, np.zeros(3))


def test_nobody_escapes_where_the_share_was_not_earned():
    off, on = (Escape(jnp.asarray(s), jnp.zeros(()), jnp.array([0.0, 4.0])) for s in (0.0, 1.0))
    dose = jnp.array([[1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_array_equal(jax.vmap(off.share)(dose), 0.0)
    np.testing.assert_allclose(jax.vmap(on.share)(dose), [0.5, jax.nn.sigmoid(4.0)], rtol=1e-5)
