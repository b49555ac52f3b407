"""Task icu on a small made-up table: what an hour holds, what is scored, what the rules say, what is known when."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from biowm.evaluate.metrics import interval
from biowm.evaluate.tamper import unpack
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks import _stays
from biowm.evaluate.tasks._stays import AHEAD, ORIGINS, PARAMETERS, RULES, Stays, foretell, read
from biowm.evaluate.tasks.icu import Icu, Problem, _by_rule, _held, _ventilation, paths_of

CHANNELS = list(PARAMETERS)


def table(stays: int = 3) -> list[tuple[int, str, str, float]]:
    """Stays with a heart rate and a cuff pressure every hour, and a few things besides."""
    rows = [(100 + s, f"{h:02d}:10", p, v + h) for s in range(stays) for h in range(48)
            for p, v in (("HR", 60.0 + s), ("NISysABP", 100.0))]  # fmt: skip
    return [
        *rows, (100, "05:40", "HR", 99.0), (100, "05:50", "HR", -1.0), (100, "05:30", "SysABP", 140.0),
        (100, "07:10", "Urine", 30.0), (100, "07:50", "Urine", 40.0), (100, "48:00", "HR", 50.0),
        (100, "03:00", "MechVent", 1.0), (100, "07:00", "MechVent", 1.0), (100, "20:00", "MechVent", 1.0),
        (999, "00:10", "HR", 80.0),
    ]  # fmt: skip


@pytest.fixture
def stays(tmp_path: Path) -> Stays:
    file = tmp_path / "long.csv"
    pd.DataFrame(table(), columns=["RecordID", "Time", "Parameter", "Value"]).to_csv(file, index=False)
    return read(file)


def test_an_hour_holds_its_last_plausible_reading_urine_its_sum_and_the_artery_overrules_the_cuff(stays: Stays):
    assert set(stays.names) == {"100", "101", "102"}  # 999 has too few
    own = stays.x[stays.names.index("100")]
    assert own.shape == (48, 11)
    assert own[5, CHANNELS.index("hr")] == 99.0
    assert own[5, CHANNELS.index("systolic")] == 140.0
    assert own[6, CHANNELS.index("systolic")] == 106.0
    assert own[7, CHANNELS.index("urine")] == 70.0
    assert np.isnan(own[8, CHANNELS.index("urine")])
    assert own[47, 0] == 107.0


def test_the_protocol_looks_at_the_first_in_the_order_of_seed_0(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "long.csv"
    pd.DataFrame(table(8), columns=["RecordID", "Time", "Parameter", "Value"]).to_csv(file, index=False)
    monkeypatch.setattr(_stays, "FIRST", 4)
    order = np.random.default_rng(0).permutation([*range(100, 108), 999])
    assert read(file).names == tuple(str(name) for name in order[:4] if name != 999)
    assert read(file, everybody=True).names == tuple(str(name) for name in order if name != 999)


def made_up(n: int, seed: int) -> Stays:
    """Stays whose heart rate goes its own way, whose other channels are read now and then, temperature never."""
    rng = np.random.default_rng(seed)
    x = np.exp(0.1 * rng.normal(size=(n, 48, 11)).cumsum(1) + 3)
    x[rng.uniform(size=x.shape) < 0.5] = np.nan
    x[: n // 2, :30, 5] = np.nan
    return Stays(tuple(f"{seed}/{i}" for i in range(n)), x, rng.uniform(size=(n, 48)) < 0.2)


def test_scored_is_what_was_read_of_channels_that_had_been_read():
    stays = made_up(6, 0)
    truth = stays.truth
    assert truth.shape == (6, len(ORIGINS), AHEAD, 11)
    assert np.isnan(truth[:3, :2, :, 5]).all()  # first read after 30 h, so not asked at 12 and 20 h
    assert np.isfinite(truth[3:, :2, :, 5]).any()
    np.testing.assert_array_equal(truth[4, 1, 2, 0], stays.x[4, ORIGINS[1] + 3, 0])


@pytest.mark.parametrize("rule", RULES)
def test_rules_look_at_nothing_after_the_origin(rule: str):
    train, test = made_up(40, 1), made_up(5, 2)
    later = test.x.copy()
    later[:, ORIGINS[0] + 1 :] *= 2
    vent = test.ventilated.copy()
    vent[:, ORIGINS[0] + 1 :] = ~vent[:, ORIGINS[0] + 1 :]
    said, again = (foretell(rule, train, s) for s in (test, Stays(test.names, later, vent)))
    assert said.shape == (5, len(ORIGINS), AHEAD, 11)
    np.testing.assert_array_equal(said[:, 0], again[:, 0])
    assert not np.array_equal(said[:, 1:], again[:, 1:])


def test_ridge_finds_a_law_that_it_can_write_and_knn_the_twin():
    rng = np.random.default_rng(3)
    start = rng.normal(size=(60, 1, 11))
    x = 50 + start * 0.98 ** np.arange(48)[None, :, None]
    train, test = (Stays(tuple(map(str, range(len(rows)))), rows, np.zeros((len(rows), 48), bool)) for rows in (x, x))
    for rule in ("ridge", "ridge-var"):
        np.testing.assert_allclose(foretell(rule, train, test), test.truth, atol=0.03)
    held = np.abs(foretell("persistence", train, test) - test.truth).mean()
    assert np.abs(foretell("knn", train, test) - test.truth).mean() < held


def test_ventilation_is_bridged_over_six_hours_and_held_at_the_origin_where_it_was_noted_lately():
    noted = np.zeros(48, bool)
    noted[[3, 7, 20, 40]] = True
    assert [(e.onset, e.stop) for e in _ventilation(noted)] == [(3.0, 8.0), (20.0, 21.0), (40.0, 41.0)]
    stays = Stays(("a",), np.full((1, 48, 11), 20.0), noted[None])
    assert [(e.onset, e.stop) for e in _held(stays, 12)[0]] == [(3.0, 48.0)]
    assert [(e.onset, e.stop) for e in _held(stays, 28)[0]] == [(3.0, 8.0), (20.0, 21.0)]
    paths = paths_of(stays)
    assert paths.x.shape == (1, 48, 11)
    assert [(e.onset, e.stop) for e in unpack(paths.plan)[0]] == [(3.0, 8.0), (20.0, 21.0), (40.0, 41.0)]


def test_scores_are_relative_to_the_last_reading_and_count_states_that_cannot_be():
    problem = Problem(made_up(60, 4), made_up(20, 5), 0, 1)
    task = Icu()
    answers = {rule: _by_rule(problem, rule) for rule in ("persistence", "ridge")}
    pooled = {
        (rule, "baseline", *key): counted
        for rule, said in answers.items()
        for key, counted in task.score(said, problem).items()
    }
    rows = {(r.name, r.split): r.value for r in task.beside(pooled, Setting()) if r.metric == "mae_ratio"}
    assert rows["persistence", "6h"] == 1.0
    truth = problem.test.truth
    errors = [np.nanmean(np.abs(foretell(rule, problem.train, problem.test) - truth)[:, :, 5], (0, 1))
              for rule in ("ridge", "persistence")]  # fmt: skip
    assert rows["ridge", "6h"] == pytest.approx(np.exp(np.log(errors[0] / errors[1]).mean()))
    held = foretell("persistence", problem.train, problem.test)[:, :, 5]
    pressure = [held[..., CHANNELS.index(name)] for name in ("diastolic", "mean", "systolic")]
    wrong = (pressure[0] > pressure[1]) | (pressure[1] > pressure[2]) | (held[..., 6] > 15) | (held[..., 6] < 3)
    wrong |= held[..., CHANNELS.index("fio2")] > 1
    found = interval(pooled["persistence", "baseline", "6h", "violations_per_1000"]).value
    assert found >= 1000 * wrong.mean() - 1e-9
    inside = interval(pooled["persistence", "baseline", "12h", "coverage90"]).value
    assert 0.8 < inside < 0.97
