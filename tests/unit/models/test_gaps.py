"""Gaps of the mixed trunk: its belief over a gap against a dense Gaussian posterior, and the choice of its reach."""

from __future__ import annotations

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm.core.path import Path, stack, take
from biowm.core.rollout import assimilate, at, draw_states
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.core.world import World
from biowm.models.blend import blend
from biowm.models.features import columns_of
from biowm.models.holds import no_holds
from biowm.models.tracker import fit_frame
from biowm.models.trunks.em import MixedConfig, fit_mixed, moments
from biowm.models.trunks.gaps import reaches
from biowm.models.trunks.mixed import Mixed, MixedBelief, MixedState
from biowm.models.trunks.statespace_fit import fit_reach, innovations

SPEC = WorldSpec("gaps", "d", (Channel("level", "mg/L", link="real"),), (ActionCard("drug", "mg/d", "rate", 0.0, 2.0),))
ONE, Z, DOSE = (int(np.flatnonzero(columns_of((name,), 1, 1))[0]) for name in ("one", "z", "dose"))
PLAIN, DAYS = MixedConfig(("one", "z", "dose"), "none"), 12
UNREAD = (3, 4, 5, 8)  # days without a reading
_assimilate, _draw_states = eqx.filter_jit(assimilate), eqx.filter_jit(draw_states)


@functools.cache
def cohort(n: int = 60, pull: float = 0.3, hidden: float = 0.0) -> Path:
    """Levels that fall under the drug and return to 1, day by day, read every day but the `hidden` share."""
    rng, paths = np.random.default_rng(1), []
    t = np.arange(DAYS, dtype=np.float32)
    for _ in range(n):
        x, doses = np.empty((DAYS, 1), np.float32), rng.uniform(0, 2, DAYS)
        level, drift = rng.normal(1.0, 1.0), 0.2 * rng.normal()
        for k in range(DAYS):
            x[k] = level
            level += pull * (1 - level) + drift - 0.2 * doses[k] + 0.1 * rng.normal()
        luck = rng.random(DAYS)
        x[(luck < hidden) & (t > 0)] = np.nan
        plan = schedule([Entry(0, float(u), float(k), float(k) + 1) for k, u in enumerate(doses)])
        paths.append(Path(t, x, plan, np.zeros(0, np.float32), np.int32(0)))
    return stack(paths)


def linear(r: float, reach: float = 1.5) -> Mixed:
    """A world whose dynamics are linear in the state: drift and drug effect differ between subjects."""
    base = fit_mixed(SPEC, fit_frame(SPEC, cohort(), 1.0), cohort(), PLAIN)
    p, q = base.root.shape[1], base.W.shape[1]
    W, root = np.zeros((1, q), np.float32), np.zeros((1, p, p), np.float32)
    W[0, [ONE, Z, DOSE]] = 0.1, -0.5, -0.3
    root[0, ONE, ONE], root[0, DOSE, ONE], root[0, DOSE, DOSE] = 0.3, 0.1, 0.2
    arrays = (W, root, np.full(1, 0.09), np.full(1, r), np.full(1, reach))
    return eqx.tree_at(
        lambda w: (w.W, w.root, w.s2, w.r, w.reach), base, tuple(jnp.asarray(a, jnp.float32) for a in arrays)
    )


def gappy(days: int = DAYS, unread: tuple[int, ...] = UNREAD) -> Path:
    """One subject, some of whose readings are hidden; the times stay."""
    path = take(cohort(), 3)
    x = np.array(path.x)[:days]
    x[list(unread)] = np.nan
    return Path(path.t[:days], x, path.plan, path.traits, path.event)


