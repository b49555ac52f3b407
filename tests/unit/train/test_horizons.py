from __future__ import annotations

import numpy as np
import pytest

from biowm.core.path import Path, stack
from biowm.core.schedule import schedule
from biowm.train.horizons import Asked, Horizons, ask, declared

DAILY = Horizons("clock", (2.0, 8.0), "d")
COUNTED = Horizons("readings", (1.0, 3.0), "d")


def path(t: list[float], x: list[list[float]] | None = None) -> Path:
    x = [[float(i), -float(i)] for i in range(len(t))] if x is None else x
    return Path(np.array(t, np.float32), np.array(x, np.float32), schedule([]), np.zeros(0, np.float32), np.int32(0))


def questions(paths: list[Path], horizons: Horizons = DAILY, origins: int = 3, targets=(0, 1)) -> Asked:
    return ask(stack(paths), np.arange(len(paths)), horizons, origins=origins, targets=targets)


def test_targets_come_after_the_origin_and_hold_the_readings():
    t = [0.0, 1.0, 2.5, 3.0, 7.0, 20.0, 40.0]
    asked = questions([path(t)])
    assert asked.queries.origin.tolist() == [1, 3, 5]
    for row, origin in enumerate(asked.queries.origin):
        real = asked.horizon[row] >= 0
        assert (asked.leads[row, real] > 0).all()
        index = [t.index(v) for v in asked.queries.times[row, real].tolist()]
        assert index[0] == origin + 1
        np.testing.assert_array_equal(asked.truth[row, real], [[float(i), -float(i)] for i in index])
        assert np.isnan(asked.truth[row, ~real]).all()
        assert (asked.queries.times[row, ~real] == asked.queries.times[row, real][-1]).all()
    assert asked.start.tolist() == [1.0, 3.0, 20.0]


def test_horizons_asked_from_the_first_reading_ask_nothing_else():
    first = Horizons("clock", (2.0, 8.0), "d", "first")
    asked = questions([path([0.0, 1.0, 2.0, 7.0, 20.0]), path([3.0, 4.0])], first)
    assert asked.queries.origin.tolist() == [0, 0]
    assert asked.start.tolist() == [0.0, 3.0]
    assert asked.leads[0][asked.horizon[0] >= 0].tolist() == [1.0, 2.0, 7.0]


def test_leads_go_to_the_longest_horizon_and_the_next_reading_is_always_asked():
    asked = questions([path([0.0, 1.0, 2.0, 9.0, 10.3, 60.0])], origins=9)
    rows = {int(o): asked.leads[i][asked.horizon[i] >= 0].tolist() for i, o in enumerate(asked.queries.origin)}
    assert rows[1] == pytest.approx([1.0, 8.0])  # 9.3 is beyond 1.15 x 8
    assert rows[2] == pytest.approx([7.0, 8.3])
    assert rows[4] == pytest.approx([49.7])


def test_a_reading_belongs_to_the_nearest_horizon_in_ratio():
    asked = questions([path([0.0, 1.0, 2.0, 4.9, 5.1, 9.0])], origins=1)
    assert asked.queries.origin.tolist() == [1]
    assert asked.horizon[0, :4].tolist() == [0, 0, 1, 1]  # leads 1, 3.9, 4.1 and 8: the border is at 4
    counted = questions([path([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0])], COUNTED, origins=1)
    assert counted.horizon[0, :3].tolist() == [0, 1, 1]
    assert (counted.horizon[0, 3:] == -1).all()


def test_long_futures_are_thinned_evenly_to_the_last():
    asked = questions([path(np.arange(103.0).tolist())], Horizons("clock", (1000.0,), "d"), origins=1)
    leads = asked.leads[0][asked.horizon[0] >= 0]
    assert len(leads) == 24
    assert leads[0] == 1.0
    assert leads[-1] == 101.0
    assert np.ptp(np.diff(leads)) <= 2


def test_subjects_with_one_reading_are_asked_nothing_and_with_two_from_the_first():
    asked = questions([path([0.0]), path([0.0, 3.0]), path([0.0, 1.0, 2.0])])
    assert asked.queries.subject.tolist() == [1, 2]
    assert asked.queries.origin.tolist() == [0, 1]
    with pytest.raises(ValueError, match="no subject has two readings"):
        questions([path([0.0]), path([1.0])])


def test_only_target_channels_make_a_time():
    x = [[0.0, 1.0], [np.nan, 1.0], [2.0, 1.0], [np.nan, 1.0], [4.0, np.nan]]
    asked = questions([path([0.0, 1.0, 2.0, 3.0, 4.0], x)], targets=(0,))
    assert asked.queries.origin.tolist() == [2]
    assert asked.queries.times[0, 0] == 4.0


def test_padding_times_are_never_asked():
    short, long = path([0.0, 1.0, 2.0]), path(np.arange(30.0).tolist())
    asked = questions([short, long])
    assert (asked.queries.times[asked.queries.subject == 0] <= 2.0).all()


def test_what_is_declared_holds_and_else_as_many_readings_as_a_third_reach():
    paths = stack([path(np.arange(float(n)).tolist()) for n in (2, 3, 9)])
    assert declared((8.0, 2.0, 8.0), paths, "d", (0, 1)) == DAILY
    assert declared((8.0, 2.0), paths, "d", (0, 1), "first").origins == "first"
    assert declared((), paths, "d", (0, 1)) == Horizons("readings", (1.0, 3.0, 6.0), "d")
    none = stack([path([0.0, 1.0]) for _ in range(3)])
    assert declared((), none, "d", (0, 1)) == Horizons("readings", (1.0,), "d")


def test_names_and_lengths():
    assert DAILY.labels() == ("2 d", "8 d")
    assert COUNTED.labels() == ("next", "h3")
    assert DAILY.longest(5.0) == 8.0
    assert COUNTED.longest(5.0) == 15.0


@pytest.mark.parametrize("values", [(), (0.0, 1.0), (-1.0,), (2.0, 1.0), (1.0, 1.0)])
def test_horizons_are_positive_and_increase(values: tuple[float, ...]):
    with pytest.raises(ValueError, match="positive and increasing"):
        Horizons("clock", values, "d")
