from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.tiny import SPEC

from biowm.core.path import Path, stack
from biowm.core.rollout import assimilate, at, rollout
from biowm.core.schedule import Entry, Schedule, schedule
from biowm.models.baselines import smooth_fit
from biowm.models.baselines.pairs import pairs_of
from biowm.models.baselines.smooth import Smooth
from biowm.models.baselines.smooth_fit import fit_smooth
from biowm.models.tracker import fit_frame

READINGS, DRAWS = 7, 64
PRECISION, NOISE = np.array([0.5, 1.0]), 0.1


def plan_of(early: float, late: float) -> Schedule:
    return schedule([Entry(0, early, 0.0, 3.0), Entry(0, late, 3.0, 40.0)])


def subject(start: float, early: float, late: float, noise: float = 0.0, seed: int = 0) -> Path:
    """Growth that a dose slows, and an early dose twice as much as a late one."""
    t = np.arange(READINGS, dtype=np.float32)
    given = 2 * early * np.minimum(t, 3.0) + late * np.maximum(t - 3.0, 0.0)
    rng = np.random.default_rng(seed)
    log = start + 0.2 * t - 0.1 * given + noise * rng.normal(size=READINGS) * (t > 0)
    x = np.stack([np.exp(log), 0.1 * t + 0.01 * rng.normal(size=READINGS)], axis=1)
    return Path(t, x.astype(np.float32), plan_of(early, late), np.array([60.0], np.float32), np.int32(0))


def cohort(noise: float = 0.0, levels: tuple[float, ...] = (0.0, 0.7, 1.4, 2.0)) -> list[Path]:
    starts = np.random.default_rng(3).normal(1.0, 0.2, len(levels) ** 2 * 3)
    doses = [(early, late) for early in levels for late in levels] * 3
    return [subject(s, *d, noise, i) for i, (s, d) in enumerate(zip(starts, doses, strict=True))]


def fitted(paths: list[Path]) -> Smooth:
    whole = stack(paths)
    frame = fit_frame(SPEC, whole, 1.0)
    return fit_smooth(SPEC, frame, pairs_of(frame, whole, 2, 6.0))


@pytest.fixture(scope="module")
def world() -> Smooth:
    return fitted(cohort())


@eqx.filter_jit
def _future(world: Smooth, path: Path, plan: Schedule, times) -> jax.Array:
    return rollout(world, at(assimilate(world, path), 0), plan, times, key=jax.random.key(0), draws=DRAWS)


def future(world: Smooth, path: Path, plan: Schedule, *times: float) -> np.ndarray:
    """Logarithms of the first channel, from the first reading."""
    return np.log(np.asarray(_future(world, path, plan, jnp.asarray(times, jnp.float32)))[..., 0])


def situations(n: int = 30) -> smooth_fit._Situations:
    rng = np.random.default_rng(0)
    return smooth_fit._Situations(
        np.arange(n) // 3, rng.normal(size=(n, 2)), rng.normal(size=(n, 2, 1)), rng.normal(size=(n, 2, 1)),
        rng.uniform(size=(n, 2, 1)) < 0.8, 2,
    )  # fmt: skip


@pytest.mark.slow
def test_it_tells_apart_when_the_same_dose_is_given(world: Smooth):
    """Also at doses that nobody was given, and steps that stop at none of the nodes on the way."""
    new = subject(1.1, 0.0, 0.0)
    for early, late in ((1.0, 0.3), (0.3, 1.0)):
        truth = np.log(subject(1.1, early, late).x[[3, 6], 0])
        np.testing.assert_allclose(future(world, new, plan_of(early, late), 3.0, 6.0).mean(0), truth, atol=0.05)


@pytest.mark.slow
def test_steps_between_readings_do_not_move_the_answer(world: Smooth):
    new, plan = subject(1.1, 0.0, 0.0), plan_of(1.0, 0.3)
    fine = future(world, new, plan, *np.arange(0.5, 6.5, 0.5))
    np.testing.assert_allclose(fine[:, [5, 11]], future(world, new, plan, 3.0, 6.0), atol=1e-4)
    np.testing.assert_allclose(fine[:, 0] - np.log(new.x[0, 0]), 0.5 * (fine[:, 1] - np.log(new.x[0, 0])), atol=0.02)


@pytest.mark.slow
def test_draws_spread_as_subjects_left_out_were_missed():
    """Readings carry independent noise of .1; what the posterior does not know adds to it."""
    noisy = fitted(cohort(noise=0.1))
    spread = future(noisy, subject(1.1, 0.0, 0.0), plan_of(0.7, 0.7), 3.0, 6.0).std(0)
    assert (spread > 0.06).all()
    assert (spread < 0.2).all()


def test_what_is_missed_of_a_subject_is_what_a_fit_without_it_misses():
    s = situations()
    mean, _, missed, _ = smooth_fit._solve(s, 1, 0, PRECISION, NOISE)
    ok = s.valid[:, 1, 0]
    kernel = smooth_fit._kernel(s, 1, PRECISION)[np.ix_(ok, ok)]
    y, who = s.rise[ok, 1, 0] - mean, s.subject[ok]
    for one in np.unique(who):
        own, rest = np.flatnonzero(who == one), np.flatnonzero(who != one)
        noisy = kernel[np.ix_(rest, rest)] + NOISE * np.eye(len(rest))
        said = kernel[np.ix_(own, rest)] @ np.linalg.solve(noisy, y[rest])
        np.testing.assert_allclose(missed[own], y[own] - said, atol=1e-9)


def test_the_tables_are_the_posterior_mean():
    s = situations()
    linear, gaussian, missed = smooth_fit._solved(s, PRECISION, NOISE)
    mean, weights, *_ = smooth_fit._solve(s, 1, 0, PRECISION, NOISE)
    rows, share = smooth_fit._rows(s, 1)
    whole = smooth_fit._kernel(s, 1, PRECISION)
    dense = mean + whole[:, s.valid[:, 1, 0]] @ weights
    near = whole - 1.0 - (rows * share) @ rows.T
    said = linear[1, 0, 0] + rows @ linear[1, 1 : 1 + rows.shape[1], 0] + near @ gaussian[1, :, 0]
    np.testing.assert_allclose(said, dense, atol=1e-9)
    unread = ~s.valid[:, 1, 0]
    np.testing.assert_array_equal(missed[unread, 1, 0], missed[unread, 0, 0])


@pytest.mark.slow
def test_padding_is_nobodys_donor(world: Smooth):
    real = np.abs(np.asarray(world.library.look)).max(1) < 1e3
    assert real.sum() < len(real)
    belief = at(eqx.filter_jit(assimilate)(world, subject(1.1, 0.0, 0.0)), 0)
    keys = jax.random.split(jax.random.key(0), 200)
    states = eqx.filter_jit(jax.vmap(lambda w, b, k: w.draw(b, key=k), in_axes=(None, None, 0)))(world, belief, keys)
    assert real[np.asarray(states.donor)].all()
    assert len(np.unique(states.donor)) > 20


def test_first_situations_are_kept_before_others():
    subjects = np.repeat(np.arange(50), 8)
    kept = smooth_fit._kept(subjects, 60)
    assert len(kept) == 60
    assert np.isin(np.arange(50) * 8, kept).all()
    assert len(smooth_fit._kept(subjects, 20)) == 20
    np.testing.assert_array_equal(smooth_fit._kept(subjects, 1000), np.arange(400))
