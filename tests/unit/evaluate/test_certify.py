"""The exam and its gates on worlds whose faults are known."""

import io
from dataclasses import asdict, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from tests.support.cohort import Deaf, Still, cohort, promise
from tests.support.decay import Decay
from tests.support.sitting import sit, training

from biowm.core import registry
from biowm.evaluate.baselines import BASELINES, with_baselines
from biowm.evaluate.certify import _rows, certify
from biowm.evaluate.exam import Exam
from biowm.evaluate.gates import action, calibration, skill, state
from biowm.train.horizons import Horizons

HORIZONS = Horizons("clock", (1.0, 3.0, 6.0), "d")


@pytest.fixture(scope="module")
def paths():
    return cohort()


@pytest.fixture(scope="module")
def others():
    return cohort(seed=1)[0]


@pytest.fixture(scope="module")
def bands(others):
    return promise(Decay(), others, HORIZONS)


@pytest.fixture
def exam(paths, bands):
    def sit(world=None, rules=None, given=None, promised=None):
        readings, subjects = given or paths
        rules = {"persistence": Still(sigma=0.5)} if rules is None else rules
        promises = dict.fromkeys(rules, bands) | {"world": promised or bands}
        without = dict.fromkeys(set(BASELINES) - set(rules), "a toy exam")
        return Exam(world or Decay(), rules, readings, subjects, HORIZONS, promises, draws=60, without=without)

    return sit


def test_readings_are_tallied_at_their_own_horizon_by_subject(exam):
    sat = exam()
    marks = sat.by_horizon("mae", sat.asked.horizon[..., None] * 1.0)
    for h, found in enumerate(marks):
        assert len(found.units) == 40
        np.testing.assert_allclose(found.total / found.count, h)
    assert sum(t.count.sum() for t in marks) == (sat.asked.horizon >= 0).sum()


def test_the_true_world_passes_every_gate(exam):
    heard: list[tuple[str, float]] = []
    report = certify(replace(exam(), progress=lambda text, share: heard.append((text, share))))
    failed = {name: v.detail for name, v in report.verdicts.items() if v.status == "failed"}
    assert not failed
    passed = {name for name, v in report.verdicts.items() if v.status == "passed"}
    assert passed >= {"action", "calibration", "closure", "constraints", "skill", "state", "time"}
    assert set(report.verdicts) == set(registry.names("gates"))
    body = report.to_json()
    assert body["gates"]["skill"]["evidence"]["id"] in body["record"]["parents"]
    assert {r["name"] for r in body["rows"]} == {"world", "persistence"}
    assert [text for text, _ in heard] == [f"gate {name}" for name in registry.names("gates")]
    np.testing.assert_allclose([share for _, share in heard], np.arange(len(heard)) / len(heard))
    printed = Console(width=160, record=True, file=io.StringIO())
    printed.print(report)
    text = printed.export_text()
    assert "Best simple rule: persistence" in text
    assert text.index("persistence  ") < text.index("world  ")


def test_a_world_that_ignores_actions_fails_the_action_gate(exam):
    verdict = action.check(exam(Deaf()))
    assert verdict.status == "failed"
    assert "ignores" in verdict.detail
    assert {told["moves_state"] for told in verdict.evidence.metrics.values()} == {False}


def test_a_world_that_answers_to_actions_the_wrong_way_fails(exam):
    class Contrary(Decay):
        def step(self, state, action, dt, *, key):
            return super().step(state, 2.0 - action, dt, key=key)

    verdict = action.check(exam(Contrary()))
    assert verdict.status == "failed"
    assert "do not forecast worse" in verdict.detail
    assert verdict.evidence.metrics["mask"]["moves_state"]


def test_actions_that_do_not_vary_are_not_applicable(exam):
    verdict = action.check(exam(given=cohort(n=10, vary=False)))
    assert (verdict.status, verdict.value) == ("not_applicable", None)
    assert "do not differ" in verdict.detail


def test_a_world_worse_than_the_last_value_fails_and_the_last_value_is_said_to_win(exam):
    verdict = skill.check(exam(Decay(k=2.0)))
    assert verdict.status == "failed"
    assert "the last value wins at" in verdict.detail


def test_the_best_rule_is_named_and_must_be_met(exam):
    rules = {"persistence": Still(sigma=0.5), "trend": Decay()}
    same = skill.check(exam(Decay(), rules))
    assert same.status == "passed"
    assert (same.value.value, same.value.low, same.value.high) == (1.0, 1.0, 1.0)
    worse = skill.check(exam(Still(sigma=0.5), rules))
    assert worse.status == "failed"
    assert "best simple rule (trend)" in worse.detail


@pytest.mark.parametrize(("factor", "side", "other"), [(0.4, "narrow", "wide"), (3.0, "wide", "narrow")])
def test_bands_that_are_too_narrow_or_too_wide_fail_and_the_side_is_said(exam, factor, side, other, others):
    verdict = calibration.check(exam(promised=promise(Decay(), others, HORIZONS, factor)))
    assert verdict.status == "failed"
    assert "bands promise to hold 0.9 of" in verdict.detail
    assert f"too {side}" in verdict.detail
    assert f"too {other}" not in verdict.detail


def test_wide_bands_cannot_hide_behind_a_bad_point_forecast(exam, others):
    rules = {"persistence": Still(sigma=0.5), "ridge": Decay()}
    verdict = calibration.check(exam(Still(sigma=0.5), rules, promised=promise(Still(sigma=0.5), others, HORIZONS)))
    assert verdict.status == "failed"
    evidence = verdict.evidence.metrics
    assert evidence["against"] == "ridge"
    assert evidence["interval_score_ratio"]["low"] > 1


