from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.tiny import SPEC, learned, subject, tiny_cohort, tiny_material

from biowm.core.forecast import forecast
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.core.rollout import assimilate, at, draw_states, rollout
from biowm.core.schedule import Entry, schedule
from biowm.models.features import ACTION_BLOCKS, columns_of, features, with_traits
from biowm.models.tracker import trace
from biowm.models.trunks.mixed import Mixed, MixedBelief

_assimilate = eqx.filter_jit(assimilate)
_draw_states = eqx.filter_jit(draw_states)


@pytest.fixture(scope="module")
def world() -> Mixed:
    """A world that reads exactly and takes any gap as one: its belief is then a plain regression.

    The noisy one: test_statespace.py; gaps that are bridged: test_gaps.py.
    """
    fitted = learned("mixed(full)")
    return eqx.tree_at(lambda w: (w.r, w.reach), fitted, (0 * fitted.r, jnp.full_like(fitted.reach, jnp.inf)))


@pytest.fixture(scope="module")
def path() -> Path:
    """A subject the world was not fitted on, padded as all are."""
    return stack([subject(np.random.default_rng(99), 8)])


def only(path: Path) -> Path:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[0], path)


def covariance(belief: MixedBelief) -> np.ndarray:
    root = np.asarray(belief.L, np.float64)
    return root @ np.swapaxes(root, -1, -2)


def regression(world: Mixed, path: Path, channel: int) -> tuple[np.ndarray, np.ndarray]:
    """The posterior of one channel's random effects by batch Bayesian linear regression in float64."""

    def rows(path: Path):
        before = trace(world.frame, path, len(SPEC.actions)).before
        row = jax.vmap(features)(before)
        return before, row, jax.vmap(with_traits)(row, before)

    before, row, full = eqx.filter_jit(rows)(path)
    x = np.asarray(path.x)[:, channel]
    z = np.asarray(world.frame.scale.to_z(jnp.asarray(path.x)))[:, channel].astype(float)
    ok = np.isfinite(x) & (np.asarray(before.seen)[:, channel] > 0) & (np.asarray(before.age)[:, channel] > 0)
    gap = np.asarray(before.age, float)[ok, channel]
    rise = (z[ok] - np.asarray(before.z, float)[ok, channel]) * float(world.frame.scale.sd[channel])
    lam = float(world.lam[channel])
    y = np.expm1(lam * rise) / lam if lam else rise
    pace, power = float(world.pace), float(world.power)
    residual = y / gap**pace - np.asarray(full, float)[ok, channel] @ np.asarray(world.W, float)[channel]
    weight = 1 / (float(world.s2[channel]) * gap ** (power - 2 * pace))
    B = np.asarray(row, float)[ok, channel]
    root = np.asarray(world.root, float)[channel]
    D = root @ root.T
    gain = D @ B.T @ np.linalg.inv(B @ D @ B.T + np.diag(1 / weight))
    return gain @ residual, D - gain @ B @ D


def test_the_filter_is_batch_bayesian_regression(world: Mixed, path: Path):
    belief = at(_assimilate(world, only(path)), -1)
    for channel in range(2):
        m, S = regression(world, only(path), channel)
        sd = np.sqrt(np.diag(covariance(belief)[channel]))
        prior = np.sqrt(np.maximum(np.einsum("ij,ij->i", world.root[channel], world.root[channel]), 1e-12))
        np.testing.assert_allclose(np.asarray(belief.m)[channel] / prior, m / prior, atol=2e-3)
        np.testing.assert_allclose(covariance(belief)[channel] / np.outer(prior, prior), S / np.outer(prior, prior),
                                   atol=2e-3)  # fmt: skip
        assert (sd < 0.999 * prior).sum() > 5  # something was learned


def test_a_new_subject_starts_at_the_prior(world: Mixed):
    belief = world.begin(jnp.asarray([60.0]))
    np.testing.assert_array_equal(belief.m, 0.0)
    np.testing.assert_array_equal(belief.L, world.root)
    states = _draw_states(world, belief, key=jax.random.key(0), draws=4000)
    prior = np.einsum("dij,dkj->dik", world.root, world.root)
    drawn = np.stack([np.cov(np.asarray(states.theta)[:, d].T) for d in range(2)])
    scale = np.sqrt(np.einsum("dii,djj->dij", prior, prior)) + 1e-12
    assert (np.abs(drawn - prior) / scale).max() < 6 / np.sqrt(4000)


def test_an_unread_channel_is_drawn_from_the_first_readings_of_others(world: Mixed):
    states = _draw_states(world, world.begin(jnp.asarray([60.0])), key=jax.random.key(0), draws=4000)
    z = np.asarray(states.tracker.z)
    np.testing.assert_allclose(z.mean(0), world.frame.start_mean, atol=0.1)
    np.testing.assert_allclose(z.std(0), world.frame.start_sd, rtol=0.1)


