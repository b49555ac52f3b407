"""Residuals: what the wrapping world adds to a trunk, and the kernel residual on anchors whose misses are known."""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from tests.support.decay import SPEC, Decay

from biowm.core.path import Path, stack
from biowm.core.rollout import assimilate, at, rollout
from biowm.core.schedule import Entry, schedule
from biowm.models.candidate import Candidate, Material, material, shared
from biowm.models.residual import Change, Corrected, Residual
from biowm.models.residuals.anchors import Anchors
from biowm.models.residuals.kernel import Kernel, fit_kernel, left_out
from biowm.models.tracker import Frame, Tracker, advance, fit_frame, fresh

STILL = Decay(sigma=0.0)


class Steady(Residual):
    """Rises by one a spacing, of which half is believed; remembers what was read last."""

    def blank(self) -> Array:
        return jnp.zeros(1)

    def encode(self, latent, ahead, z, mask) -> Array:
        return jnp.where(mask, z, latent)

    def __call__(self, latent, ahead: Tracker) -> Change:
        return Change(ahead.age, jnp.full_like(ahead.age, 0.5))


@pytest.fixture(scope="module")
def path() -> Path:
    plan = schedule([Entry(0, 0.5, 0.0, 9.0), Entry(1, 2.0, 4.0, 4.0)])
    t = np.arange(6, dtype=np.float32)
    return Path(t, np.array([[5.0], [4.0], [6.0], [3.0], [2.0], [4.0]], np.float32), plan, np.zeros(0), np.int32(0))


@pytest.fixture(scope="module")
def frame(path: Path) -> Frame:
    return fit_frame(SPEC, stack([path]), 1.0)


@eqx.filter_jit
def _future(world, path: Path, origin: int, times):
    belief = at(assimilate(world, path), origin)
    return belief, rollout(world, belief, path.plan, times, key=jax.random.key(0), draws=2)


def test_the_correction_adds_up_since_the_last_reading_in_link_space(frame: Frame, path: Path):
    world = Corrected(SPEC, 1.0, frame, STILL, Steady())
    times = jnp.asarray([2.5, 3.0, 4.0, 4.5], jnp.float32)
    belief, with_it = _future(world, path, 2, times)
    _, without = _future(STILL, path, 2, times)
    rise = 0.5 * (np.asarray(times) - 2.0) * float(frame.scale.sd[0])
    np.testing.assert_allclose(with_it[0, :, 0] - without[0, :, 0], rise, rtol=1e-4)
    np.testing.assert_allclose(belief.latent, frame.scale.to_z(jnp.asarray([[6.0]]))[0], rtol=1e-5)


def test_a_split_rollout_equals_the_whole_and_a_reading_starts_anew(frame: Frame, path: Path):
    world = Corrected(SPEC, 1.0, frame, STILL, Steady())
    _, fine = _future(world, path, 2, jnp.asarray([2.25, 2.5, 2.75, 4.0], jnp.float32))
    _, coarse = _future(world, path, 2, jnp.asarray([4.0, 4.0, 4.0, 4.0], jnp.float32))
    np.testing.assert_allclose(fine[0, -1], coarse[0, 0], rtol=1e-4)
    _, later = _future(world, path, 3, jnp.asarray([3.001, 3.001, 3.001, 3.001], jnp.float32))
    np.testing.assert_allclose(later[0, 0, 0], 3.0, atol=5e-3)


def anchors(misses: np.ndarray, z: np.ndarray, dose: np.ndarray) -> Anchors:
    """One channel and one action; what is missed grows linearly to `misses` at lead 4."""
    nodes = np.array([0.0, 2.0, 4.0])
    share = (nodes / 4.0)[None, :, None]
    n = len(misses)
    total = np.stack([dose, 0.0 * dose], axis=1)[:, None, :].repeat(3, axis=1)
    return Anchors(
        nodes, np.arange(n), z[:, None], np.zeros(n), np.zeros((n, 0)), total, misses[:, None, None] * share
    )  # fmt: skip


@eqx.filter_jit
def _change(kernel: Kernel, frame: Frame, z, dose, lead, mask) -> Change:
    start = fresh(frame, jnp.zeros(0))
    latent = kernel.encode(kernel.blank(), start, z[None], mask[None])
    ahead = advance(start, frame, jnp.zeros(2), lead)
    ahead = eqx.tree_at(lambda s: s.total, ahead, jnp.stack([dose, jnp.zeros(())])[None])  # of one action
    return kernel(latent, ahead)


def ask(kernel: Kernel, frame: Frame, z: float, dose: float, lead: float = 4.0, read: bool = True):
    """Delta and shrink over the whole lead, from a first reading at time 0."""
    change = _change(kernel, frame, jnp.asarray(z), jnp.asarray(dose), jnp.asarray(lead), jnp.asarray(read))
    return float(change.delta[0]), float(change.shrink[0])


@pytest.fixture(scope="module")
def alike() -> Anchors:
    rng = np.random.default_rng(0)
    z = np.repeat(rng.normal(size=40), 2)
    return anchors(np.where(z > 0, 1.0, -1.0), z, np.tile([1.0, 2.0], 40))


def test_the_kernel_says_what_was_missed_near_by_and_nothing_far_away(frame: Frame, alike: Anchors):
    kernel = fit_kernel(alike)
    near, believed = ask(kernel, frame, 0.8, 1.0)
    assert near == pytest.approx(1.0, abs=0.1)
    assert 0.5 < believed < 1.0
    assert ask(kernel, frame, -0.8, 1.0)[0] == pytest.approx(-1.0, abs=0.1)
    half, _ = ask(kernel, frame, 0.8, 1.0, lead=2.0)
    assert half == pytest.approx(0.5, abs=0.05)
    assert ask(kernel, frame, 30.0, 1.0)[1] < 1e-3
    assert ask(kernel, frame, 0.8, 60.0)[1] < 1e-3


def test_a_shared_trunk_is_fitted_once_to_a_material_and_anew_to_another(path: Path):
    asked = []

    def fit(m: Material) -> Decay:
        asked.append(m)
        return STILL

    trunk = shared(Candidate("still", False, fit))
    one, other = (material(SPEC, stack([path]), 1.0, 4.0) for _ in range(2))
    assert trunk.fit(one) is trunk.fit(one) is trunk.fit(other)
    assert [m is one for m in asked] == [True, False]


def test_a_subject_of_whom_nothing_was_read_is_left_alone(frame: Frame, alike: Anchors):
    assert ask(fit_kernel(alike), frame, 0.8, 1.0, read=False)[1] < 1e-3


def test_doses_tell_anchors_apart_when_they_matter(frame: Frame):
    rng = np.random.default_rng(1)
    dose = np.repeat([1.0, 2.0], 40)
    kernel = fit_kernel(anchors(np.where(dose > 1.5, 1.0, -1.0), rng.normal(size=80), dose))
    low, high = (ask(kernel, frame, 0.0, d)[0] for d in (1.0, 2.0))
    assert low == pytest.approx(-1.0, abs=0.05)
    assert high == pytest.approx(1.0, abs=0.05)


def test_what_is_left_out_never_sees_its_own_subject(alike: Anchors):
    kernel = fit_kernel(alike)
    assert np.abs(left_out(alike, kernel)).mean() < 0.5 * np.abs(alike.missed).mean()
    one = replace(alike, subject=np.zeros(80, int))
    np.testing.assert_allclose(left_out(one, kernel), one.missed)
