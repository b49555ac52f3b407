"""The recurrent network: it learns, repeats itself, runs as it was trained, and says nothing where it knows nothing."""

from __future__ import annotations

import functools
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.support.tiny import SPEC, few, tiny_cohort, tiny_material

from biowm.core.path import take
from biowm.core.rollout import assimilate, unroll
from biowm.models.candidate import Candidate
from biowm.models.residuals.recurrent import Cell, Recurrent, RecurrentBelief, RecurrentState, Span, entered
from biowm.models.residuals.recurrent_fit import (
    Training,
    Windows,
    blank,
    candidates,
    encoded,
    fit_recurrent,
    futures,
    train,
    windows_of,
)
from biowm.models.tracker import Tracker, fresh
from biowm.train.fit import fit_paths
from biowm.train.horizons import Horizons

pytestmark = pytest.mark.slow

SMALL = Training(hidden=8, trait=2, width=12, members=2, steps=200, subjects=12, ahead=3, rate=1e-2)
BRIEF = replace(SMALL, steps=5)
INPUTS = 31  # of two channels, two actions and a trait


@functools.cache
def _windows() -> tuple[Span, Windows]:
    return windows_of(tiny_material(), SMALL.ahead)


def _blank() -> Cell:
    span, windows = _windows()
    return blank(len(span.mean), windows.v.shape[-1], 2, SMALL, np.random.default_rng(0))


def _train(windows: Windows) -> tuple[Cell, np.ndarray]:
    who = jnp.tile(jnp.arange(SMALL.subjects, dtype=jnp.int32), (BRIEF.steps, 1))
    keys = jax.random.split(jax.random.key(0), BRIEF.steps)
    frame, targets = tiny_material().frame, jnp.ones(2, bool)
    cell, losses = train(_blank(), frame, _windows()[0], windows, targets, BRIEF, who, keys)
    return cell, np.asarray(losses)


def _same(a: eqx.Module, b: eqx.Module) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_it_runs_only_where_time_is_given():
    assert [(c.name, c.is_rule, c.thorough) for c in candidates()] == [("recurrent", False, True)]


def test_it_foresees_what_persistence_cannot():
    """Growth that doses slow: the race holds out the subjects that it scores."""
    mine = Candidate("recurrent", False, lambda m: fit_recurrent(m, SMALL))
    raced = (mine, *few("persistence"))
    fitted = fit_paths(SPEC, tiny_cohort(60, 10), Horizons("clock", (1.0, 4.0), "d"), candidates=raced, halves=False)
    score = {row.name: row.crps for row in fitted.race.rows}
    assert score["recurrent"] < 0.8 * score["persistence"]
    assert fitted.race.weights()["recurrent"] > 0.5


def test_the_same_material_gives_the_same_world_and_members_differ():
    one, two = (fit_recurrent(tiny_material(), BRIEF) for _ in range(2))
    assert _same(one, two)
    assert one.cells.keep.shape[0] == BRIEF.members
    assert np.abs(np.diff(one.cells.keep, axis=0)).max() > 0.01


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_loss_that_is_not_finite_changes_nothing(bad: float):
    windows = _windows()[1]
    assert not _same(_train(windows)[0], _blank())
    cell, losses = _train(eqx.tree_at(lambda w: w.z, windows, jnp.full_like(windows.z, bad)))
    assert not np.isfinite(losses).any()
    assert _same(cell, _blank())


def test_it_runs_as_it_was_trained():
    """Windows' trackers, computed once, give the futures that the world itself steps through; no noise in either."""
    material, (span, windows) = tiny_material(), _windows()
    cell = eqx.tree_at(lambda c: c.log_sd, _train(windows)[0], jnp.full(2, -40.0))
    world = Recurrent(SPEC, 1.0, material.frame, span, jax.tree.map(lambda leaf: leaf[None], cell))
    subject, h = 7, encoded(cell, windows)
    readings = np.isfinite(np.asarray(material.paths.x)).any(-1)
    order = np.random.default_rng(0).permutation(np.flatnonzero(readings.sum(1) >= 2))
    path = take(material.paths, int(np.sort(np.resize(order, len(h)))[subject]))
    beliefs = eqx.filter_jit(assimilate)(world, path)
    assert isinstance(beliefs, RecurrentBelief)

    @eqx.filter_jit
    def both(window):
        origin, start, ahead = (jax.tree.map(lambda leaf: leaf[subject, window], part) for part in (
            windows.origin, windows.start, windows.ahead,
        ))  # fmt: skip
        quiet = jnp.zeros(SMALL.trait + 2 * (1 + SMALL.ahead))
        trained = futures(cell, material.frame, span, h[subject, window], start, ahead, quiet)
        belief = jax.tree.map(lambda leaf: leaf[origin], beliefs)
        theta = cell.trait(belief.h[0], jnp.zeros(SMALL.trait))
        state = RecurrentState(belief.t, entered(material.frame, belief.tracker, jnp.zeros(2)), jnp.int32(0), theta)
        times = jnp.asarray(path.t)[jnp.minimum(origin + 1 + jnp.arange(SMALL.ahead), len(path.t) - 1)]
        return trained, material.frame.scale.to_z(unroll(world, state, path.plan, times, key=jax.random.key(0))[1])

    for window in range(8):
        there = np.asarray(windows.mask)[subject, window].any(-1)
        trained, ran = both(window)
        np.testing.assert_allclose(np.asarray(trained)[there], np.asarray(ran)[there], rtol=2e-3, atol=2e-3)


def _far(by: float) -> Tracker:
    """Somebody whose last score was this far from the usual."""
    tracker = fresh(tiny_material().frame, jnp.asarray([60.0]))
    return eqx.tree_at(lambda t: t.z, tracker, tracker.z + jnp.asarray([0.0, by]))


@pytest.mark.parametrize("far", [-1.0, 1.0])
def test_out_of_range_the_reading_persists_with_the_usual_noise(far: float):
    ones = jnp.ones(2)
    cell = _hot()
    span = _span(20.0)
    assert np.abs(cell.rates(span, _far(far), ones)[0]).min() > 1.0
    rate, sd = cell.rates(span, _far(40 * far), ones)
    np.testing.assert_allclose(rate, 0.0, atol=1e-6)
    np.testing.assert_allclose(sd, np.exp(cell.log_sd), rtol=1e-5)


def test_rates_and_noise_are_bounded():
    rate, sd = _hot().rates(_span(1e9), _far(1e6), jnp.ones(2))
    assert np.abs(rate).max() <= 3.0
    assert np.all(np.isfinite(sd))
    assert np.all(np.log(sd) <= 2.0 + 1e-5)


def _span(reach: float) -> Span:
    return Span(*(jnp.full(INPUTS, v) for v in (0.0, 1.0, -reach, reach)))


def _hot() -> Cell:
    """A member that answers loudly to everything."""
    cell = blank(INPUTS, INPUTS + 6, 2, replace(SMALL, width=3), np.random.default_rng(0))
    return eqx.tree_at(lambda c: c.biases, cell, (*cell.biases[:-1], jnp.full(4, 5.0)))
