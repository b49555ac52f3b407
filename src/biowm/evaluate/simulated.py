"""The exam of a simulator on subjects of its own: it is its own truth, and the simple rules learn from its cohort."""

from __future__ import annotations

import numpy as np

from biowm.core.errors import BadInput, place
from biowm.core.path import Path, take
from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.engine.cohort import random_policy, simulate
from biowm.train.contest import Progress, silent
from biowm.train.horizons import Horizons

from .exam import Exam
from .heldout import HeldOut
from .parts import Parts, exam_of_parts

_TRAIN, _CALIBRATE, _TEST = 64, 48, 40
_STEPS = 20


def exam_of_world(world: World, *, seed: int = 0, progress: Progress = silent) -> Exam:
    """Three cohorts of `world`, treated at random: the rules learn from one, bands from another, the last is asked.

    Subjects are read every `spacing`, and asked 1, 4 and 10 spacings ahead. The world answers about its own subjects
    from what was read of them, as any model would; what it does not know are their hidden states and chances.
    Raises BadInput where its subjects cannot be told apart from their first reading on.
    """
    spec, h = world.spec, world.spacing
    times = h * np.arange(_STEPS)
    paths = simulate(world, _TRAIN + _CALIBRATE + _TEST, times, random_policy(spec), seed=seed).paths
    if not np.isfinite(np.asarray(paths.x)).any():
        raise BadInput(f"world {spec.name}: found no finite reading of its own subjects, expected some")
    rows = np.split(np.arange(len(paths.t)), np.cumsum([_TRAIN, _CALIBRATE]))
    learned, trust, test = (take(paths, part) for part in rows)
    learn = _named("t", learned)
    horizons = Horizons("clock", (h, 4 * h, 10 * h), spec.clock)
    parts = Parts(learn, learn.subjects, trust, _named("s", test))
    return exam_of_parts(world, parts, horizons, h, truth=world, seed=seed, progress=progress)


def _named(letter: str, paths: Path) -> HeldOut:
    return HeldOut(paths, tuple(f"{letter}{i}" for i in range(len(paths.t))), {})


def check_same_truth(spec: WorldSpec, truth: WorldSpec) -> None:
    """Whether a simulator is about what a world was fitted to. Raises BadInput naming what differs."""
    for what in ("channels", "actions", "traits"):
        ours, theirs = (", ".join(f"{item.name} [{item.unit}]" for item in getattr(s, what)) for s in (spec, truth))
        if ours != theirs:
            raise BadInput(
                place(column=f"--truth {truth.name}: {what}", found=theirs or "none", expected=ours or "none")
            )
    if spec.clock != truth.clock:
        raise BadInput(place(column=f"--truth {truth.name}: clock", found=truth.clock, expected=spec.clock))
