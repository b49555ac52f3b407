"""Work side by side: threads, because compiled programs and linear algebra run outside the interpreter's lock."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from biowm.core.executor import gathered
from biowm.core.programs import make_room

T = TypeVar("T")
_MOST = 8  # what the interpreter itself does would keep more of them waiting


class Once(Generic[T]):
    """A value that is computed when it is first asked for, by whoever asks first; the others wait for it."""

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute, self._lock, self._found = compute, threading.Lock(), []

    def __call__(self) -> T:
        with self._lock:
            if not self._found:
                self._found.append(self._compute())
        return self._found[0]


def side_by_side(jobs: Sequence[Callable[[], T]], done: Callable[[int], None]) -> list[T]:
    """The results of independent jobs, in their order; as many run at a time as there are cores (at most eight).

    `done(i)` is called, in the caller's thread, when job i has ended. The first error is raised once the jobs that
    run have ended; those that wait are not begun.
    """
    make_room()
    with ThreadPoolExecutor(min(_MOST, cores())) as pool:
        return gathered(pool, lambda job: job(), jobs, done)


def woven(things: Sequence[T]) -> Iterator[T]:
    """First, last, second, last but one: neighbours are alike, and what is alike had better not compile at once."""
    for i in range(len(things)):
        yield things[i // 2] if i % 2 == 0 else things[-1 - i // 2]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
