"""The network on a trunk: it starts as the trunk, learns, repeats itself, and is silent where it knows nothing."""

from __future__ import annotations

import functools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.tiny import SPEC, learned, tiny_material

from biowm.core.path import take
from biowm.core.scores import crps
from biowm.models.residuals.descent import fair_crps
from biowm.models.residuals.network import Net, Refined
from biowm.models.residuals.network_fit import Training, Windows, blank, train, windows_of
from biowm.models.trunks.mixed import Mixed

pytestmark = pytest.mark.slow

SMALL = Training(width=6, steps=60, batch=32, draws=4, ahead=3, rate=1e-2)
BOTH = jnp.ones(2, bool)


@functools.cache
def _windows() -> Windows:
    """Of the tiny cohort; its first subject's score was never read."""
    paths = take(tiny_material().paths, slice(0, 40))
    x = np.array(paths.x)
    x[0, :, 1] = np.nan
    return windows_of(_trunk(), replace(paths, x=x), SMALL.ahead)


def _trunk() -> Mixed:
    """A trunk that has forgotten what the actions do: there is something to learn."""
    mixed = learned("mixed(full)")
    assert isinstance(mixed, Mixed)
    return eqx.tree_at(lambda m: m.W, mixed, 0.5 * mixed.W)


def _untrained() -> Refined:
    net = blank(np.asarray(_windows().first), 4, SMALL.width, key=jax.random.key(0))
    return Refined(SPEC, 1.0, _trunk(), net)


def _train(windows: Windows) -> tuple[Refined, np.ndarray]:
    world, losses = train(_untrained(), windows, BOTH, SMALL, key=jax.random.key(1))
    return world, np.asarray(losses)


def _same(a: Refined, b: Refined) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a.net), jax.tree.leaves(b.net), strict=True))


def test_the_loss_is_the_fair_score():
    rng = np.random.default_rng(0)
    draws, truth = rng.normal(size=(5, 7, 2)), rng.normal(size=(7, 2))
    np.testing.assert_allclose(fair_crps(jnp.asarray(draws), jnp.asarray(truth)), crps(draws, truth), rtol=1e-4)


def test_an_untrained_network_is_the_trunk():
    world, trunk = _untrained(), _trunk()
    state = jax.tree.map(lambda leaf: leaf[3, 0], _windows().start)
    action, dt = jnp.asarray([0.5, 0.1]), jnp.asarray(0.7)
    step = eqx.filter_jit(lambda w: w.step(state, action, dt, key=jax.random.key(4)))
    for a, b in zip(jax.tree.leaves(step(world)), jax.tree.leaves(step(trunk)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_training_lowers_the_loss_and_repeats_itself():
    world, losses = _train(_windows())
    assert losses[-20:].mean() < 0.95 * losses[:10].mean()
    again, others = _train(_windows())
    assert np.array_equal(losses, others)
    assert _same(world, again)
    assert not _same(world, _untrained())


def test_a_channel_that_was_never_read_is_not_learned_from():
    windows = _windows()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(windows))
    first = slice(0, 8)  # the windows of that subject
    assert np.asarray(windows.mask)[first, :, 0].any()
    assert not np.asarray(windows.mask)[first, :, 1].any()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_loss_that_is_not_finite_changes_nothing(bad: float):
    world, _ = _train(replace(_windows(), z=jnp.full_like(_windows().z, bad)))
    assert _same(world, _untrained())


@pytest.mark.parametrize("far", [-1.0, 1.0])
def test_the_answer_shrinks_to_zero_out_of_range(far: float):
    ones = jnp.ones(3)
    net = Net(0 * ones, ones, -2 * ones, 2 * ones, (jnp.full((3, 2), 0.5),), (jnp.zeros(2),))
    inside, edge, outside = (np.asarray(net(jnp.asarray([far * at, 0.0, 0.0]))) for at in (1.0, 2.0, 8.0))
    assert np.all(np.abs(edge) > np.abs(inside))
    assert np.all(np.abs(inside) > 0.1)
    assert np.all(np.abs(outside) < 1e-6)
    assert np.all(np.abs(net(100 * jnp.ones(3))) <= 3.0)
