"""The gate `constraints`: what a channel can never be is counted, and never passed."""

from dataclasses import replace

import numpy as np
import pytest
from tests.support.cohort import cohort
from tests.support.decay import SPEC, Decay
from tests.support.sitting import Told, bands, sit

from biowm.core.spec import Channel, WorldSpec
from biowm.evaluate.gates import constraints
from biowm.evaluate.gates.constraints import violations

PAIRED = WorldSpec(
    name="pressures",
    clock="d",
    channels=(
        Channel("lower", "mmHg", low=0.0, high=300.0, below="upper"),
        Channel("upper", "mmHg", low=0.0, high=300.0),
        Channel("grade", "", link="ordinal", low=0.0, high=4.0, resolution=1.0),
        Channel("level", "mg/L", link="log"),
    ),
)
LIMITED = replace(SPEC, channels=(replace(SPEC.channels[0], low=-2.0, high=99.0),))


@pytest.mark.parametrize(
    ("state", "broken"),
    [
        ((80.0, 120.0, 2.0, 1.0), set()),
        ((120.0, 120.0, 0.0, 0.0), set()),
        ((130.0, 120.0, 2.0, 1.0), {"lower above upper"}),
        ((-1.0, 120.0, 2.0, 1.0), {"lower below 0"}),
        ((80.0, 301.0, 2.0, 1.0), {"upper above 300"}),
        ((80.0, 120.0, 2.4, 1.0), {"grade on no level"}),
        ((80.0, 120.0, 5.0, 1.0), {"grade above 4"}),
        ((80.0, 120.0, 2.0, -0.1), {"level below 0"}),
        ((80.0, 120.0, np.nan, 1.0), {"not finite"}),
        ((80.0, np.inf, 2.0, 1.0), {"not finite", "upper above 300"}),
    ],
)
def test_every_kind_of_violation_is_told_by_name(state, broken):
    found = violations(PAIRED, np.array([(80.0, 120.0, 2.0, 1.0), state]))
    assert {name for name, which in found.items() if which[1]} == broken
    assert not any(which[0] for which in found.values())


def test_levels_are_those_of_the_resolution_counted_from_the_lowest():
    halves = WorldSpec("pain", "d", (Channel("pain", "", link="ordinal", low=1.0, high=5.0, resolution=0.5),))
    found = violations(halves, np.array([[1.0], [1.5], [4.5], [1.25], [4.9]]))
    assert found["pain on no level"].tolist() == [False, False, False, True, True]


def test_an_order_is_kept_up_to_rounding():
    just, more = (120.0 * (1 + share * constraints._ROUNDING) for share in (0.5, 2.0))
    found = violations(PAIRED, np.array([[just, 120.0, 2.0, 1.0], [more, 120.0, 2.0, 1.0]]))
    assert found["lower above upper"].tolist() == [False, True]


def test_a_mean_of_levels_need_not_be_a_level():
    assert "grade on no level" not in violations(PAIRED, np.array([[80.0, 120.0, 2.4, 1.0]]), levels=False)


def test_a_world_within_its_limits_passes_and_the_limits_are_counted():
    free = constraints.check(sit(Decay(), cohort(n=10)))
    assert free.status == "passed"
    assert "no limit is declared" in free.detail
    kept = constraints.check(sit(Decay(spec=LIMITED)))
    assert kept.status == "passed"
    assert "all 2 limits" in kept.detail
    assert kept.value is not None
    assert (kept.value.value, kept.value.low) == (0.0, 0.0)
    assert 50 < kept.value.high < 150  # forty subjects cannot show less
    wide = constraints.check(sit(Decay(spec=LIMITED), promised=replace(bands(), joint=20 * bands().joint)))
    assert wide.status == "passed"  # bands end where the channel ends


class Rough(Told):
    """Answers with so much noise that single draws break a limit, while their mean does not."""

    spec = LIMITED

    def answer(self, paths, queries, plans, *, seed, draws):
        said = super().answer(paths, queries, plans, seed=seed, draws=draws)
        return np.clip(said, -1.0, 9.0) + 3.0 * np.random.default_rng(seed + 1).normal(size=said.shape)


def test_samples_that_break_a_limit_fail_though_the_mean_path_keeps_it():
    verdict = constraints.check(sit(Rough()))
    assert verdict.status == "failed"
    assert "x below -2" in verdict.detail
    found = verdict.evidence.metrics["per_1000_states"]
    assert found["samples"]["any"]["value"] > 1
    assert found["mean path"]["any"]["value"] == 0


class Lost(Told):
    """The answers about subjects who began above 4 are no numbers."""

    def answer(self, paths, queries, plans, *, seed, draws):
        said = super().answer(paths, queries, plans, seed=seed, draws=draws)
        began = np.asarray(paths.x)[queries.subject, 0, 0]
        return np.where((began > 4)[:, None, None, None], np.nan, said)


def test_answers_that_are_no_numbers_fail_on_every_count():
    given = cohort(n=10)
    lost = (given[0].x[:, 0, 0] > 4).sum()
    verdict = constraints.check(sit(Lost(), given))
    assert verdict.status == "failed"
    found = verdict.evidence.metrics["per_1000_states"]
    shares = {kind: counted["any"]["value"] for kind, counted in found.items()}
    assert shares == pytest.approx(dict.fromkeys(("samples", "mean path", "bands"), 100.0 * lost))
