"""Task `tumour-cf`: what is asked, how it is scored, and the whole of it on a handful of patients."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import Mock

import jax
import numpy as np
import pytest

from biowm.core.path import Path
from biowm.core.schedule import schedule
from biowm.evaluate import bench
from biowm.evaluate.metrics import average, interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks import tumour_cf
from biowm.evaluate.tasks.tumour_cf import RULES, STRETCHES, Problem, Size, Told, Trial, TumourCf, make
from biowm.models.scale import fit_scale
from biowm.train.calibrate import Calibration
from biowm.train.fitted import Fitted
from biowm.worlds.patient.cohort import daily
from biowm.worlds.patient.tumour import DEATH, SPEC, Tumour

LENGTHS = np.array([b - a for a, b in STRETCHES])
SHARES = LENGTHS / np.array([3, 3, 3, 2, 2, 2])  # of each of the patients who are there


def by_hand() -> tuple[Problem, Told, np.ndarray]:
    """Three patients, of whom the last is gone after the third question; and the error of each question in %."""
    rng = np.random.default_rng(0)
    x = np.full((3, 60, 1), 10.0, np.float32)
    origin = np.tile([a for a, _ in STRETCHES], (3, 1))
    x[2, STRETCHES[3][0] :] = np.nan
    nobody = jax.tree.map(lambda leaf: np.stack([leaf] * 3), schedule([]))
    paths = Path(np.tile(np.arange(60, dtype=np.float32), (3, 1)), x, nobody, np.zeros((3, 3)), np.zeros(3, np.int32))
    truth = rng.uniform(5, 50, (3, 6, 21, 5))
    given = np.zeros((3, 6, 21, 5, 2), bool)
    trial = Trial("gamma2", jax.random.key(0), paths, paths, origin, given, truth)
    error = rng.uniform(0.1, 2, (3, 6))
    told = 100 / DEATH * truth + error[:, :, None, None]
    wide = np.where(np.arange(6) < 3, 9.0, 0.0)[None, :, None, None]
    problem = Problem((trial,), Tumour(), True, 7, 1)
    return problem, Told(0, told, told - wide, told + wide, np.abs(told - 100 / DEATH * truth)), error


def test_scores_are_the_mean_over_days_of_the_mean_over_patients():
    problem, told, error = by_hand()
    there = np.ones((3, 6), bool)
    there[2, 3:] = False
    daily = np.where(there, error**2, 0).sum(0) / there.sum(0)
    scores = TumourCf().score(told, problem)
    one = interval(scores["gamma2/one-step", "nrmse"])
    assert one.value == pytest.approx(np.sqrt((LENGTHS * daily).sum() / 59))
    assert one.n == there.sum()
    assert one.low < one.value < one.high
    for split in ("random/tau2", "sliding/tau6"):
        got = interval(scores[f"gamma2/{split}", "nrmse"])
        assert got.value == pytest.approx(np.sqrt((LENGTHS * daily)[1:].sum() / 58))
        assert got.n == there[:, 1:].sum()
    assert {m for _, m in scores} == {"nrmse", "crps", "coverage90", "regret"}
    assert {s for s, _ in scores} == {"gamma2/one-step"} | {
        f"gamma2/{k}/tau{h}" for k in ("random", "sliding") for h in range(2, 7)
    }
    assert interval(scores["gamma2/random/tau3", "regret"]).value == pytest.approx(0, abs=1e-6)  # the order is right
    covered = [SHARES[:3].sum() / SHARES.sum()] * 2 + [1.0]  # by patient, each with its own days
    assert interval(scores["gamma2/one-step", "coverage90"]).value == pytest.approx(np.mean(covered))


def test_regret_is_what_the_wrong_choice_costs():
    problem, told, _ = by_hand()
    truth = 100 / DEATH * problem.trials[0].truth[..., [1, 0, 5, 10], 0]
    worst = replace(told, mean=-told.mean)  # what looks best is the worst (errors are the same for all four)
    loss = (truth.max(-1) - truth.min(-1))[[0, 1]]  # the patients who are there on all days
    scores = TumourCf().score(worst, problem)["gamma2/one-step", "regret"]
    np.testing.assert_allclose((scores.total / scores.count)[:2], (loss * SHARES).sum(1) / SHARES.sum(), rtol=1e-6)


def test_questions_are_the_protocols():
    problem = make(0, None, Size((1,), 20, 8, 3))
    trial = problem.trials[0]
    assert all(((a <= o) & (o < b)).all() for o, (a, b) in zip(trial.origin.T, STRETCHES, strict=True))
    sliding = trial.given[:, :, :10]
    assert (sliding.sum((3, 4)) == 1).all()
    assert (sliding.sum(2) == 1).all()
    first = trial.given[:, :, [1, 0, 5, 10], 0]
    np.testing.assert_array_equal(first[0, 0], [[0, 0], [1, 0], [0, 1], [1, 1]])
    assert 0.45 < trial.given[:, :, 11:].mean() < 0.55
    plans = tumour_cf._asked(trial)
    day = trial.origin[3, 4] + np.arange(5)
    for p in (0, 10, 15):
        shown = (plans.onset[3, 4, p][:, None] <= day) & (day < plans.stop[3, 4, p][:, None])
        for card in (0, 1):
            np.testing.assert_array_equal(
                (shown & (plans.card[3, 4, p] == card)[:, None]).any(0), trial.given[3, 4, p, :, card]
            )


def test_hidden_doctors_treat_who_responds_and_nobody_is_told():
    told, hidden = (make(0, variant, Size((0,), 400, 8, 3)) for variant in (None, "hidden"))
    assert hidden.spec.traits == ()
    assert hidden.trials[0].train.traits.shape == (400, 0)
    assert not hidden.plain
    kills = []
    for trial in (told.trials[0], hidden.trials[0]):
        treated = daily(trial.train.plan, 1)[:, 0, 1]  # with radio, on the first day
        kills.append(1 - (trial.train.x[treated, 1, 0] / trial.train.x[treated, 0, 0]).mean())
    assert kills[1] > kills[0] + 0.01


def test_bounds_hold_what_a_hidden_confounder_could_hide():
    problem, told, _ = by_hand()
    truth = 100 / DEATH * problem.trials[0].truth
    off = replace(told, mean=truth + 2, low=truth + 1, high=truth + 3, bounds=(truth - 1, truth + 5))
    scores = TumourCf().score(off, problem)
    assert interval(scores["gamma2/one-step", "coverage90"]).value == 0
    assert interval(scores["gamma2/one-step", "bounds90"]).value == 1


def test_the_whole_task_on_a_handful(monkeypatch):
    """With the filter in the place of every learned world: all rows are there, and nobody differs from the floor."""

    def filtered(spec, paths, horizons, *, thorough, seed, halves, progress) -> Fitted:
        ones = Calibration(0.9, 20, (20,) * 5, horizons.values, np.ones((5, 1)), np.ones(5), fit_scale(SPEC, paths.x))
        fitted, world = Mock(spec=Fitted), Tumour(ends=False)
        fitted.world = fitted.rules_free = world
        fitted.members, fitted.calibration = dict.fromkeys(RULES, world), ones
        fitted.rules_calibration = dict.fromkeys((*RULES, "world:no-rules"), ones)
        return fitted

    monkeypatch.setattr(tumour_cf, "fit_paths", filtered)
    monkeypatch.setitem(tumour_cf.SIZES, "quick", Size((1,), 20, 8, 3))
    result = bench.run("tumour-cf", Setting("quick"), seeds=1)
    found = {(r.name, r.split, r.metric): r for r in result.rows}
    for name in (*RULES, "world", "world:no-rules", "bayes", "oracle"):
        assert np.isfinite(found[name, "gamma1/random/tau6", "nrmse"].value)
    assert found["world", "gamma1/one-step", "nrmse_ratio"].value == pytest.approx(1)
    assert found["published:CRN", "gamma1/one-step", "nrmse"].value == 0.788
    assert ("published:CRN", "gamma0/one-step", "nrmse") not in found
    assert found["oracle", "gamma1/one-step", "nrmse"].value < found["bayes", "gamma1/one-step", "nrmse"].value
    assert "quick" in result.version
    monkeypatch.setattr(tumour_cf, "_typeless", lambda paths: paths)  # the filter has to know
    hidden = bench.run("tumour-cf", Setting("quick", "hidden"), seeds=1)
    rows = {(r.name, r.split, r.metric): r.value for r in hidden.rows}
    assert rows["world", "gamma1/random/tau6", "bounds90"] >= rows["world", "gamma1/random/tau6", "coverage90"]
    assert ("bayes", "gamma1/one-step", "nrmse") not in rows


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gamma", "one", "last"),
    [
        pytest.param(
            0, 0.640, 0.344,
            marks=pytest.mark.xfail(
                reason="gamma 0 comes out a fifth lower than that implementation's, why is open (docs/findings.md)"
            ),
        ),
        (1, 0.574, 0.232),
        (4, 0.541, 0.162),
    ],
)  # fmt: skip
def test_floors_are_those_measured_before(gamma, one, last):
    """An independent implementation of the filter gave these (BENCHMARKS); ten percent, or the interval."""
    parts = {"one-step": [], "random/tau6": []}
    for seed in range(5):
        problem = make(seed, None, Size((gamma,), 20, 800, 21))
        scores = TumourCf().score(tumour_cf._bayes(problem, 0), problem)
        for split, tallies in parts.items():
            tallies.append(scores[f"gamma{gamma}/{split}", "nrmse"])
    for expected, tallies in zip((one, last), parts.values(), strict=True):
        found = interval(average(tallies))
        assert 0.9 * expected < found.value < 1.1 * expected or found.low < expected < found.high
