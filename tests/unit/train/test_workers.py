from __future__ import annotations

import threading
import time

import pytest

from biowm.train.workers import Once, side_by_side, woven


def test_results_come_in_the_order_of_the_jobs_and_are_told_in_the_callers_thread():
    told: list[tuple[int, int]] = []
    jobs = [lambda i=i: (time.sleep(0.01 * (4 - i)), i)[1] for i in range(4)]
    assert side_by_side(jobs, lambda i: told.append((i, threading.get_ident()))) == [0, 1, 2, 3]
    assert sorted(i for i, _ in told) == [0, 1, 2, 3]
    assert {who for _, who in told} == {threading.get_ident()}


def test_an_error_is_raised_and_what_waits_is_not_begun():
    begun: list[int] = []

    def job(i: int) -> None:
        begun.append(i)
        if i == 0:
            raise ValueError("bad")
        time.sleep(0.02)

    with pytest.raises(ValueError, match="bad"):
        side_by_side([lambda i=i: job(i) for i in range(100)], lambda i: None)
    assert len(begun) < 50


def test_what_is_told_may_stop_the_work():
    begun: list[int] = []

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        side_by_side([lambda i=i: (begun.append(i), time.sleep(0.02)) for i in range(100)], stop)
    assert len(begun) < 50


def test_a_value_is_computed_once_whoever_asks():
    calls: list[int] = []

    def compute() -> int:
        time.sleep(0.02)
        calls.append(1)
        return 7

    once = Once(compute)
    assert side_by_side([once] * 6, lambda i: None) == [7] * 6
    assert len(calls) == 1


@pytest.mark.parametrize("n", range(6))
def test_woven_takes_from_both_ends_and_leaves_nothing_out(n: int):
    found = list(woven(list(range(n))))
    assert sorted(found) == list(range(n))
    assert found[:3] == [0, n - 1, 1][: min(n, 3)] or n < 3
