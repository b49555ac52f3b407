"""Task parpi on planted wells and mice: the rules, the scores of means of replicates, and the ranking of arms."""

from __future__ import annotations

import numpy as np
import pytest

from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks._mice import ARMS, Mouse
from biowm.evaluate.tasks._mice import by_rule as mice_by_rule
from biowm.evaluate.tasks._mice import path_of as path_of_mouse
from biowm.evaluate.tasks._olaparib import DELAYS, Wells, by_rule, folds, path_of
from biowm.evaluate.tasks.parpi import Parpi, Problem, Said, ranked

T = np.array([0.0, 1.0, 3.0, 8.0, 12.0, 20.0])


def planted(spread: float = 0.0) -> Wells:
    """Two lines at two doses; confluence falls by 5 with every schedule, and replicates lie `spread` apart."""
    rows = [(a, d, w, r) for a in (0, 1) for d in (50.0, 100.0) for w in DELAYS for r in (1, 2, 3)]
    line, dose, delay, replicate = (np.array(c) for c in zip(*rows, strict=True))
    late = np.array([DELAYS.index(int(w)) for w in delay])
    y = 40.0 + 2.0 * T[None, :] - 5.0 * late[:, None] + spread * (replicate - 2)[:, None]
    return Wells(line, dose, delay, replicate, np.tile(T, (len(rows), 1)), y)


def problem_of(wells: Wells, mice: tuple[Mouse, ...] = ()) -> Problem:
    return Problem(wells, tuple(folds(wells)), mice, seed=0, draws=10)


def scored(rule: str, wells: Wells) -> dict[tuple[str, str], float]:
    problem = problem_of(wells)
    sums = Parpi().score(Said(tuple(by_rule(rule, wells, fold) for fold in problem.folds)), problem)
    return {key: interval(t).value for key, t in sums.items()}


def test_neighbours_and_the_other_dose_are_exact_where_schedules_lie_on_a_line():
    assert scored("neighbours", planted())["withdrawal-out", "rmse"] == pytest.approx(0.0, abs=1e-9)
    assert scored("other-dose", planted())["withdrawal-out", "rmse"] == pytest.approx(0.0, abs=1e-9)
    assert scored("mean", planted())["withdrawal-out", "rmse"] > 1.0


def test_errors_are_those_of_means_of_replicates_and_the_first_reading_counts_once():
    found = scored("persistence", planted(spread=4.0))
    assert found["withdrawal-out", "rmse"] == pytest.approx(np.sqrt(np.mean((2 * T) ** 2)))
    assert found["withdrawal-out", "rmse_later"] == pytest.approx(np.sqrt(np.mean((2 * T[1:]) ** 2)))
    early = T[T <= 9]
    assert found["withdrawal-out/9d", "rmse"] == pytest.approx(np.sqrt(np.mean((2 * early) ** 2)))


def test_replicates_miss_by_the_standard_error_of_their_mean():
    assert scored("replicates", planted(spread=4.0))["withdrawal-out", "rmse"] == pytest.approx(4.0 / np.sqrt(3))


def test_a_replicate_that_was_not_read_is_left_out_of_both_means():
    wells = planted(spread=4.0)
    wells.y[wells.replicate == 3, 4:] = np.nan
    found = scored("persistence", wells)
    assert found["withdrawal-out", "rmse"] == pytest.approx(np.sqrt(np.mean((2 * T) ** 2)))


def test_the_drug_is_there_until_it_is_withdrawn():
    wells = planted()
    doses = {int(w): path_of(wells, int(np.flatnonzero(wells.delay == w)[0])).plan for w in DELAYS}
    assert np.all(np.asarray(doses[0].card) == -1)
    assert (float(doses[4].dose[0]), float(doses[4].onset[0]), float(doses[4].stop[0])) == (50.0, 0.0, 4.0)
    assert float(doses[100].stop[0]) == 20.0


def mouse(arm: str, k: int, growth: float, dose: float) -> Mouse:
    t = np.arange(0.0, 91.0, 3.0)
    volume = 90.0 * np.exp(growth * np.maximum(t - 16, 0)) - 10.0 + k
    return Mouse(f"{arm}/{k}", arm, t, volume, np.where(np.arange(91) >= 16, dose, 0.0))


def arms(slope: float) -> tuple[Mouse, ...]:
    return tuple(mouse(arm, k, 0.04 - slope * i, 25.0 * i) for i, arm in enumerate(ARMS) for k in range(6))


def rank(mice: tuple[Mouse, ...], said: dict[str, np.ndarray]) -> float:
    problem = problem_of(planted(), mice)
    truth = Parpi().score(Said(mice={m.name: m.size[m.asked] for m in mice}), problem)
    ours = Parpi().score(Said(mice=said), problem)
    sides = ([s[f"mouse-arms/{arm}", "growth"] for arm in ARMS] for s in (ours, truth))
    return ranked(*sides).value


def test_who_knows_doses_ranks_arms_and_who_does_not_ranks_them_the_wrong_way_round():
    mice = arms(0.005)
    assert rank(mice, {m.name: m.size[m.asked] for m in mice}) == pytest.approx(1.0)
    assert rank(mice, dict(mice_by_rule("dose", mice))) == pytest.approx(1.0)
    assert rank(mice, dict(mice_by_rule("trend", mice))) == pytest.approx(-1.0)
    assert rank(mice, dict(mice_by_rule("persistence", mice))) == 0.0


def test_doses_of_a_mouse_are_rates_from_the_day_they_were_given():
    given = mouse("MTD", 0, 0.02, 100.0)
    plan = path_of_mouse(given).plan
    assert (float(plan.dose[0]), float(plan.onset[0]), float(plan.stop[0])) == (100.0, 16.0, 91.0)
    assert given.t[given.origin] == 15.0
    assert given.t[given.asked][-1] == 75.0


def test_quick_and_variants_say_what_they_leave_out():
    assert "without mice" in Parpi().scope(Setting("quick"))
    assert "equations" in Parpi().scope(Setting(variant="equations"))
    assert Parpi().scope(Setting()) == ""
