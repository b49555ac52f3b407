"""Jobs in other processes of this machine, each with its own share of the cores."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from biowm.core.executor import Found, Item, gathered

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue


@dataclass(frozen=True)
class Processes:
    """At most `workers` processes side by side; what goes in and comes out must be picklable."""

    workers: int

    def __call__(self, job: Callable[[Item], Found], items: Sequence[Item], done: Callable[[int], None]) -> list[Found]:
        """See `Executor`; a process that dies raises BrokenProcessPool."""
        workers = max(1, min(self.workers, len(items)))
        context = multiprocessing.get_context("spawn")  # jax is not safe to fork
        places = context.SimpleQueue()
        for place in range(workers):
            places.put(place)
        with ProcessPoolExecutor(workers, context, _settle, (places, workers)) as pool:
            return gathered(pool, job, items, done)


def _settle(places: SimpleQueue[int], workers: int) -> None:
    """Take this worker's share of the cores, before jax counts them."""
    if sys.platform != "linux":
        return
    cores = sorted(os.sched_getaffinity(0))
    mine = cores[places.get() :: workers]
    if mine:
        os.sched_setaffinity(0, mine)
