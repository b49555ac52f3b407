from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.support.tiny import SPEC, few, tiny_cohort

from biowm.core.path import take
from biowm.models.candidate import material
from biowm.train.contest import Job, mixture
from biowm.train.contest import contest as hold_out
from biowm.train.horizons import Horizons
from biowm.train.race import Sheet, pool, run_race, score_sheet, weigh
from biowm.train.stages import Stages


def crps(w: np.ndarray, a: np.ndarray, C: np.ndarray) -> float:
    return float(w @ a - 0.5 * w @ C @ w)


def matrices(seed: int, spreads=(0.5, 1.0, 2.0), shifts=(0.3, -0.2, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """Distances to the truth and between three members, each a normal cloud."""
    rng = np.random.default_rng(seed)
    draws = [s + d * rng.normal(size=400) for s, d in zip(shifts, spreads, strict=True)]
    truth = rng.normal(size=200)
    a = np.array([np.abs(x[:, None] - truth).mean() for x in draws])
    C = np.array([[np.abs(x[:, None] - y).mean() for y in draws] for x in draws])
    return a, C


@pytest.mark.parametrize("seed", range(4))
def test_the_pool_is_the_best_point_of_a_fine_grid(seed: int):
    rng = np.random.default_rng(100 + seed)
    a, C = matrices(seed, spreads=rng.uniform(0.3, 1.5, 3), shifts=rng.normal(0, 0.5, 3))
    w = pool(a, C)
    assert w.sum() == pytest.approx(1.0)
    assert ((w == 0) | (w >= 0.05)).all()
    grid = [np.array([i, j, 200 - i - j]) / 200 for i, j in itertools.product(range(201), repeat=2) if i + j <= 200]
    allowed = [g for g in grid if ((g == 0) | (g >= 0.05)).all()]
    best = min(allowed, key=lambda g: crps(g, a, C))
    assert crps(w, a, C) <= crps(best, a, C) + 1e-4
    if (best > 0.06).all():
        np.testing.assert_allclose(w, best, atol=0.011)


def test_a_copy_of_a_member_adds_nothing():
    a, C = matrices(0)
    twice = [0, 1, 2, 2]
    w, doubled = pool(a, C), pool(a[twice], C[np.ix_(twice, twice)])
    assert crps(doubled, a[twice], C[np.ix_(twice, twice)]) == pytest.approx(crps(w, a, C), abs=1e-6)
    np.testing.assert_allclose(doubled[2] + doubled[3], w[2], atol=2e-3)


def test_crumbs_are_swept_up():
    a = np.array([1.0, 1.3, 1.0])
    C = np.array([[1.0, 1.35, 1.05], [1.35, 1.0, 1.35], [1.05, 1.35, 1.0]])
    w = pool(a, C)
    assert ((w == 0) | (w >= 0.05)).all()
    assert w.sum() == pytest.approx(1.0)


def sharp_and_odd(odd: int, subjects: int = 40) -> Sheet:
    """One who is right but for `odd` subjects, and another who is right about these alone."""
    rng = np.random.default_rng(0)
    truth = 0.1 * rng.normal(size=subjects)
    truth[:odd] = 12.0
    draws = [0.1 * rng.normal(size=200), np.full(200, 12.0)]
    to_truth = np.stack([np.abs(x[None] - truth[:, None]).mean(1) for x in draws], axis=1)
    apart = np.array([[np.abs(x[:, None] - y).mean() for y in draws] for x in draws])
    return Sheet(("sharp", "odd"), (False, True), to_truth, np.broadcast_to(apart, (subjects, 2, 2)))


def test_a_few_odd_subjects_buy_no_weight_and_many_do():
    few, many = sharp_and_odd(3), sharp_and_odd(12)
    assert pool(few.to_truth.mean(0), few.apart.mean(0))[1] > 0.05  # what the mean score alone would say
    assert weigh(few).tolist() == [1.0, 0.0]
    assert weigh(many)[1] > 0.1
    assert weigh(many, [1]).tolist() == [0.0, 1.0]


def contest(subjects: int = 300, n: int = 32) -> tuple[list[np.ndarray], np.ndarray, np.ndarray, np.ndarray]:
    """Truths that are normal about 0, and three forecasters: the truth's own law, a shifted and a flat one."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(subjects, 3, 1)).astype(np.float32)
    noise = [rng.normal(size=(subjects, n, 3, 1)).astype(np.float32) for _ in range(3)]
    draws = [noise[0], noise[1] + 2.0, noise[2] * 6.0]
    return draws, truth, np.tile([0, 1, 1], (subjects, 1)), np.arange(subjects)


def test_a_world_equal_to_the_truth_gets_all_the_weight():
    draws, truth, horizon, subject = contest()
    sheet = score_sheet(("true", "shifted", "wide"), (False, True, True), draws, truth, horizon, subject)
    race = run_race(sheet)
    assert race.rows[0].name == "true"
    assert race.weights() == {"true": pytest.approx(1.0)}
    assert race.rules_weight == 0.0
    assert race.best_rule == min(race.rows[1:], key=lambda r: r.crps).name
    assert race.rules_free == (("true", pytest.approx(1.0)),)
    assert race.blend_crps == pytest.approx(race.rows[0].crps)
    best = race.rows[0]
    assert best.low < 1 / np.sqrt(np.pi) < best.high  # the CRPS of a standard normal


def test_who_draws_what_is_no_number_is_last_and_weighs_nothing():
    draws, truth, horizon, subject = contest(60)
    sound = run_race(score_sheet(("a", "b"), (False, True), draws[:2], truth, horizon, subject))
    broken = draws[0].copy()
    broken[0, 0, 0, 0] = np.nan
    names = ("broken", "a", "b")
    race = run_race(score_sheet(names, (False, False, True), [broken, *draws[:2]], truth, horizon, subject))
    assert race.rows[-1].name == "broken"
    assert race.weights() == pytest.approx(sound.weights())
    assert race.blend_crps == pytest.approx(sound.blend_crps)


def test_without_rules_the_rest_share_the_weight_and_the_rules_weight_is_told():
    draws, truth, horizon, subject = contest()
    race = run_race(score_sheet(("rule", "shifted", "wide"), (True, False, False), draws, truth, horizon, subject))
    assert race.rules_weight == pytest.approx(1.0)
    assert race.best_rule == "rule"
    assert {name for name, _ in race.rules_free} <= {"shifted", "wide"}
    assert sum(w for _, w in race.rules_free) == pytest.approx(1.0)


def brute(draws: list[np.ndarray], truth: np.ndarray, at: tuple) -> tuple[np.ndarray, np.ndarray]:
    q, h, d = at
    xs = [x[q, :, h, d].astype(float) for x in draws]
    n = len(xs[0])
    a = np.array([np.abs(x - truth[at]).mean() for x in xs])
    C = np.array([[np.abs(x[:, None] - y).mean() for y in xs] for x in xs])
    np.fill_diagonal(C, np.diag(C) * n / (n - 1))
    return a, C


def test_every_subject_horizon_and_channel_has_the_same_say():
    """Subject 0 is asked twice; horizon 0 once and horizon 1 three times; what was not read is passed over."""
    rng = np.random.default_rng(0)
    draws = [rng.normal(size=(3, 6, 3, 2)).astype(np.float32) for _ in range(2)]
    truth = rng.normal(size=(3, 3, 2)).astype(np.float32)
    truth[1, 2, 0] = np.nan
    truth[2, :, 1] = np.nan
    horizon = np.array([[0, 1, -1], [1, 1, 1], [0, 0, 1]])
    sheet = score_sheet(("a", "b"), (False, True), draws, truth, horizon, np.array([5, 5, 9]), chunk=4)
    assert sheet.to_truth.shape == (2, 2)
    for row, asked in enumerate(([0, 1], [2])):
        cells = []
        for h, d in itertools.product((0, 1), (0, 1)):
            places = [(q, k, d) for q in asked for k in range(3) if horizon[q, k] == h and np.isfinite(truth[q, k, d])]
            if places:
                found = [brute(draws, truth, p) for p in places]
                cells.append([np.mean([f[i] for f in found], axis=0) for i in range(2)])
        np.testing.assert_allclose(sheet.to_truth[row], np.mean([c[0] for c in cells], axis=0), rtol=1e-5)
        np.testing.assert_allclose(sheet.apart[row], np.mean([c[1] for c in cells], axis=0), rtol=1e-5)


def test_subjects_of_one_unit_are_one_row_and_alone_as_before():
    """Unit 7: the mean of its subjects 0 and 2, however often each is asked; units of one subject change no bit."""
    draws, truth, horizon, _ = contest(5, n=6)
    subject = np.array([0, 0, 1, 2, 3])
    by_subject, same, by_unit = (
        score_sheet(("a", "b", "c"), (False, True, True), draws, truth, horizon, subject, unit)
        for unit in (None, np.array([4, 4, 5, 6, 9]), np.array([7, 7, 3, 7, 8]))
    )
    for name in ("to_truth", "apart"):
        rows = getattr(by_subject, name)
        np.testing.assert_array_equal(getattr(same, name), rows)
        np.testing.assert_allclose(getattr(by_unit, name), [rows[1], (rows[0] + rows[2]) / 2, rows[3]], rtol=1e-12)


@pytest.mark.slow
def test_the_contest_hands_on_the_units_of_the_split():
    """Twelve subjects, each a unit or in one of three litters: so many rows has the sheet."""
    paths, horizons = take(tiny_cohort(24, 8), np.arange(12)), Horizons("clock", (1.0, 4.0), "d")
    everyone = material(SPEC, paths, 1.0, 4.0)
    litters = tuple(("cab"[i % 3],) for i in range(12))
    alone, together = (
        hold_out(Job(SPEC, paths, units, horizons, 1.0, 0), few("persistence"), everyone, Stages(None, ""), _quiet)
        for units in (tuple((f"s{i}",) for i in range(12)), litters)
    )
    assert alone.sheet.to_truth.shape == (12, 1)
    assert together.sheet.to_truth.shape == (3, 1)


def _quiet(text: str, share: float) -> None:
    """Progress that nobody watches."""


def test_a_few_odd_units_buy_no_weight_however_many_subjects_they_have():
    """Twelve odd subjects of 40 are evidence; as subjects of one family they are one odd unit."""
    rng = np.random.default_rng(0)
    truth = 0.1 * rng.normal(size=(40, 1, 1))
    truth[:12] = 12.0
    draws = [np.tile(0.1 * rng.normal(size=(1, 200, 1, 1)), (40, 1, 1, 1)), np.full((40, 200, 1, 1), 12.0)]
    who, horizon = np.arange(40), np.zeros((40, 1), int)
    family = np.maximum(who - 11, 0)
    apart, together = (
        score_sheet(("sharp", "odd"), (False, True), draws, truth, horizon, who, unit) for unit in (who, family)
    )
    assert weigh(apart)[1] > 0.1
    assert weigh(together).tolist() == [1.0, 0.0]


def test_intervals_are_over_units():
    to_truth = np.array([[1.0, 2.0], [3.0, 2.0], [2.0, 2.0], [2.0, 2.0]])
    sheet = Sheet(("a", "b"), (False, True), to_truth, np.zeros((4, 2, 2)))
    a, b = sorted(run_race(sheet).rows, key=lambda r: r.name)
    assert a.crps == b.crps == pytest.approx(2.0)
    assert b.low == b.high == pytest.approx(2.0)
    assert a.high - a.crps == pytest.approx(1.96 * to_truth[:, 0].std(ddof=1) / 2)
    one = run_race(Sheet(("a", "b"), (False, True), to_truth[:1], np.zeros((1, 2, 2)))).rows[0]
    assert (one.low, one.high) == (-np.inf, np.inf)


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ({"a": 1.0}, (10, 0, 0)),
        ({"a": 0.5, "b": 0.5}, (5, 5, 0)),
        ({"a": 0.34, "b": 0.33, "c": 0.33}, (4, 3, 3)),
        ({"a": 0.04, "b": 0.76, "c": 0.2}, (0, 8, 2)),
        ({"a": 0.16, "b": 0.16, "c": 0.68}, (2, 1, 7)),
    ],
)
def test_a_mixture_takes_as_many_draws_as_the_weights_ask(weights: dict[str, float], counts: tuple[int, ...]):
    draws = {name: np.full((2, 10, 3, 1), float(i)) for i, name in enumerate("abc")}
    got = mixture(draws, weights)
    assert got.shape == (2, 10, 3, 1)
    found = tuple(int((got[0, :, 0, 0] == i).sum()) for i in range(3))
    assert found == counts