def dense(world: Mixed, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of (drift, drug effect, state on the last day) given all readings, one step a day."""
    sd, mean = float(world.frame.scale.sd[0]), float(world.frame.scale.mean[0])
    x = np.asarray(path.x, float)[:, 0]
    n = len(x)
    doses = np.asarray(path.plan.dose, float)[:n] / float(world.frame.action_scale[0])
    root = np.asarray(world.root, float)[0][np.ix_([ONE, DOSE], [ONE, DOSE])]
    w = np.asarray(world.W, float)[0][[ONE, Z, DOSE]]
    A, b = np.zeros((2 + n, 2 + n)), np.zeros(2 + n)  # unknowns as an affine function of independent normals
    A[:2, :2] = root
    A[2, 2], b[2] = float(world.frame.start_sd[0]) * sd, mean + float(world.frame.start_mean[0]) * sd
    for k in range(n - 1):
        A[3 + k] = (1 + w[1] / sd) * A[2 + k] + A[0] + doses[k] * A[1]
        b[3 + k] = (1 + w[1] / sd) * b[2 + k] + w[0] + w[2] * doses[k] - w[1] / sd * mean
        A[3 + k, 3 + k] = np.sqrt(float(world.s2[0]))
    seen = np.flatnonzero(np.isfinite(x))
    H = np.eye(2 + n)[2 + seen]
    prior, noise = A @ A.T, (float(world.r[0]) + 1e-12) * np.eye(len(seen))
    gain = prior @ H.T @ np.linalg.inv(H @ prior @ H.T + noise)
    last = [0, 1, 1 + n]
    return (b + gain @ (x[seen] - H @ b))[last], (prior - gain @ H @ prior)[np.ix_(last, last)]


def learned_blend() -> World:
    return blend(SPEC, {"exact": linear(0.0), "noisy": linear(0.2)}, {"exact": 0.5, "noisy": 0.5})


@pytest.mark.parametrize("r", [0.0, 0.2])
def test_the_belief_over_gaps_is_the_exact_posterior(r: float):
    world = linear(r)
    belief = at(_assimilate(world, gappy()), -1)
    assert isinstance(belief, MixedBelief)
    mean, cov = dense(world, gappy())
    sd = float(world.frame.scale.sd[0])
    m, L, c, a = (np.asarray(v, float)[0] for v in (belief.m, belief.L, belief.c, belief.a))
    found = [m[ONE], m[DOSE], float(belief.tracker.z[0]) * sd + float(world.frame.scale.mean[0])]
    np.testing.assert_allclose(found, mean, atol=3e-4)
    whole = np.vstack([L[[ONE, DOSE]], c[None]])
    np.testing.assert_allclose(whole @ whole.T + np.diag([0, 0, a**2]), cov, atol=3e-4)
    as_one = at(_assimilate(linear(r, np.inf), gappy()), -1)
    assert isinstance(as_one, MixedBelief)
    assert np.abs(np.asarray(as_one.m)[0, [ONE, DOSE]] - mean[:2]).max() > 0.01  # a gap taken as one step is not


@pytest.mark.parametrize("r", [0.0, 0.2])
def test_draws_some_days_after_the_last_reading_have_the_exact_moments(r: float):
    world, path = linear(r), gappy(unread=(3, 4, 9, 10, 11))
    belief = at(_assimilate(world, path), -1)
    states = _draw_states(world, belief, key=jax.random.key(0), draws=4000)
    assert isinstance(states, MixedState)
    mean, cov = dense(world, path)
    z = np.asarray(states.tracker.z)[:, 0] * float(world.frame.scale.sd[0]) + float(world.frame.scale.mean[0])
    drawn = np.stack([states.theta[:, 0, ONE], states.theta[:, 0, DOSE], z])
    sd = np.sqrt(np.diag(cov))
    assert (np.abs(drawn.mean(1) - mean) / sd).max() < 5 / np.sqrt(4000)
    assert (np.abs(np.cov(drawn) - cov) / np.outer(sd, sd)).max() < 6 / np.sqrt(4000)


@pytest.mark.parametrize("make", [lambda: linear(0.2), learned_blend], ids=["mixed", "blend"])
def test_days_without_a_row_are_as_days_without_a_reading(make: Callable[[], World]):
    """A history's rows do not matter, only its readings: doses between them are given in their own time."""
    whole = gappy()
    rows = np.flatnonzero(np.isfinite(whole.x[:, 0]))
    short = Path(whole.t[rows], whole.x[rows], whole.plan, whole.traits, whole.event)
    a, b = (at(_assimilate(make(), path), -1) for path in (whole, short))
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_history_without_such_gaps_does_not_change():
    path = gappy(unread=())
    for r in (0.0, 0.2):
        beliefs = (_assimilate(linear(r, reach), path) for reach in (1.5, np.inf))
        for one, other in zip(*(jax.tree.leaves(b) for b in beliefs), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("r", [0.0, 0.2])
def test_rows_over_gaps_are_slopes_of_the_likelihood(r: float):
    """The gradient by the weights from the filter's own rows is that of the likelihood itself (no random effects)."""
    paths, world = cohort(hidden=0.4), linear(r)
    world = eqx.tree_at(lambda w: w.root, world, 0 * world.root)
    sums = innovations(world, paths)[0][0]
    W, step = np.asarray(world.W, float)[0], 0.02
    slope = (sums.Fy[:, 0].sum(0) - sums.FF @ W) / float(world.s2[0])
    for column in (ONE, DOSE):  # that of the state moves the variances as well, which rows leave out
        ends = [
            innovations(eqx.tree_at(lambda w: w.W, world, world.W.at[0, column].add(side * step)), paths)[1][0]
            for side in (1, -1)
        ]
        want = (ends[0] - ends[1]) / (2 * step)
        assert slope[column] == pytest.approx(want, rel=1e-2)
        assert abs(slope[column]) > 10


def test_reaches_are_the_longest_and_about_the_usual_gap_of_each_channel():
    t = np.arange(12, dtype=np.float32)
    x = np.full((12, 3), np.nan, np.float32)
    x[:, 0] = 1.0  # every day
    x[[0, 3, 6, 11], 1] = 1.0  # gaps 3, 3, 5
    x[4, 2] = 1.0  # once
    path = stack([Path(t, x, schedule([]), np.zeros(0, np.float32), np.int32(0))])
    longest, usual = reaches(path, 1.0)
    np.testing.assert_allclose(longest, [1.5, 5.0, 1.5])
    np.testing.assert_allclose(usual, [1.5, 4.5, 1.5])
    np.testing.assert_allclose(reaches(path, 2.0)[0], [1.5, 2.5, 1.5])


def test_increments_beyond_the_reach_are_not_learned_from():
    paths, frame = cohort(hidden=0.4), fit_frame(SPEC, cohort(hidden=0.4), 1.0)
    read = np.isfinite(np.asarray(paths.x)[:, :DAYS, 0])
    gaps = np.concatenate([np.diff(np.flatnonzero(row)) for row in read])
    for reach in (1.5, 2.0, np.inf):
        assert (
            moments(frame, no_holds(1, 1), np.zeros(1), paths, PLAIN, 1, np.full(1, reach))[0].n.sum()
            == (gaps <= reach).sum()
        )


@pytest.mark.slow
def test_levels_that_move_day_by_day_are_bridged_and_what_was_lost_is_not():
    """A strong pull to a level is no rate over many days; with regular readings there is nothing to choose."""
    config = MixedConfig(("one", "z", "dose"), "full")
    paths = cohort(200, 0.8, 0.3)
    world = fit_reach(SPEC, fit_frame(SPEC, paths, 1.0), paths, config)
    assert float(world.reach[0]) == 1.5
    scale = float(world.frame.scale.sd[0])
    assert float(world.W[0, Z]) / scale == pytest.approx(-0.8, abs=0.05)
    whole = fit_mixed(SPEC, fit_frame(SPEC, paths, 1.0), paths, config)
    assert float(whole.reach[0]) > 3
    assert innovations(world, paths)[1][0] > innovations(whole, paths)[1][0]
    regular = fit_reach(SPEC, fit_frame(SPEC, cohort(), 1.0), cohort(), PLAIN)
    assert float(regular.reach[0]) == 1.5