def test_where_the_last_value_or_the_best_rule_is_ahead_is_told_and_only_there(exam):
    rules = {"persistence": Still(sigma=0.5), "knows": Decay()}
    ahead = skill.check(exam(rules=rules)).detail
    assert "wins" not in ahead
    assert "more than 2 %" not in ahead
    behind = skill.check(exam(Still(sigma=3.0), rules=rules)).detail
    assert "more than 2 % worse than knows at 1 d, 3 d, 6 d; the last value wins at 1 d, 3 d, 6 d" in behind


def test_no_promise_is_said_plainly_and_pit_counts_add_up(exam, bands):
    assert calibration.check(exam(promised=replace(bands, level=None))).status == "not_applicable"
    verdict = calibration.check(exam())
    pit = verdict.evidence.metrics["pit"]
    assert list(pit) == ["1 d", "3 d", "6 d"]
    assert verdict.value is not None
    assert asdict(verdict.value) == verdict.evidence.metrics["coverage"]["path to 6 d"]
    read = np.isfinite(exam().asked.truth[..., 0])
    for h, counts in enumerate(pit.values()):
        assert sum(counts) == read[exam().asked.horizon == h].sum()
    tenth = sum(pit["1 d"]) / 10
    assert tenth >= 10
    assert max(pit["1 d"]) < 2.5 * tenth
    few = calibration.check(replace(exam(), draws=9)).evidence.metrics["pit"]["1 d"]
    assert 0.3 * tenth < min(few) <= max(few) < 2.5 * tenth  # nine draws leave ten places, one in each tenth


def test_coverage_is_told_by_channel_and_context(exam):
    where = {"site": tuple("ab"[i % 2] for i in range(40))}
    told = calibration.check(replace(exam(), contexts=where)).evidence.metrics
    whole = told["coverage"]["3 d"]
    assert told["by_channel"]["x"]["3 d"] == whole
    halves = [told["by_context"][f"site {s}"]["3 d"] for s in "ab"]
    assert halves[0]["n"] + halves[1]["n"] == whole["n"]
    np.testing.assert_allclose(np.mean([h["value"] for h in halves]), whole["value"])


def test_a_world_with_hidden_memory_fails_the_state_gate(exam):
    count = np.zeros((), np.float32)

    class Restless(Decay):
        def step(self, state, action, dt, *, key):
            def tick(_):
                count[...] += 1.0
                return count.copy()

            drift = jax.pure_callback(tick, jax.ShapeDtypeStruct((), jnp.float32), dt, vmap_method="sequential")
            after = super().step(state, action, dt, key=key)
            return eqx.tree_at(lambda s: s.x, after, after.x + 1e-3 * drift)

    verdict = state.check(exam(Restless()))
    assert verdict.status == "failed"
    assert "split rollout" in verdict.detail


def test_bytes_round_trip_to_the_bit():
    belief = Decay().begin(jnp.zeros(0))
    assert state.same(state.through_bytes(belief), belief)
    nudged = eqx.tree_at(lambda b: b.x, belief, jnp.nextafter(belief.x, jnp.full(1, 9.0)))
    assert not state.same(nudged, belief)


def test_baselines_cannot_be_left_out(exam):
    with pytest.raises(ValueError, match="persistence"):
        exam(rules={"ridge": Decay()})
    full = certify(exam())
    ours = tuple(r for r in full.rows if r.name == "world")
    with pytest.raises(ValueError, match="persistence"):
        replace(full, rows=ours, without={**full.without, "persistence": "no reason is good enough"})
    with pytest.raises(ValueError, match="ridge"):
        replace(full, best_rule="ridge")
    with pytest.raises(ValueError, match="additive, knn, low-rank, mean, nearest-dose, no-effect, ridge"):
        replace(full, without={})


def test_every_record_says_where_the_model_came_from(exam):
    report = certify(replace(exam(), origin={"fit": "0123"}))
    for record in (report.record, *(v.evidence for v in report.verdicts.values())):
        assert record.inputs["fit"] == "0123"
        assert set(record.inputs) == {"data", "fit"}


def test_every_baseline_is_fitted_to_what_the_model_learned_from_or_says_why_not():
    unknown = with_baselines(replace(sit(Decay()), without={}))
    assert set(unknown.without) == set(BASELINES) - {"persistence"}
    whole = with_baselines(replace(sit(Decay(), learned=training()), without={}))
    assert set(BASELINES) == set(whole.rules)
    assert whole.without == {}
    report = certify(whole)
    error = {r.name: r.value for r in report.rows if r.metric == "crps" and r.split == "6 d"}
    assert set(error) == {"world", *BASELINES}
    # Both the doses of `Decay` and where it starts matter: to know one of them alone is worse than to know both.
    assert error["world"] < error["low-rank"] < min(error["additive"], error["no-effect"])
    assert max(error["nearest-dose"], error["knn"]) < error["mean"]


def test_the_ceiling_cannot_be_passed_over(exam):
    full = certify(exam())
    assert full.ceiling.startswith("none: no simulator")
    for said in ("", "truth"):  # nothing, or a truth that has no row
        with pytest.raises(ValueError, match="ceiling"):
            replace(full, ceiling=said)
    known = _rows(replace(exam(Still(sigma=0.5)), truth=Decay()), "truth")
    bound = {r.split: r.value for r in known if r.role == "ceiling" and r.metric == "crps"}
    ours = {r.split: r.value for r in known if r.role == "ours" and r.metric == "crps"}
    assert all(bound[split] < ours[split] for split in ours)


def test_nothing_to_forecast_is_refused(exam):
    with pytest.raises(ValueError, match="nothing to forecast"):
        exam(given=cohort(n=3, readings=1))
