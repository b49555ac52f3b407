"""The exam and its gates on worlds whose faults are known."""

import io

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console
from tests.support.cohort import Bands, Deaf, Still, band, cohort
from tests.support.decay import Decay

from biowm.core import registry
from biowm.evaluate.certify import Report, certify
from biowm.evaluate.exam import Exam
from biowm.evaluate.gates import action, calibration, skill, state


@pytest.fixture(autouse=True)
def toy_bands(monkeypatch):
    monkeypatch.setattr(calibration, "band", band)


@pytest.fixture(scope="module")
def paths():
    return cohort()


def exam(paths, world=None, rules=None, bands=None, horizons=(1.0, 3.0, 6.0)):
    readings, subjects = paths
    rules = {"persistence": Still(sigma=0.5)} if rules is None else rules
    return Exam(world or Decay(), rules, readings, subjects, horizons, bands or Bands(), draws=60)


def test_questions_look_only_forward_and_find_the_nearest_reading(paths):
    asked = exam(paths).questions
    t = np.asarray(paths[0].t)
    origin = t[asked.queries.subject, asked.queries.origin]
    read = np.isfinite(asked.leads)
    assert len(set(asked.queries.subject.tolist())) == 40
    assert asked.leads[read].min() > 0
    found = np.take_along_axis(asked.queries.times, asked.place, axis=1) - origin[:, None]
    np.testing.assert_allclose(found[read], asked.leads[read], atol=1e-4)
    for h, horizon in enumerate((1.0, 3.0, 6.0)):
        near = asked.near[:, h]
        lead = asked.leads[np.arange(len(near)), near][near >= 0]
        assert np.abs(lead - horizon).max() <= max(0.75, horizon / 4)
    np.testing.assert_array_equal(
        asked.truth[0][read[0]], np.asarray(paths[0].x)[0][asked.queries.origin[0] + 1 :][: read[0].sum()]
    )


def test_the_true_world_passes_every_gate(paths):
    report = certify(exam(paths))
    assert {name: v.status for name, v in report.verdicts.items()} == dict.fromkeys(
        ("action", "calibration", "skill", "state"), "passed"
    ), [v.detail for v in report.verdicts.values()]
    assert set(report.verdicts) == set(registry.names("gates"))
    body = report.to_json()
    assert body["gates"]["skill"]["evidence"]["id"] in body["record"]["parents"]
    assert {r["name"] for r in body["rows"]} == {"world", "persistence"}
    printed = Console(width=160, record=True, file=io.StringIO())
    printed.print(report)
    text = printed.export_text()
    assert "Best simple rule: persistence" in text
    assert text.index("persistence  ") < text.index("world  ")


def test_a_world_that_ignores_actions_fails_the_action_gate(paths):
    verdict = action.check(exam(paths, Deaf()))
    assert verdict.status == "failed"
    assert "ignores" in verdict.detail


def test_a_world_that_answers_to_actions_the_wrong_way_fails(paths):
    class Contrary(Decay):
        def step(self, state, action, dt, *, key):
            return super().step(state, 2.0 - action, dt, key=key)

    verdict = action.check(exam(paths, Contrary()))
    assert verdict.status == "failed"
    assert "do not forecast worse" in verdict.detail


def test_actions_that_do_not_vary_are_not_applicable():
    verdict = action.check(exam(cohort(n=10, vary=False)))
    assert (verdict.status, verdict.value) == ("not_applicable", None)
    assert "do not differ" in verdict.detail


def test_a_world_worse_than_the_last_value_fails_and_the_last_value_is_said_to_win(paths):
    verdict = skill.check(exam(paths, Decay(k=2.0)))
    assert verdict.status == "failed"
    assert "the last value wins at" in verdict.detail


def test_the_best_rule_is_named_and_must_be_met(paths):
    rules = {"persistence": Still(sigma=0.5), "trend": Decay()}
    same = skill.check(exam(paths, Decay(), rules))
    assert same.status == "passed"
    assert (same.value.value, same.value.low, same.value.high) == (1.0, 1.0, 1.0)
    worse = skill.check(exam(paths, Still(sigma=0.5), rules))
    assert worse.status == "failed"
    assert "best simple rule (trend)" in worse.detail


@pytest.mark.parametrize("factor", [0.4, 3.0])
def test_bands_that_are_too_narrow_or_too_wide_fail(paths, factor):
    verdict = calibration.check(exam(paths, bands=Bands(factor=factor)))
    assert verdict.status == "failed"


def test_wide_bands_cannot_hide_behind_a_bad_point_forecast(paths):
    rules = {"persistence": Still(sigma=0.5), "ridge": Decay()}
    verdict = calibration.check(exam(paths, Still(sigma=1.2), rules, Bands(factor=1.1)))
    assert verdict.status == "failed"
    evidence = verdict.evidence.metrics
    assert evidence["against"] == "ridge"
    assert evidence["interval_score_ratio"]["low"] > 1


def test_no_promise_is_said_plainly_and_pit_counts_add_up(paths):
    assert calibration.check(exam(paths, bands=Bands(level=None))).status == "not_applicable"
    pit = calibration.check(exam(paths)).evidence.metrics["pit"]
    assert list(pit) == ["1 d", "3 d", "6 d"]
    assert sum(pit["1 d"]) >= 70
    assert max(pit["1 d"]) < 25


def test_a_world_with_hidden_memory_fails_the_state_gate(paths):
    count = np.zeros((), np.float32)

    class Restless(Decay):
        def step(self, state, action, dt, *, key):
            def tick(_):
                count[...] += 1.0
                return count.copy()

            drift = jax.pure_callback(tick, jax.ShapeDtypeStruct((), jnp.float32), dt, vmap_method="sequential")
            after = super().step(state, action, dt, key=key)
            return eqx.tree_at(lambda s: s.x, after, after.x + 1e-3 * drift)

    verdict = state.check(exam(paths, Restless()))
    assert verdict.status == "failed"
    assert "split rollout" in verdict.detail


def test_bytes_round_trip_to_the_bit():
    belief = Decay().begin(jnp.zeros(0))
    assert state.same(state.through_bytes(belief), belief)
    nudged = eqx.tree_at(lambda b: b.x, belief, jnp.nextafter(belief.x, jnp.full(1, 9.0)))
    assert not state.same(nudged, belief)


def test_baselines_cannot_be_left_out(paths):
    with pytest.raises(ValueError, match="persistence"):
        exam(paths, rules={"ridge": Decay()})
    full = certify(exam(paths))
    with pytest.raises(ValueError, match="persistence"):
        Report("w", "persistence", full.verdicts, tuple(r for r in full.rows if r.name == "world"), full.record)
    with pytest.raises(ValueError, match="ridge"):
        Report("w", "ridge", full.verdicts, full.rows, full.record)


def test_nothing_to_forecast_is_refused():
    with pytest.raises(ValueError, match="no subject"):
        exam(cohort(n=3, readings=1))
