"""The gate `policy-rank`: worlds that order policies as the simulator does, and worlds that do not."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from tests.support.cohort import Deaf
from tests.support.decay import Decay
from tests.support.sitting import sit

from biowm.core.endpoint import Endpoint
from biowm.evaluate.gates import policy_rank


class Contrary(Decay):
    """Actions take away what they should give."""

    def step(self, state, action, dt, *, key):
        return super().step(state, -action, dt, key=key)

    def impulse(self, state, dose):
        return super().impulse(state, -dose)


def check(world, truth=None):
    return policy_rank.check(replace(sit(world), truth=truth or Decay()))


def test_the_true_world_ranks_as_the_simulator_does():
    verdict = check(Decay())
    assert verdict.status == "passed", verdict.detail
    assert verdict.value is not None
    assert verdict.value.value > 0.97
    returns = verdict.evidence.metrics["mean_returns"]
    assert len(returns) == 20
    told, true = (np.array([r[side] for r in returns.values()]) for side in ("world", "truth"))
    np.testing.assert_allclose(told, true, atol=0.01 * np.ptp(true))
    assert np.ptp(true) > 10


@pytest.mark.slow
@pytest.mark.parametrize(("world", "most"), [(Deaf(), 0.7), (Contrary(), -0.5)])
def test_worlds_that_are_deaf_or_turned_round_fail(world, most):
    verdict = check(world)
    assert verdict.status == "failed"
    assert verdict.value is not None
    assert verdict.value.value < most


def test_rank_correlation_is_spearmans_and_resamples_subjects():
    rng = np.random.default_rng(0)
    true = np.arange(20.0)[:, None] + 5 * rng.normal(size=(20, 30))
    told = true + 20 * rng.normal(size=(20, 30))
    found = policy_rank.rank_correlation(told, true, 0)
    assert found.value == pytest.approx(stats.spearmanr(told.mean(1), true.mean(1)).statistic)
    assert found.low < found.value < 1
    assert found.high - found.low > 0.02
    same = policy_rank.rank_correlation(np.zeros((20, 30)), true, 0)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_thresholds_treat_those_on_their_side():
    rule = policy_rank.Rule("r", np.array([[1.0, 2.0], [3.0, 4.0]]), 5.0, above=False)
    np.testing.assert_array_equal(rule.give(np.array([4.0, 6.0]), 1), [[3, 4], [0, 0]])
    np.testing.assert_array_equal(replace(rule, level=None).give(np.array([4.0, 6.0]), 0), [[1, 2], [1, 2]])


def test_where_nothing_can_be_ranked_it_does_not_apply():
    assert "no simulator" in policy_rank.check(sit(Decay())).detail
    assert "nothing to rank" in check(Decay(), Deaf()).detail

    class Oracle(Endpoint):
        spec, spacing = Decay().spec, 1.0

        def answer(self, paths, queries, plans, *, seed, draws):
            raise AssertionError

    verdict = check(Oracle())
    assert (verdict.status, verdict.value) == ("not_applicable", None)
    assert "no transition" in verdict.detail
