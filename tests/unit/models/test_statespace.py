"""Reading noise of the mixed trunk: its filter against a dense Gaussian posterior, its fit against known truth."""

from __future__ import annotations

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.path import Path, stack, take
from biowm.core.rollout import assimilate, at, draw_states
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.models.features import BLOCKS, columns_of
from biowm.models.holds import no_holds
from biowm.models.tracker import fit_frame
from biowm.models.trunks.em import MixedConfig, em, fit_mixed, masks, moments
from biowm.models.trunks.mixed import Mixed, MixedBelief, MixedState
from biowm.models.trunks.statespace_fit import fit_noisy, innovations, profile

pytestmark = pytest.mark.slow

SPEC = WorldSpec(
    "noisy", "d", (Channel("level", "mg/L", link="real"),), (ActionCard("drug", "mg/d", "rate", 0.0, 2.0),)
)
ONE, Z, DOSE = (int(np.flatnonzero(columns_of((name,), 1, 1))[0]) for name in ("one", "z", "dose"))
PLAIN = MixedConfig(("one", "z", "dose"), "none")
_assimilate, _draw_states = eqx.filter_jit(assimilate), eqx.filter_jit(draw_states)


@functools.cache
def cohort(noise: float, n: int = 60, readings: int = 12, seed: int = 1) -> Path:
    """Levels that drift, fall under the drug and return to 1, read with an error of sd `noise`."""
    rng, paths = np.random.default_rng(seed), []
    for _ in range(n):
        t = np.concatenate([[0.0], np.cumsum(rng.uniform(0.5, 1.5, readings - 1))]).astype(np.float32)
        level, x, plan = rng.normal(1.0, 1.0), np.empty((readings, 1), np.float32), []
        for k in range(readings):
            x[k] = level + noise * rng.normal()
            gap = float(t[k + 1] - t[k]) if k + 1 < readings else 1.0
            dose = float(rng.uniform(0, 2))
            plan.append(Entry(0, dose, float(t[k]), float(t[k]) + gap))
            level += (0.1 * (1 - level) - 0.2 * dose) * gap + 0.3 * np.sqrt(gap) * rng.normal()
        paths.append(Path(t, x, schedule(plan), np.zeros(0, np.float32), np.int32(0)))
    return stack(paths)


def noisy(paths: Path, r: float = 0.2) -> Mixed:
    """A world whose dynamics are linear in the state: drift and drug effect differ between subjects."""
    base = fit_mixed(SPEC, fit_frame(SPEC, paths, 1.0), paths, PLAIN)
    p, q = base.root.shape[1], base.W.shape[1]
    W, root = np.zeros((1, q), np.float32), np.zeros((1, p, p), np.float32)
    W[0, [ONE, Z, DOSE]] = 0.1, -0.2, -0.3
    root[0, ONE, ONE], root[0, DOSE, ONE], root[0, DOSE, DOSE] = 0.3, 0.1, 0.2
    arrays = (W, root, np.full(1, 0.09, np.float32), np.full(1, r, np.float32))
    return eqx.tree_at(lambda w: (w.W, w.root, w.s2, w.r), base, tuple(jnp.asarray(a) for a in arrays))


