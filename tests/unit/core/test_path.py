from __future__ import annotations

import numpy as np
import pytest

from biowm.core.path import ENDED, Path, lengths, stack, take
from biowm.core.schedule import Entry, entries, schedule


def path(readings: list[float], plans: int = 1, event: int = 0) -> Path:
    x = np.array(readings, np.float32)[:, None]
    plan = schedule([Entry(0, 1.0, i, i + 1) for i in range(plans)])
    return Path(np.arange(len(x), dtype=np.float32), x, plan, np.array([2.0], np.float32), np.int32(event))


def test_stack_pads_with_the_last_time_no_reading_and_no_intervention():
    paths = stack([path([1, 2, 3]), path([4] * 9, plans=10, event=ENDED)])
    assert paths.t.shape == (2, 12)
    assert paths.x.shape == (2, 12, 1)
    assert paths.plan.card.shape == (2, 12)
    np.testing.assert_array_equal(paths.t[0], [0, 1, 2] + [2] * 9)
    np.testing.assert_array_equal(paths.x[0, :3, 0], [1, 2, 3])
    assert np.isnan(paths.x[0, 3:]).all()
    np.testing.assert_array_equal(paths.event, [0, ENDED])
    assert [len(entries(take(paths, i).plan)) for i in (0, 1)] == [1, 10]
    assert {leaf.dtype for leaf in (paths.t, paths.x, paths.traits)} == {np.dtype(np.float32)}
    with pytest.raises(ValueError, match="no path"):
        stack([])


def test_lengths_count_to_the_last_reading():
    nan = np.nan
    paths = stack([path([1, 2, 3]), path([1, nan, 3, nan, nan]), path([nan, nan]), path([nan, 5])])
    np.testing.assert_array_equal(lengths(paths), [3, 3, 0, 2])


def test_take_rows():
    paths = stack([path([i] * 3) for i in range(5)])
    np.testing.assert_array_equal(take(paths, [3, 1]).x[:, 0, 0], [3, 1])
    assert take(paths, 2).x.shape == (8, 1)
    assert take(paths, slice(1, 4)).plan.card.shape == (3, 8)
