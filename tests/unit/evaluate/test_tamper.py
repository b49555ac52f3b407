"""Tampered schedules: the past stays, the future is masked, swapped or late."""

import numpy as np

from biowm.core.schedule import Entry
from biowm.evaluate.tamper import delayed, masked, pack, shuffled, unpack

HELD = Entry(0, 2.0, 1.0, 9.0)
BOLUS = Entry(1, 5.0, 4.0, 4.0)
LATER = Entry(0, 3.0, 10.0, 12.0)
NOW = np.array([4.0])


def test_masking_cuts_what_is_under_way_and_drops_what_comes():
    assert masked([[HELD, BOLUS, LATER]], NOW) == [[HELD._replace(stop=4.0)]]
    assert masked([[BOLUS]], np.array([4.5])) == [[BOLUS]]


def test_late_actions_come_one_step_later_and_the_past_stays():
    got = delayed([[HELD, BOLUS, LATER, Entry(0, 1.0, 0.0, 1.0)]], NOW, 0.5)[0]
    assert got == [
        HELD._replace(stop=9.5),
        Entry(1, 5.0, 4.5, 4.5),
        Entry(0, 3.0, 10.5, 12.5),
        Entry(0, 1.0, 0.0, 1.0),
    ]


def test_swapping_gives_another_subjects_future_at_the_same_lead():
    mine, theirs = [HELD], [Entry(0, 7.0, 0.0, 30.0), Entry(1, 6.0, 21.0, 21.0)]
    got = shuffled([mine, mine, theirs], np.array([4.0, 6.0, 20.0]), np.array([0, 0, 1]))
    assert got[0] == [HELD._replace(stop=4.0), Entry(0, 7.0, 4.0, 14.0), Entry(1, 6.0, 5.0, 5.0)]
    assert got[1] == [HELD._replace(stop=6.0), Entry(0, 7.0, 6.0, 16.0), Entry(1, 6.0, 7.0, 7.0)]
    assert got[2][0] == Entry(0, 7.0, 0.0, 20.0)
    assert got[2][1].dose == 2.0
    assert len(got[2]) == 2


def test_packing_keeps_every_entry():
    plans = [[HELD, LATER], [], [BOLUS]]
    assert unpack(pack(plans)) == plans