def dense(world: Mixed, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (drift, drug effect, state at each reading) given all readings, in link units."""
    sd, mean = float(world.frame.scale.sd[0]), float(world.frame.scale.mean[0])
    x, t = np.asarray(path.x, float)[:, 0], np.asarray(path.t, float)
    n = int(np.isfinite(x).sum())
    doses = np.asarray(path.plan.dose, float) / float(world.frame.action_scale[0])
    root = np.asarray(world.root, float)[0][np.ix_([ONE, DOSE], [ONE, DOSE])]
    w = np.asarray(world.W, float)[0][[ONE, Z, DOSE]]
    # unknowns as an affine function of independent normals: root of theta, first state, noise of each gap
    A, b = np.zeros((2 + n, 2 + n)), np.zeros(2 + n)
    A[:2, :2] = root
    A[2, 2], b[2] = float(world.frame.start_sd[0]) * sd, mean + float(world.frame.start_mean[0]) * sd
    for k in range(n - 1):
        gap, slope = t[k + 1] - t[k], w[1] / sd
        A[3 + k] = (1 + gap * slope) * A[2 + k] + gap * (A[0] + doses[k] * A[1])
        b[3 + k] = (1 + gap * slope) * b[2 + k] + gap * (w[0] + w[2] * doses[k] - slope * mean)
        A[3 + k, 3 + k] = np.sqrt(float(world.s2[0]) * gap)
    prior, H = A @ A.T, np.eye(2 + n)[2:]
    gain = prior @ H.T @ np.linalg.inv(H @ prior @ H.T + float(world.r[0]) * np.eye(n))
    return b + gain @ (x[:n] - H @ b), prior - gain @ H @ prior


def test_the_filter_equals_a_dense_gaussian_posterior():
    path = take(cohort(0.4), 3)
    world = noisy(cohort(0.4))
    belief = at(_assimilate(world, path), -1)
    assert isinstance(belief, MixedBelief)
    mean, cov = dense(world, path)
    last = [0, 1, len(mean) - 1]
    sd = float(world.frame.scale.sd[0])
    m, L, c, a = (np.asarray(v, float)[0] for v in (belief.m, belief.L, belief.c, belief.a))
    found = [m[ONE], m[DOSE], float(belief.tracker.z[0]) * sd + float(world.frame.scale.mean[0])]
    np.testing.assert_allclose(found, mean[last], atol=2e-4)
    whole = np.vstack([L[[ONE, DOSE]], c[None]])
    covariance = whole @ whole.T + np.diag([0, 0, a**2])
    np.testing.assert_allclose(covariance, cov[np.ix_(last, last)], atol=2e-4)
    assert np.abs(cov[np.ix_(last, last)]).min() > 1e-3  # nothing compared is zero anyway


def test_draws_have_the_moments_of_the_belief():
    world = noisy(cohort(0.4))
    belief = at(_assimilate(world, take(cohort(0.4), 3)), -1)
    states = _draw_states(world, belief, key=jax.random.key(0), draws=4000)
    assert isinstance(states, MixedState)
    cov = dense(world, take(cohort(0.4), 3))[1]
    sd = float(world.frame.scale.sd[0])
    drawn = np.stack([states.theta[:, 0, ONE], states.theta[:, 0, DOSE], states.tracker.z[:, 0] * sd])
    want = cov[np.ix_([0, 1, -1], [0, 1, -1])]
    spread = np.sqrt(np.outer(np.diag(want), np.diag(want)))
    assert (np.abs(np.cov(drawn) - want) / spread).max() < 6 / np.sqrt(4000)
    reading = eqx.filter_jit(lambda world, states: jax.vmap(world.observe)(states))(world, states)
    np.testing.assert_allclose(reading.sd, np.sqrt(0.2), rtol=1e-4)


def test_rows_are_slopes_of_the_likelihood():
    """The gradient by the weights from the filter's own rows is that of the likelihood itself (no random effects)."""
    paths = cohort(0.4)
    world = noisy(paths)
    world = eqx.tree_at(lambda w: w.root, world, 0 * world.root)
    sums = innovations(world, paths)[0][0]
    W, step = np.asarray(world.W, float)[0], 0.02
    slope = (sums.Fy[:, 0].sum(0) - sums.FF @ W) / float(world.s2[0])
    for column in (ONE, DOSE):
        ends = [
            innovations(eqx.tree_at(lambda w: w.W, world, world.W.at[0, column].add(side * step)), paths)[1][0]
            for side in (1, -1)
        ]
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(slope[column], rel=1e-2)
        assert abs(slope[column]) > 10


@pytest.mark.parametrize("effects", ["none", "full"])
def test_without_noise_the_innovations_have_the_marginal_likelihood(effects):
    paths = cohort(0.0)
    config = MixedConfig(("one", "z", "dose"), effects)
    plain = fit_mixed(SPEC, fit_frame(SPEC, paths, 1.0), paths, config)
    batch = em(
        moments(plain.frame, no_holds(1, 1), np.zeros(1), paths, config, 1)[0], 0, *masks(SPEC, config), config.penalty
    )
    assert innovations(plain, paths)[1][0] == pytest.approx(batch.log_lik, abs=0.5)


def test_the_share_of_noise_is_recovered_and_its_interval_covers():
    paths = cohort(0.3)  # noise and dynamics have one variance at a gap of one day: a share of one half
    plain = fit_mixed(SPEC, fit_frame(SPEC, paths, 1.0), paths, PLAIN)
    tried = profile(plain, paths, PLAIN, (0.1, 0.3, 0.5, 0.7, 0.9))
    log_lik = {float(t.share[0]): float(t.log_lik[0]) for t in tried}
    inside = {share for share, value in log_lik.items() if value > max(log_lik.values()) - 1.92}
    assert 0.5 in inside
    assert not inside & {0.0, 0.1, 0.9}
    world = fit_noisy(SPEC, plain.frame, paths, PLAIN)
    assert float(world.r[0]) == pytest.approx(0.09, rel=0.35)
    assert float(world.s2[0]) == pytest.approx(0.09, rel=0.35)


def test_a_model_is_never_less_likely_than_the_one_it_contains():
    for noise in (0.0, 0.3):
        for config in (PLAIN, MixedConfig((*BLOCKS,), "full")):
            paths = cohort(noise)
            plain = fit_mixed(SPEC, fit_frame(SPEC, paths, 1.0), paths, config)
            world = fit_noisy(SPEC, plain.frame, paths, config)
            assert innovations(world, paths)[1].sum() >= innovations(plain, paths)[1].sum()
            assert (float(world.r[0]) > 0.03) == (noise > 0)
