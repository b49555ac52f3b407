"""The exam of a simulator on subjects of its own: it is its own truth, and the simple rules learn from its cohort."""

from __future__ import annotations

import jax
import numpy as np

from biowm.core.errors import BadInput, place
from biowm.core.forecast import forecast
from biowm.core.path import Path, take
from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.engine.cohort import random_policy, simulate
from biowm.models.candidate import material
from biowm.train.calibrate import Calibration, calibrate
from biowm.train.candidates import eligible
from biowm.train.contest import DRAWS, ORIGINS, Progress
from biowm.train.envelope import envelope
from biowm.train.horizons import Horizons, ask

from .exam import Exam, Training
from .heldout import categories

_TRAIN, _CALIBRATE, _TEST = 64, 48, 40
_STEPS = 20


def exam_of_world(world: World, *, seed: int = 0, progress: Progress = lambda text, share: None) -> Exam:
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
    learn, trust, test = (take(paths, part) for part in rows)
    horizons = Horizons("clock", (h, 4 * h, 10 * h), spec.clock)
    ready = material(spec, learn, h, horizons.values[-1])
    rules = {c.name: c.fit(ready) for c in eligible(spec, learn) if c.is_rule}
    asked = ask(trust, np.arange(_CALIBRATE), horizons, origins=ORIGINS, targets=spec.targets)

    def promise(member: World) -> Calibration:
        draws = forecast(member, trust, asked.queries, key=jax.random.key(seed), draws=DRAWS)
        return calibrate(spec, ready.frame.scale, asked, ready.frame.scale.to_z(draws), len(horizons.values))

    training = Training(
        learn, tuple(f"t{i}" for i in range(_TRAIN)), ready.frame.scale,
        envelope(spec, ready.frame.scale, learn, horizons.values[-1]),
    )  # fmt: skip
    calibrations = {name: promise(member) for name, member in {"world": world, **rules}.items()}
    return Exam(
        world, rules, test, tuple(f"s{i}" for i in range(_TEST)), horizons, calibrations, seed=seed,
        training=training, truth=world, contexts=categories(spec, test), trained_on=_met(spec, learn),
        progress=progress,
    )  # fmt: skip


def _met(spec: WorldSpec, paths: Path) -> dict[str, frozenset[str]]:
    return {name: frozenset(values) for name, values in categories(spec, paths).items()}


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
