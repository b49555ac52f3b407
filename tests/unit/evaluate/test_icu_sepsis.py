"""Task `icu-sepsis`: what a promise is made of, and the whole task on few episodes."""

from __future__ import annotations

import numpy as np
import pytest

from biowm.core.tabular import Mdp
from biowm.evaluate import bench
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks import icu_sepsis
from biowm.evaluate.tasks.icu_sepsis import _planned
from biowm.models.tabular import Counts


def test_a_promise_comes_from_the_half_that_did_not_plan():
    """One state, two actions; each half believes in another one."""

    def counts(name: float) -> Counts:
        return Counts(np.zeros(1, int), np.zeros(1, int), np.zeros((1, 3)), np.full(3, name), 1, 2)

    chances = {0.0: (0.9, 0.5), 1.0: (0.8, 0.4), 2.0: (0.1, 0.7)}  # of the whole and of each half

    def recipe(counts: Counts) -> tuple[Mdp, np.ndarray]:
        good = np.array(chances[float(counts.first[0])])
        rows = np.stack([0 * good, good, 1 - good], axis=1)
        policy = (good == good.max())[None].astype(float)
        start, reward = np.eye(3)[:2]
        return Mdp(np.zeros(2, int), np.arange(2), rows, rows[:1], start, reward, 2), policy

    planned = _planned(recipe, counts(0.0), counts(1.0), counts(2.0))
    np.testing.assert_array_equal(planned.policy, [[1, 0]])
    assert planned.own == pytest.approx(0.9)
    assert planned.promise == pytest.approx((0.1 + 0.4) / 2)


@pytest.mark.slow
def test_the_whole_task_on_few_episodes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(icu_sepsis, "SIZES", {"1k": 300, "10k": 3000})
    result = bench.run("icu-sepsis", Setting("quick"), seeds=1)
    found = {(r.name, r.split, r.metric): r.value for r in result.rows}
    for split in ("1k", "10k"):
        assert found["random", split, "value"] == pytest.approx(0.7801, abs=5e-5)
        assert found["clinician", split, "value"] == pytest.approx(0.7818, abs=5e-5)
        assert found["optimal", split, "value"] == pytest.approx(0.8751, abs=5e-5)
        assert found["likelihood", split, "overpromise_own"] > 0.1
        assert found["world", split, "overpromise"] < 0.02
        assert found["world", split, "value"] == found["world", split, "worst_value"]
    assert found["world", "10k", "value"] > found["likelihood", "10k", "value"]
    assert found["oracle", "10k", "value"] > 0.79
    assert ("clinician", "1k", "overpromise") not in found
