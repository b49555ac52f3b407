"""The gate `overlap`: schedules that training subjects had, and schedules that nobody had."""

from dataclasses import replace

import equinox as eqx
import numpy as np
import pytest
from tests.support.cohort import Deaf, cohort
from tests.support.decay import SPEC, Decay
from tests.support.sitting import sit, training

from biowm.core.schedule import Entry
from biowm.evaluate.gates import overlap
from biowm.evaluate.tamper import pack
from biowm.safety.overlap import _likely


def given(change):
    """The subjects of the exam, their plans changed."""
    paths, subjects = cohort()
    return eqx.tree_at(lambda p: p.plan, paths, change(paths.plan)), subjects


def tenfold(plan):
    return eqx.tree_at(lambda p: p.dose, plan, 10 * plan.dose)


def another(plan):
    """The same doses of the action that no training subject had."""
    return eqx.tree_at(lambda p: p.card, plan, np.where(plan.card >= 0, 1, -1).astype(np.int32))


def test_schedules_like_those_of_training_pass():
    verdict = overlap.check(sit(Decay(), learned=training()))
    assert verdict.status == "passed", verdict.detail
    found = verdict.evidence.metrics
    assert found["effective_sample_size"]["max"] <= found["training_subjects"]
    first = found["nearest"][0]["alike"]
    assert list(first.values()) == sorted(first.values())
    assert set(first) <= set(training().units)


@pytest.mark.parametrize("change", [tenfold, another])
def test_schedules_that_nobody_had_fail(change):
    verdict = overlap.check(sit(Decay(), given(change), learned=training()))
    assert verdict.status == "failed"
    assert verdict.evidence.metrics["effective_sample_size"]["median"] < 1
    assert verdict.value is not None
    assert verdict.value.high < 0.9


def test_training_subjects_who_had_the_very_schedule_count_whole():
    sat = sit(Decay(), given=(training().paths, training().units), learned=training())
    for row in overlap.check(sat).evidence.metrics["nearest"]:
        assert 1 <= row["effective_sample_size"] <= 40
        if row["from"] < 6:  # asked from one of the stretches that are compared
            assert min(row["alike"].values()) < 0.5


def test_how_far_apart_schedules_are_is_counted_in_spreads_of_training():
    """Rates held for good: the root mean square over both actions of gaps in spreads, one of which is none."""
    paths, doses = training().paths, np.linspace(0.0, 2.0, len(training().units))
    held = pack([[Entry(0, float(dose), 0.0, 90.0)] if dose else [] for dose in doses])
    known = replace(training(), paths=eqx.tree_at(lambda p: p.plan, paths, held))
    own, names = cohort()
    asked = eqx.tree_at(lambda p: p.plan, own, pack([[Entry(0, 0.7, 0.0, 90.0)]] * len(names)))
    like = overlap._likeness(sit(Decay(), (asked, names), learned=known), known, np.array([0]))
    there = np.isfinite(like.distance[0])
    wanted = np.abs(doses - 0.7) / doses.std() / np.sqrt(2)
    np.testing.assert_allclose(like.distance[0][there], wanted[there], rtol=0.02)
    assert there.sum() > 30


def test_how_alike_schedules_are_does_not_depend_on_the_unit_of_the_dose():
    paths = training().paths
    scaled = replace(training(), paths=eqx.tree_at(lambda p: p.plan, paths, tenfold(paths.plan)))
    few = np.arange(4)
    one = overlap._likeness(sit(Decay()), training(), few)
    ten = overlap._likeness(sit(Decay(), given(tenfold)), scaled, few)
    assert (one.distance > 0).any()
    np.testing.assert_allclose(ten.distance, one.distance, rtol=1e-4)


def test_propensity_follows_the_readings_that_treatment_followed():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 1))
    treated = rng.random((400, 1)) < 1 / (1 + np.exp(-2 * z))
    high, low = (_likely(z, treated, np.array([[at]]), np.array([True]))[0] for at in (1.0, -1.0))
    assert high == pytest.approx(1 / (1 + np.exp(-2)), abs=0.05)
    assert low == pytest.approx(1 / (1 + np.exp(2)), abs=0.05)
    not_given = _likely(z, treated, np.array([[1.0]]), np.array([False]))[0]
    assert high + not_given == pytest.approx(1.0)


def test_the_effect_and_its_tipping_points_are_those_of_the_world():
    told = overlap.check(sit(Decay(), learned=training())).evidence.metrics["sensitivity"]
    assert told["channel"] == "x"
    assert told["effect"]["low"] > 0
    assert told["gamma"] > 1
    assert 1 < told["e_value_of_the_nearer_limit"] < told["e_value"]
    deaf = overlap.check(sit(Deaf(), learned=training())).evidence.metrics["sensitivity"]
    assert deaf["effect"]["value"] == 0
    assert (deaf["gamma"], deaf["e_value"]) == (pytest.approx(1.0), 1.0)
    bare = overlap.check(sit(Decay(), given(lambda p: eqx.tree_at(lambda q: q.card, p, np.full_like(p.card, -1))),
                             learned=training()))  # fmt: skip
    assert bare.evidence.metrics["sensitivity"] is None
    assert "no effect to overturn" in bare.detail


def test_without_training_or_actions_it_does_not_apply():
    assert "learned from is not known" in overlap.check(sit(Decay())).detail
    still = overlap.check(sit(Decay(spec=replace(SPEC, actions=())), learned=training()))
    assert (still.status, still.value) == ("not_applicable", None)
    assert "no action" in still.detail
