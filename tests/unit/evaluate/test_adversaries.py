"""No predictor that knows nothing outranks the mean, and none that peeks finds anything."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from tests.support.cohort import cohort, promise
from tests.support.decay import Decay

from biowm.core.endpoint import Endpoint
from biowm.core.forecast import forecast
from biowm.core.interval import Interval
from biowm.core.queries import Queries
from biowm.core.scores import inside, interval_score
from biowm.evaluate.adversaries import adversaries
from biowm.evaluate.baselines import BASELINES
from biowm.evaluate.certify import certify
from biowm.evaluate.exam import Exam
from biowm.evaluate.metrics import METRICS, interval
from biowm.models.scale import fit_scale
from biowm.train.horizons import Horizons

HORIZONS = Horizons("clock", (1.0, 3.0, 6.0), "d")


@pytest.fixture(scope="module")
def exam() -> Exam:
    """Subjects that forget where they began: far ahead, the last value says little."""
    (others, _), (paths, subjects) = cohort(seed=1), cohort()
    scale = fit_scale(Decay().spec, np.asarray(others.x))
    rules = dict(adversaries(Decay().spec, 1.0, scale))
    rules["persistence"] = rules["copy-last"]
    bands = {name: promise(model, others, HORIZONS) for name, model in rules.items()}
    return Exam(Decay(), rules, paths, subjects, HORIZONS, bands | {"world": promise(Decay(), others, HORIZONS)})


def scores(exam: Exam, name: str, metric: str) -> list[Interval]:
    """The metric at every horizon, made so that less is better."""
    if metric in ("crps", "mae", "rmse"):
        return [interval(t) for t in exam.curve(exam.answer(name), metric)]
    z = exam.scaled(exam.asked.truth)
    low, high = exam.bands(name)
    if metric == "interval_score":
        loss = interval_score(low, high, z, 0.9)
        return [interval(t) for t in exam.by_horizon(metric, loss)]
    if metric == "coverage90":
        found = [interval(t) for t in exam.by_horizon(metric, np.where(np.isnan(z), np.nan, inside(low, high, z)))]
    else:
        found = [interval(t) for t in exam.path_coverage(name)]
    off = [abs(c.value - 0.9) for c in found]
    return [
        Interval(o, o - (c.high - c.low) / 2, o + (c.high - c.low) / 2, c.n) for o, c in zip(off, found, strict=True)
    ]


@pytest.mark.parametrize("metric", sorted(METRICS))
@pytest.mark.parametrize("name", ["constant", "confident mean", "scaled", "sign flip", "anything"])
def test_none_clearly_outranks_the_mean(exam: Exam, name: str, metric: str):
    if (name, metric) in (("confident mean", "mae"), ("confident mean", "rmse")):
        pytest.skip("the point forecast of the confident mean is the mean")
    longest = [scores(exam, who, metric)[-1] for who in (name, "mean")]
    assert longest[0].high >= longest[1].low


def test_copying_the_last_value_is_persistence_and_no_better(exam: Exam):
    np.testing.assert_array_equal(exam.answer("copy-last"), exam.answer("persistence"))


def test_whoever_peeks_sees_nothing(exam: Exam):
    """What comes after the origin is not shown."""
    paths, queries = exam.paths, exam.asked.queries
    one = Queries(queries.subject[:1], queries.origin[:1], queries.times[:1])
    leak = exam.rules["leak"]
    assert isinstance(leak, Endpoint)
    shown = []

    class Witness(type(leak)):
        def answer(self, paths, queries, plans, *, seed, draws):
            shown.append(np.asarray(paths.x))
            return super().answer(paths, queries, plans, seed=seed, draws=draws)

    witness = Witness(leak.spec, leak.spacing, leak.scale, leak.guess)
    forecast(witness, paths, one, key=jax.random.key(0), draws=4)
    assert np.isnan(shown[0][0, queries.origin[0] + 1 :]).all()
    assert np.isfinite(shown[0][0, : queries.origin[0] + 1]).any()


def test_a_model_without_transition_is_certified_as_far_as_it_goes(exam: Exam):
    mute = Exam(exam.rules["copy-last"], exam.rules, exam.paths, exam.subjects, HORIZONS,
                {**exam.calibrations, "world": exam.calibrations["copy-last"]},
                without=dict.fromkeys(BASELINES, "a toy exam"))  # fmt: skip
    report = certify(mute)
    assert report.verdicts["state"].status == "not_applicable"
    assert "no transition" in report.verdicts["state"].detail
    assert report.verdicts["action"].status == "failed"
    assert {level.axis: level.level for level in report.capability}["dynamics"] <= 1
