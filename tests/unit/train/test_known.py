"""Subjects that all learn from are never held out, however many there are."""

from __future__ import annotations

import numpy as np
import pytest

from biowm.core.path import Path, stack
from biowm.core.schedule import schedule
from biowm.core.spec import Channel, WorldSpec
from biowm.train.contest import Job, _folds
from biowm.train.horizons import Horizons

SPEC = WorldSpec("w", "d", (Channel("y", ""),))


@pytest.mark.parametrize("n", [20, 300])
def test_known_subjects_are_never_held_out(n: int):
    one = Path(np.zeros(1, np.float32), np.zeros((1, 1), np.float32), schedule([]), np.zeros(0, np.float32), 0)
    units = [(f"unit {i // 2}",) for i in range(n)]
    horizons = Horizons("clock", (1.0,), "d")
    known = tuple(range(0, n, 5))
    some = tuple(() if i in known else names for i, names in enumerate(units))
    folds = _folds(Job(SPEC, stack([one] * n), some, horizons, 1.0, 0))
    held = np.concatenate([fold.subjects for fold in folds])
    assert len(set(held.tolist())) == len(held)
    assert not set(held.tolist()) & set(known)
    if n == 20:  # four folds that ask everybody else once
        assert sorted(held.tolist()) == sorted(set(range(n)) - set(known))
    everybody = _folds(Job(SPEC, stack([one] * n), tuple(units), horizons, 1.0, 0))
    assert set(np.concatenate([fold.subjects for fold in everybody]).tolist()) & set(known)
