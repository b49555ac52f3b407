"""Jobs in other processes: results in order, every one told of, errors raised, cores shared out."""

from __future__ import annotations

import os
import sys

import pytest

from biowm.core.executor import serial
from biowm.scale.processes import Processes

pytestmark = pytest.mark.slow


def cores(item: int) -> tuple[int, int, tuple[int, ...]]:
    """Which item, which process, which cores."""
    return item, os.getpid(), tuple(sorted(os.sched_getaffinity(0))) if sys.platform == "linux" else ()


def inverse(item: int) -> float:
    return 1 / item


def test_same_results_in_the_same_order_as_in_turn() -> None:
    told: list[int] = []
    assert Processes(2)(inverse, [4, 2, 1], told.append) == serial(inverse, [4, 2, 1], lambda _: None)
    assert sorted(told) == [0, 1, 2]


def test_an_error_of_a_job_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        Processes(2)(inverse, [1, 0], lambda _: None)


@pytest.mark.skipif(sys.platform != "linux", reason="cores are shared out on Linux only")
def test_other_processes_with_their_share_of_the_cores() -> None:
    before = os.sched_getaffinity(0)
    found = Processes(2)(cores, list(range(6)), lambda _: None)
    assert os.getpid() not in {pid for _, pid, _ in found}
    shares = {pid: set(mine) for _, pid, mine in found}
    assert all(mine and mine <= before for mine in shares.values())
    if len(shares) == 2 and len(before) > 1:
        assert not set.intersection(*shares.values())
