"""Ordinal channels and channels in order, from the study file to the spec."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from biowm.core.errors import BadInput
from biowm.core.schedule import Entry, entries
from biowm.data.study import from_frame

CONFIG = {
    "subject": "stay",
    "time": {"column": "hour", "unit": "h"},
    "channels": {
        "diastolic": {"unit": "mmHg", "link": "log", "column": "dia", "below": "systolic"},
        "systolic": {"unit": "mmHg", "link": "log", "column": "sys"},
        "coma": {"unit": "1", "link": "ordinal", "low": 3, "high": 15},
    },
}


def table(**cells: list) -> pd.DataFrame:
    whole = {"stay": [1, 1, 2, 2], "hour": [0, 1, 0, 1], "dia": [70, 60, None, 80], "sys": [120, 60, 90, None]}
    return pd.DataFrame(whole | {"coma": [15, None, 3, 9]} | cells)


def test_the_spec_knows_levels_and_order():
    spec = from_frame(table(), CONFIG).spec
    assert spec.chains == ((0, 1),)
    coma = spec.channels[2]
    assert (coma.link, coma.low, coma.high, coma.resolution) == ("ordinal", 3.0, 15.0, 1.0)


@pytest.mark.parametrize(
    ("cells", "parts"),
    [
        ({"coma": [15, 3, 9.5, 9]}, ("row 2", "column coma", "found '9.5'", "a level: from 3 to 15 in steps of 1")),
        ({"dia": [70, 61, None, 80]}, ("row 1", "column dia", "found 61", "at most sys, 60")),
    ],
)
def test_a_reading_between_levels_or_in_the_wrong_order_is_refused(cells: dict[str, list], parts: tuple[str, ...]):
    with pytest.raises(BadInput) as caught:
        from_frame(table(**cells), CONFIG)
    missing = [part for part in parts if part not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def test_rows_of_one_moment_are_held_to_the_order_together():
    halves = pd.DataFrame(
        {"stay": [1, 1, 1], "hour": [0, 0, 1], "dia": [90, None, 60], "sys": [None, 80, 100], "coma": [15, None, 9]}
    )
    with pytest.raises(BadInput, match=r"found 90, expected at most sys, 80 at the same moment"):
        from_frame(halves, CONFIG)


def test_the_mean_of_scores_and_switches_is_one_of_their_levels():
    """Rows of one moment: numbers are averaged; a score and a switch take the lower median, in events as well."""
    config = {
        "subject": "stay", "time": {"column": "hour", "unit": "h"}, "duplicates": "mean",
        "channels": {"sys": {"unit": "mmHg"}, "coma": {"unit": "1", "link": "ordinal", "low": 3, "high": 15}},
        "actions": {"vent": {"kind": "switch"}, "drug": {"unit": "mg/h"}},
    }  # fmt: skip
    rows = pd.DataFrame(
        {"stay": 1, "hour": [0, 0, 0, 0, 1, 1, 2], "sys": [100, 110, 120, 130, 90, 94, 80],
         "coma": [14, 4, 8, 15, 3, None, 9], "vent": [1, 0, 1, 1, 0, 1, 0], "drug": [4, 1, 2, 5, 0, 3, 0]}
    )  # fmt: skip
    path = from_frame(rows, config).paths[0]
    np.testing.assert_array_equal(path.x, [[115, 8], [92, 3], [80, 9]])
    assert entries(path.plan) == [Entry(0, 1.0, 0.0, 1.0), Entry(1, 3.0, 0.0, 1.0), Entry(1, 1.5, 1.0, 2.0)]
