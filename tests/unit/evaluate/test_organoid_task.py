"""Task organoid on planted tracks: a loss that depends on what was read is undone by weights, and scores are known."""

from __future__ import annotations

import numpy as np
import pytest

from biowm.core.path import CENSORED, RUNNING
from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks._organoids import HOURS, NOW, Organoids, by_rule, folds, path_of, ridge, standing
from biowm.evaluate.tasks.organoid import Organoid, Problem, Said, variance

N = 20000


def planted(lost: bool, seed: int = 0) -> tuple[Organoids, np.ndarray]:
    """Organoids whose end is a bent function of their size at 24 h; the large ones are lost more often."""
    rng = np.random.default_rng(seed)
    size = rng.normal(size=N)
    y = np.zeros((N, len(HOURS), 2))
    y[:, : NOW + 1, 0] = size[:, None] + 0.1 * rng.normal(size=(N, NOW + 1))
    now = y[:, NOW, 0]
    y[:, NOW + 1 :, 0] = (now + np.clip(now, 0.0, 2.0) + 0.2 * rng.normal(size=N))[:, None]
    y[..., 1] = 0.1 * rng.normal(size=(N, len(HOURS)))
    whole = y.copy()
    if lost:
        gone = rng.uniform(size=N) < 1 / (1 + np.exp(-(0.8 * now - 0.5)))
        y[gone, NOW + 4 :] = np.nan
    dose = np.where(np.arange(N) % 2, 10.0, 0.0)
    return Organoids(dose, tuple(f"{d:g} nM/{i % 20}" for i, d in enumerate(dose)), y), whole


def problem_of(organoids: Organoids) -> Problem:
    return Problem(organoids, tuple(folds(organoids, (0, 10))), seed=0, draws=10)


def test_weights_undo_a_loss_that_depends_on_what_was_read():
    organoids, whole = planted(lost=True)
    problem, everyone = problem_of(organoids), problem_of(Organoids(organoids.dose, organoids.well, whole))
    said = Said(np.concatenate([by_rule("persistence", organoids, fold) for fold in problem.folds]))
    seen = Organoid().score(said, problem)
    truth = Organoid().score(said, everyone)
    for metric in ("rmse", "r2"):
        value = interval(truth["dose-out/area", metric]).value
        followed = interval(seen["dose-out/area", metric]).value
        reweighted = interval(seen["dose-out/area", f"{metric}_reweighted"]).value
        assert abs(reweighted - value) < 0.25 * abs(followed - value)


def test_a_ridge_with_weights_is_that_of_everybody():
    organoids, whole = planted(lost=True)
    x, followed = organoids.y[:, [NOW], 0], organoids.followed
    at = np.array([[-1.0], [0.0], [1.5]])
    every = ridge(x, whole[:, -1], np.ones(N), at)[:, 0]
    plain = ridge(x[followed], organoids.y[followed, -1], np.ones(followed.sum()), at)[:, 0]
    mended = ridge(x[followed], organoids.y[followed, -1], standing(x, followed)[followed], at)[:, 0]
    assert np.abs(mended - every).max() < 0.35 * np.abs(plain - every).max()


def test_who_was_followed_stands_for_everybody_and_the_lost_for_nobody():
    organoids, _ = planted(lost=True)
    weight = standing(organoids.y[:, [NOW], 0], organoids.followed)
    assert weight[~organoids.followed].max() == 0.0
    assert weight.sum() == pytest.approx(N, rel=0.02)
    nobody_lost, _ = planted(lost=False)
    np.testing.assert_allclose(standing(nobody_lost.y[:, [NOW], 0], nobody_lost.followed), 1.0, atol=0.01)


def test_ridge_of_equal_weights_is_ridge():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(50, 3)), rng.normal(size=(50, 2))
    z = (x - x.mean(0)) / x.std(0)
    w = np.linalg.solve(z.T @ z + np.eye(3), z.T @ (y - y.mean(0)))
    np.testing.assert_allclose(ridge(x, y, np.full(50, 3.0), x), y.mean(0) + z @ w, rtol=1e-9)


def test_r2_is_one_minus_the_share_of_variance():
    organoids, _ = planted(lost=False)
    problem = problem_of(organoids)
    test = np.concatenate([fold.test for fold in problem.folds])
    truth = organoids.y[test, -1]
    exact, mean = Said(truth), Said(np.broadcast_to(truth.mean(0), truth.shape))
    assert interval(Organoid().score(exact, problem)["dose-out/area", "r2"]).value == pytest.approx(1.0)
    assert interval(Organoid().score(mean, problem)["dose-out/death", "r2"]).value == pytest.approx(0.0, abs=1e-9)
    assert variance(np.array([1.0, np.nan, 3.0]), None) == pytest.approx(1.0)
    assert variance(np.array([1.0, np.nan, 3.0]), np.array([3.0, 9.0, 1.0])) == pytest.approx(0.75)


def test_a_lost_track_is_censored_and_teaches_until_then():
    organoids, _ = planted(lost=True)
    lost, kept = int(np.flatnonzero(~organoids.followed)[0]), int(np.flatnonzero(organoids.followed)[0])
    path = path_of(organoids, lost)
    assert int(path.event) == CENSORED
    assert np.isfinite(np.asarray(path.x)[: NOW + 4]).all()
    assert np.isnan(np.asarray(path.x)[NOW + 4 :]).all()
    assert int(path_of(organoids, kept).event) == RUNNING


def test_quick_says_what_it_leaves_out():
    assert Organoid().scope(Setting("quick")) == "quick: 30 nM"
    assert Organoid().scope(Setting()) == ""