def test_a_missing_channel_teaches_nothing_about_itself(world: Mixed, path: Path):
    one = only(path)
    x = np.array(one.x)
    x[1:, 1] = np.nan
    half = Path(one.t, x, one.plan, one.traits, one.event)
    belief = at(_assimilate(world, half), -1)
    np.testing.assert_array_equal(belief.m[1], 0.0)
    np.testing.assert_array_equal(belief.L[1], world.root[1])
    assert np.abs(np.asarray(belief.m)[0]).max() > 0
    m, _ = regression(world, half, 0)
    prior = np.sqrt(np.maximum(np.einsum("ij,ij->i", world.root[0], world.root[0]), 1e-12))
    np.testing.assert_allclose(np.asarray(belief.m)[0] / prior, m / prior, atol=2e-3)


@pytest.mark.slow
def test_its_own_subjects_fall_inside_its_predictions():
    """Readings of subjects drawn from the world itself are exchangeable with its draws: ranks are uniform."""
    world = learned("mixed(action)")
    n, draws = 64, 63
    plan = schedule([Entry(0, 1.0, 0.0, 4.0), Entry(1, 1.0, 3.0, 3.0)])
    times = np.arange(8, dtype=np.float32)
    prior = world.begin(jnp.asarray([60.0]))

    @eqx.filter_jit
    def simulate(world, prior, plan, times):
        return rollout(world, prior, plan, times, key=jax.random.key(7), draws=n)

    x = np.asarray(simulate(world, prior, plan, jnp.asarray(times)))
    paths = stack([Path(times, row, plan, np.array([60.0], np.float32), np.int32(0)) for row in x])
    asked = Queries(np.arange(n), np.full(n, 4), np.tile(times[[5, 7]], (n, 1)))
    got = forecast(world, paths, asked, key=jax.random.key(1), draws=draws)
    rank = (got < x[:, None, [5, 7]]).sum(1) / draws  # of each subject, time and channel
    assert 0.4 < rank.mean() < 0.6
    outside = (np.abs(rank - 0.5) > 0.45).mean(0)
    assert (outside < 0.25).all()
    assert 0.03 < outside.mean() < 0.17


def test_all_variants_share_one_structure():
    """One compiled program serves them all: nothing that differs between variants is static."""
    variants = [learned(name) for name in ("mixed(none)", "mixed(action)", "mixed(full)", "ridge")]
    shapes = [jax.tree.structure(v) for v in variants]
    assert all(s == shapes[0] for s in shapes)
    sizes = [[leaf.shape for leaf in jax.tree.leaves(v)] for v in variants]
    assert all(s == sizes[0] for s in sizes)
    none = np.asarray(learned("mixed(none)").root)
    assert np.abs(none).max() <= 1.1e-5
    assert np.abs(np.asarray(learned("mixed(full)").root)).max() > 1e-2


def test_levels_of_random_effects_are_nested():
    acting = columns_of(ACTION_BLOCKS, 2, 2)
    action = np.asarray(learned("mixed(action)").root)
    sd = np.sqrt(np.einsum("dij,dij->di", action, action))
    assert sd[:, ~acting].max() <= 1.1e-5
    assert sd[:, acting].max() > 1e-2


def test_rollouts_stay_within_the_limits(world: Mixed):
    scale = tiny_material().frame.scale
    wild = eqx.tree_at(lambda w: w.s2, world, world.s2 * 1e4)
    plan = schedule([Entry(0, 2.0, 0.0, 9.0)])

    @eqx.filter_jit
    def simulate(world, plan, times):
        return rollout(world, world.begin(jnp.asarray([60.0])), plan, times, key=jax.random.key(7), draws=64)

    x = np.asarray(simulate(wild, plan, jnp.arange(8, dtype=jnp.float32)))
    assert np.isfinite(x).all()
    top = np.asarray(scale.to_x(scale.highest))
    assert (x <= top * 1.0001).all()
    assert x[..., 0].max() == pytest.approx(top[0], rel=1e-4)
    assert top[0] == pytest.approx(3 * np.nanmax(tiny_cohort(60, 10).x[..., 0]), rel=1e-3)


def test_drawing_late_is_stepping(world: Mixed, path: Path):
    """Time that passed since the last reading is stepped over when the state is drawn."""

    @eqx.filter_jit
    def both(world, belief):
        action, dt = jnp.asarray([1.0, 0.5]), jnp.asarray(0.8)
        state = world.step(world.draw(belief, key=jax.random.key(0)), action, dt, key=jax.random.key(1))
        late = world.draw(world.predict(belief, action, dt), key=jax.random.key(0))
        return state.tracker, late.tracker, belief.tracker

    still = eqx.tree_at(lambda w: w.s2, world, 0 * world.s2)
    both_read = int(np.flatnonzero(np.isfinite(only(path).x).all(1))[-1])
    stepped, drawn, before = both(still, at(_assimilate(world, only(path)), both_read))
    for a, b in zip(jax.tree.leaves(stepped), jax.tree.leaves(drawn), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert np.abs(np.asarray(drawn.z - before.z)).min() > 1e-3
