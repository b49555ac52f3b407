"""What runs independent jobs: in turn here; in other processes or machines by an executor that is handed in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Protocol, TypeVar, runtime_checkable

Item = TypeVar("Item")
Found = TypeVar("Found")


@runtime_checkable
class Executor(Protocol):
    """Runs one job on many items."""

    def __call__(self, job: Callable[[Item], Found], items: Sequence[Item], done: Callable[[int], None]) -> list[Found]:
        """The results, in the order of the items; `done(i)` is called in the caller's thread when item i has ended.

        Raises the first error of a job; items that wait are then not begun.
        """
        ...


def serial(job: Callable[[Item], Found], items: Sequence[Item], done: Callable[[int], None]) -> list[Found]:
    """One after the other, in this process."""
    found = []
    for i, item in enumerate(items):
        found.append(job(item))
        done(i)
    return found


def gathered(
    pool: futures.Executor, job: Callable[[Item], Found], items: Sequence[Item], done: Callable[[int], None]
) -> list[Found]:
    """The same on a pool of threads or processes, as many at a time as it has workers."""
    place = {pool.submit(job, item): i for i, item in enumerate(items)}
    try:
        for ended in futures.as_completed(place):
            ended.result()
            done(place[ended])
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    return [future.result() for future in place]
