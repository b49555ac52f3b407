"""The gate `policy-rank`: worlds that order policies as the simulator does, and worlds that do not."""

from dataclasses import replace
from itertools import groupby
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from scipy import stats
from tests.support.cohort import Deaf
from tests.support.decay import SPEC, Decay
from tests.support.sitting import sit

from biowm.core.endpoint import Endpoint
from biowm.core.spec import ActionCard
from biowm.evaluate.exam import Exam
from biowm.evaluate.fresh import Fresh
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


def rules(card, steps=60, seed=0):
    """The policies of a world with one action."""
    read = np.zeros((3, policy_rank.HISTORY, 1))
    start = Mock(spec=Fresh, steps=np.arange(steps + 1.0), cohort=SimpleNamespace(paths=SimpleNamespace(x=read)))
    return policy_rank.policies(replace(SPEC, actions=(card,)), start, seed)


def test_a_switch_is_on_for_its_share_of_any_stretch():
    constant = rules(ActionCard("s", "1", "switch"))[:8]
    for rule, share in zip(constant, np.random.default_rng(0).random(8), strict=True):
        assert set(rule.doses.ravel()) <= {0, 1}
        assert np.abs(np.cumsum(rule.doses) - share * np.arange(1, 61)).max() <= 0.5


def test_cycles_are_on_and_off_for_one_to_four_steps_each():
    lengths = {0.0: set(), 10.0: set()}
    for seed in range(20):
        for rule in rules(SPEC.actions[0], seed=seed)[8:14]:
            runs = [(dose, len(list(run))) for dose, run in groupby(rule.doses[:, 0].tolist())]
            assert len(set(runs[:-1])) == 2  # the last may be cut short
            assert runs[0][0] == 10
            for dose, length in runs[:-1]:
                lengths[dose].add(length)
    assert lengths == {0.0: {1, 2, 3, 4}, 10.0: {1, 2, 3, 4}}


def test_the_return_is_the_higher_the_lower_the_last_reading_of_the_first_target():
    exam = Mock(spec=Exam, scaled=lambda x: (x - 1) / 2)
    last = np.array([[[3.0, 9.0], [1.0, 9.0]], [[-1.0, 9.0], [5.0, 9.0]]])
    np.testing.assert_array_equal(policy_rank._returns(exam, last), [[-1, 0], [1, -2]])
