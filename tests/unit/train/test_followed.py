"""Subjects who are lost: scores speak for them, too, as far as what was read before tells of the loss."""

from __future__ import annotations

import numpy as np
import pytest

from biowm.core.path import CENSORED, ENDED, RUNNING, Path, stack
from biowm.core.schedule import schedule
from biowm.train.followed import MOST, staying
from biowm.train.horizons import Horizons, ask
from biowm.train.race import score_sheet

TIMES = 8


def cohort(n: int, seed: int = 0) -> tuple[Path, Path]:
    """Log sizes that drift by .1 + .15 of themselves a step: all of it, and with the large lost early."""
    rng = np.random.default_rng(seed)
    log = np.zeros((n, TIMES))
    log[:, 0] = rng.normal(0, 0.5, n)
    for k in range(1, TIMES):
        log[:, k] = log[:, k - 1] + 0.1 + 0.15 * log[:, k - 1] + 0.1 * rng.normal(size=n)
    gone = rng.random((n, TIMES - 1)) < 1 / (1 + np.exp(-(2.0 * log[:, :-1] - 3.0)))
    length = np.where(gone.any(1), np.argmax(gone, axis=1) + 1, TIMES)
    t = np.arange(TIMES, dtype=np.float32)
    whole, cut = [], []
    for row, last in zip(np.exp(log).astype(np.float32), length, strict=True):
        event = CENSORED if last < TIMES else RUNNING
        whole.append(Path(t, row[:, None], schedule([]), np.empty(0, np.float32), np.asarray(RUNNING)))
        cut.append(Path(t[:last], row[:last, None], schedule([]), np.empty(0, np.float32), np.asarray(event)))
    return stack(whole), stack(cut)


def change(paths: Path, weighted: bool) -> float:
    """The mean change of the logarithm from the first reading to the last but one or more (lead 5)."""
    everyone = np.arange(paths.t.shape[0])
    asked = ask(paths, everyone, Horizons("readings", (1.0, 5.0), "d", "first"), origins=1, targets=(0,))
    first = np.log(np.asarray(paths.x)[asked.queries.subject, asked.queries.origin, 0])
    moved = np.log(asked.truth[:, 4, 0]) - first if asked.truth.shape[1] > 4 else np.empty(0)
    read = np.isfinite(moved)
    weights = asked.stands[:, 4] if weighted and asked.stands is not None else np.ones(len(moved))
    return float(np.average(moved[read], weights=weights[read]))


def test_weights_undo_what_the_loss_of_the_large_does_to_a_mean():
    whole, cut = cohort(3000)
    truth, survivors, weighted = change(whole, False), change(cut, False), change(cut, True)
    assert abs(survivors - truth) > 0.1
    assert abs(weighted - truth) < 0.3 * abs(survivors - truth)


def test_nobody_stands_for_others_where_nobody_was_lost():
    whole, cut = cohort(50)
    everyone = np.arange(50)
    horizons = Horizons("readings", (1.0, 5.0), "d")
    assert ask(whole, everyone, horizons, origins=3, targets=(0,)).stands is None
    ended = Path(cut.t, cut.x, cut.plan, cut.traits, np.where(np.asarray(cut.event) == CENSORED, ENDED, RUNNING))
    assert ask(ended, everyone, horizons, origins=3, targets=(0,)).stands is None


def test_a_loss_without_a_sign_is_weighted_by_its_rate():
    """Few losses are not told apart: with hazard h after every reading, k steps on stand for (1 - h)^-k."""
    t = np.arange(5, dtype=np.float32)
    rng = np.random.default_rng(0)
    paths = [(5, RUNNING)] * 8 + [(2, CENSORED)] * 4
    sizes = [rng.lognormal(size=(k, 1)).astype(np.float32) for k, _ in paths]
    none, empty = schedule([]), np.empty(0, np.float32)
    made = stack([Path(t[:k], x, none, empty, np.asarray(e)) for (k, e), x in zip(paths, sizes, strict=True)])
    seen = np.isfinite(np.asarray(made.x)).any(-1)
    stays = staying(made, seen, (0,))
    assert stays is not None
    rate = 4 / (8 * 4 + 4 * 2)
    np.testing.assert_allclose(stays[0, :5], (1 - rate) ** np.arange(5))
    asked = ask(made, np.arange(12), Horizons("readings", (1.0, 3.0), "d", "first"), origins=1, targets=(0,))
    assert asked.stands is not None
    np.testing.assert_allclose(asked.stands[0, :3], (1 - rate) ** -np.arange(1.0, 4.0))
    assert asked.stands.max() <= MOST


def test_the_race_is_scored_for_the_lost_too():
    """One entrant is right for who stays, one for who is like the lost: that one wins once answers are weighted."""
    truth = np.zeros((4, 1, 1))
    horizon, subject = np.zeros((4, 1), int), np.arange(4)
    off = {"stays": [0.0, 0.0, 0.0, 1.0], "lost": [0.5, 0.5, 0.5, 0.0]}
    draws = [np.repeat(np.array(x)[:, None, None, None], 2, axis=1) for x in off.values()]
    names = tuple(off)
    plain = score_sheet(names, (False, False), draws, truth, horizon, subject)
    np.testing.assert_allclose(plain.alone().mean(0), [0.25, 0.375])
    ones = score_sheet(names, (False, False), draws, truth, horizon, subject, stands=np.ones((4, 1)))
    np.testing.assert_allclose(ones.alone(), plain.alone())
    stands = np.array([[1.0], [1.0], [1.0], [5.0]])
    weighted = score_sheet(names, (False, False), draws, truth, horizon, subject, stands=stands)
    np.testing.assert_allclose(weighted.alone().mean(0), [5 / 8, 1.5 / 8])


@pytest.mark.parametrize("seed", [1, 2])
def test_every_answer_stands_for_itself_at_least(seed: int):
    cut = cohort(200, seed)[1]
    asked = ask(cut, np.arange(200), Horizons("readings", (1.0, 3.0), "d"), origins=4, targets=(0,))
    assert asked.stands is not None
    assert (asked.stands >= 1).all()
    assert np.isfinite(asked.stands).all()
