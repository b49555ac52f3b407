"""A condition of a screen as a path: nothing is read at its start, when its set is given (docs/decisions/0006)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from .path import Path
from .schedule import Entry, schedule


def condition(
    given: Mapping[int, float],
    times: Sequence[float],
    x: Float[np.ndarray, "t d"],
    traits: Float[np.ndarray, " s"] | None = None,
    until: float | None = None,
) -> Path:
    """A set (dose by action) that is held from 0 to `until` (default: the last reading), and read as `x` at `times`."""
    stop = float(times[-1]) if until is None else until
    return Path(
        np.array([0.0, *times], np.float32),
        np.concatenate([np.full((1, x.shape[1]), np.nan), x]).astype(np.float32),
        schedule([Entry(int(a), float(dose), 0.0, stop, True) for a, dose in given.items()]),
        np.zeros(0, np.float32) if traits is None else np.asarray(traits, np.float32),
        np.asarray(0, np.int32),
    )
