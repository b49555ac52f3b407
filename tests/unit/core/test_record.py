from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from biowm.core.record import Record, digest, digest_arrays, record_from_json

RECORD = Record("fit", {"visits.csv": "ab12"}, {"draws": 100, "horizons": [90.0, 365.0]}, 7, ("p1",), {"crps": 0.25})


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "plan"},
        {"inputs": {"visits.csv": "ab13"}},
        {"config": {"draws": 101, "horizons": [90.0, 365.0]}},
        {"seed": 8},
        {"parents": ("p2",)},
        {"parents": ()},
        {"metrics": {"crps": 0.26}},
        {"versions": {"jax": "0"}},
    ],
)
def test_the_id_changes_with_any_content(change: dict):
    assert replace(RECORD, **change).id != RECORD.id


def test_the_id_does_not_depend_on_time_or_on_the_order_of_keys():
    assert replace(RECORD, time="1999-01-01").id == RECORD.id
    assert replace(RECORD, config={"horizons": [90.0, 365.0], "draws": 100}).id == RECORD.id


def test_a_record_survives_json_and_tampering_is_found():
    data = json.loads(json.dumps(RECORD.to_json()))
    assert record_from_json(data).id == RECORD.id
    assert record_from_json(data).time == RECORD.time
    for field, value in (("seed", 9), ("metrics", {"crps": 0.1}), ("id", "0" * 64)):
        with pytest.raises(ValueError, match="altered"):
            record_from_json({**data, field: value})


def test_digests_tell_contents_apart():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest(b"{}") == digest({})
    a = np.arange(6.0)
    assert digest_arrays([a]) == digest_arrays([a.copy()])
    others = [[a + 1], [a.reshape(2, 3)], [a.astype(np.float32)], [a, a], [a[:3], a[3:]]]
    assert len({digest_arrays(o) for o in [[a], *others]}) == 6
    assert digest_arrays([a[::2]]) == digest_arrays([a[::2].copy()])
