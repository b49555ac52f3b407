"""Models of others on a study: the same gates, and only what a model has is tested."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from tests.support.foreign import decode, encode, predict, step

import biowm
from biowm.adapters import wrap, wrap_endpoint
from biowm.core.errors import BadInput
from biowm.data.study import from_frame
from biowm.evaluate.exam import NO_TRANSITION
from biowm.evaluate.foreign import exam_of_model

CONFIG = {
    "study": "decay",
    "subject": "who",
    "time": {"column": "t", "unit": "d"},
    "horizons": ["1 d", "4 d"],
    "channels": {"x": {"unit": "mg/L"}},
    "actions": {
        "u": {"unit": "mg/d", "high": 4, "kind": "rate", "recorded": "until_next"},
        "shot": {"unit": "mg", "high": 4, "kind": "bolus"},
    },
    "split": {"by": "subject", "test": 0.3, "calibrate": 0.3},
}


@pytest.fixture(scope="module")
def study():
    """Forty subjects of the world of `step`, each visit with a rate of its own and now and then a shot."""
    rng = np.random.default_rng(0)
    x, t, rows = rng.uniform(0, 8, (40, 1)), np.zeros(40), []
    for _ in range(9):
        action = np.column_stack([rng.uniform(0, 4, 40), rng.uniform(0, 4, 40) * (rng.random(40) < 0.3)])
        rows += [(f"s{i:02d}", t[i], x[i, 0], *action[i]) for i in range(40)]
        dt = rng.uniform(0.6, 1.4, 40)
        x, t = step(x, action, dt, rng.normal(size=(40, 1))), t + dt
    return from_frame(pd.DataFrame(rows, columns=["who", "t", "x", "u", "shot"]), CONFIG)


def world_of(study, **other):
    functions = {"encode": encode, "step": step, "decode": decode} | other
    return wrap(study.spec, study.spacing, **functions, noise=1, memory=16, name="numpy-decay")


@pytest.mark.slow
def test_the_truth_in_numpy_passes_and_an_endpoint_is_marked_where_it_has_no_transition(study):
    report = biowm.certify(world_of(study), study)
    found = {name: verdict.status for name, verdict in report.verdicts.items()}
    assert report.world == "numpy-decay"
    assert {found[name] for name in ("state", "action", "skill")} == {"passed"}, found
    asked = biowm.certify(wrap_endpoint(study.spec, study.spacing, predict, name="numpy-endpoint"), study)
    assert asked.verdicts["state"].status == "not_applicable"
    assert asked.verdicts["state"].detail == NO_TRANSITION
    assert asked.verdicts["skill"].status == asked.verdicts["action"].status == "passed"
    assert {level.axis: level.level for level in asked.capability}["dynamics"] == 1


@pytest.mark.slow
def test_the_parts_of_the_split_are_kept_apart_and_late_errors_are_plain(study):
    endpoint = wrap_endpoint(study.spec, study.spacing, predict)
    exam = exam_of_model(endpoint, study, seed=3)
    learned, asked = set(exam.training.units), set(exam.subjects)
    assert len(learned) == 16
    assert len(asked) == 12
    assert not learned & asked
    assert exam.calibrations["world"].subjects == 12
    assert exam.world is endpoint

    def breaks(latent, *rest):
        return step(latent, *rest) if len(latent) == 2 else latent[:-1]

    with pytest.raises(BadInput, match="what step of numpy-decay returned: found 'shape"):
        biowm.certify(world_of(study, step=breaks), study)


def test_a_model_of_other_things_is_refused(study):
    channel = replace(study.spec.channels[0], link="log")
    other = replace(study.spec, channels=(channel,))
    with pytest.raises(BadInput, match=r"channels of model foreign: .*link='log'.*as study decay has them"):
        exam_of_model(wrap_endpoint(other, 1.0, predict), study)


def test_without_subjects_to_ask_or_to_calibrate_on_it_is_refused(study):
    endpoint = wrap_endpoint(study.spec, 1.0, predict)
    with pytest.raises(BadInput, match="foreign has no transition and no subjects of its own: give a study"):
        biowm.certify(endpoint)
    bare = replace(study, given_split=("train",) * 30 + ("test",) * 10)
    with pytest.raises(BadInput, match="found no calibration subjects"):
        exam_of_model(endpoint, bare)
