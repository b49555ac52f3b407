"""Compiled programs take some ten memory mappings each, and Linux lets a process have only so many of them.

A long session compiles thousands; at the limit the next one ends the process with a segmentation fault
(https://github.com/jax-ml/jax/issues/27201). So they are dropped in good time; those needed again are read from disk.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import jax

_MAPPED, _LIMIT = Path("/proc/self/maps"), Path("/proc/sys/vm/max_map_count")
_FULL = 0.5  # of the limit
_EVERY = 2.0  # seconds
_last = -_EVERY


def make_room(most: int | None = None) -> bool:
    """Drop all compiled programs if this process has more than `most` mappings (default: half of the limit).

    Whether it did. Looks at most every two seconds, and only from the main thread: others may be about to run one.
    """
    global _last
    if threading.current_thread() is not threading.main_thread() or time.monotonic() - _last < _EVERY:
        return False
    _last = time.monotonic()
    try:
        most = int(_FULL * int(_LIMIT.read_text())) if most is None else most
        with _MAPPED.open("rb") as lines:
            mappings = sum(1 for _ in lines)
    except OSError:  # not Linux: no such limit
        return False
    if mappings <= most:
        return False
    jax.clear_caches()
    return True
