"""An in-silico trial in a world whose answer is known: dx = (-k x + u) dt, from x = 1 on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from tests.support.decay import Decay
from tests.support.tiny import SPEC

from biowm.core.errors import BadInput
from biowm.core.given import Given, parse_given
from biowm.engine.design import design
from biowm.engine.newcomers import of_simulator
from biowm.engine.tables import write_tables
from biowm.engine.trial import Trial, trial

ASKED = design(
    Decay().spec, arms=("control: ", "treated: u=1 mg/d@0:4 d"), outcome="mean x at 4 d", horizon=5.0, sizes=(5, 20),
    trials=100, patients=300,
)  # fmt: skip


@pytest.fixture(scope="module")
def run() -> Trial:
    found = trial(Decay(), ASKED, seed=1)
    assert isinstance(found, Trial)
    return found


def test_the_difference_is_the_known_one_in_every_patient_as_chances_are_shared(run: Trial):
    known = (1 - np.exp(-0.2 * 4)) / 0.2
    np.testing.assert_allclose(run.outcome[:, 1] - run.outcome[:, 0], known, rtol=1e-4)
    assert run.difference.value == pytest.approx(known, rel=1e-4)
    assert run.difference.n == 300
    assert run.outcome[:, 0].std() > 0.1, "patients are not all alike"
    assert run.means[0].low < np.exp(-0.8) < run.means[0].high


def test_readings_begin_alike_and_the_outcome_is_read_at_its_time(run: Trial):
    np.testing.assert_array_equal(run.x[:, 0, 0], run.x[:, 1, 0])
    np.testing.assert_allclose(run.outcome, run.x[:, :, list(run.times).index(4.0), 0], rtol=1e-6)


def test_it_says_that_it_is_a_simulation_and_nothing_more(run: Trial):
    body = run.to_json()
    assert body["simulated"] is True
    assert body["word"] == "simulation"
    assert "no causal claim" in run.said
    assert [p["size_per_arm"] for p in body["sizes"]] == [5, 20]


def test_the_tables_say_in_every_row_that_they_are_simulated(run: Trial, tmp_path):
    patients, readings = write_tables(run, tmp_path)
    table = pd.read_csv(patients)
    assert len(table) == 300
    assert table["simulated"].all()
    np.testing.assert_allclose(table["final x over 4 d, treated"], run.outcome[:, 1], rtol=1e-5)
    long = pq.read_table(readings)
    assert long.schema.metadata[b"biowm"] == b"SIMULATED"
    assert long.num_rows == run.x.shape[0] * 2 * len(run.times)
    one = long.to_pandas().query("patient == 'V00007' and arm == 'treated'")
    np.testing.assert_allclose(one["x (mg/L)"], run.x[7, 1, :, 0])


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"arms": ("control: ",)}, ("1 arms", "two")),
        ({"arms": ("control", "b: u=1 mg/d@0")}, ("'control'", "NAME: INTERVENTIONS")),
        ({"arms": ("a: ", "a: u=1 mg/d@0")}, ("two arms called 'a'",)),
        ({"arms": ("a: ", "b: u=-1 mg/d@0")}, ("--arm b:", "-1 mg/d", "at least 0")),
        ({"arms": ("a: ", "b: shot=1 mg@-1 d")}, ("--arm b:", "in the past")),
        ({"outcome": "mean u at 4 d"}, ("column 1", "a channel, as doses are decided")),
        ({"outcome": "total u"}, ("a channel, as doses are decided",)),
        ({"outcome": "mean x at 6 d"}, ("6 d", "within --horizon, 5 d")),
        ({"outcome": "mean y at 4 d"}, ("'y'", "x, u or shot")),
        ({"sizes": (1,)}, ("--size", "at least 2")),
        ({"given": ("age=3 yr",)}, ("'age'", "one of x")),
    ],
)  # fmt: skip
def test_what_is_refused(changes: dict, parts: tuple[str, ...]):
    asked = {"arms": ("a: ", "b: u=1 mg/d@0"), "outcome": "mean x at 4 d", "horizon": 5.0, "sizes": (5,)} | changes
    with pytest.raises(BadInput) as error:
        design(Decay().spec, **asked)
    assert all(part in str(error.value) for part in parts), str(error.value)


@pytest.mark.parametrize(
    ("text", "column", "low", "high"),
    [
        ("age=70 yr", 0, 70.0, 70.0),
        ("age=60:70 yr", 0, 60.0, 70.0),
        ("age = 12 month", 0, 1.0, 1.0),
        ("burden=4:20 ug/L", 1, 0.004, 0.02),
    ],
)
def test_conditions_are_read_with_their_units(text: str, column: int, low: float, high: float):
    (found,) = parse_given([text], SPEC)
    assert (found.column, found.low, found.high) == pytest.approx((column, low, high))


@pytest.mark.parametrize("text", ["age=70", "age=old yr", "age=70:60 yr", "age=70 kg", "height=2 m", "age"])
def test_conditions_that_are_none(text: str):
    with pytest.raises(BadInput, match="--given"):
        parse_given([text], SPEC)


def test_a_simulator_takes_a_level_and_no_range():
    from biowm.worlds.patient.tumour import SPEC as TUMOUR

    drawn = of_simulator(TUMOUR, 20, parse_given(["type=3"], TUMOUR), seed=0)
    np.testing.assert_array_equal(drawn.traits, np.tile([0.0, 0.0, 1.0], (20, 1)))
    with pytest.raises(BadInput, match="a trait, and one value"):
        of_simulator(TUMOUR, 20, (Given("volume=1:2 cm^3", 3, 1.0, 2.0),), seed=0)
