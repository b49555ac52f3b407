"""What reading a large MEDS folder costs."""

from __future__ import annotations

import pytest
from tests.support.many_events import read_many, write_many


@pytest.mark.slow
def test_memory_does_not_grow_with_the_events_that_are_not_meant(tmp_path):
    write_many(tmp_path / "few", 250_000)
    write_many(tmp_path / "many", 5_000_000)
    few, many = read_many(tmp_path / "few"), read_many(tmp_path / "many")
    assert many["subjects"] == 5000
    assert 490_000 < many["rows"] < 510_000
    assert (
        many["peak_mb"] < few["peak_mb"] + 200
    )  # 150 measured; a table of all events is more than 250 (and its index)
