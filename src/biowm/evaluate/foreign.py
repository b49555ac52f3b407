"""The exam of a model that is there already, on a study: nothing is fitted but the simple rules and the bands."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path as File

from biowm.adapters.functions import called
from biowm.core.endpoint import Endpoint
from biowm.core.errors import BadInput, place
from biowm.core.forecast import Model
from biowm.core.path import stack, take
from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.data.splits import split, units
from biowm.data.study import Study, only
from biowm.train.candidates import spacing_of
from biowm.train.contest import Progress, silent
from biowm.train.horizons import declared

from .exam import Exam
from .heldout import HeldOut
from .parts import Parts, exam_of_parts

Maker = Callable[[Study], Model]
"""A model made by `biowm.adapters` from a study: `biowm.certify` shows it the training subjects and nobody else."""


def made(make: Maker, study: Study, seed: int = 0) -> Model:
    """The model made from the training subjects of the split by `seed`: all that the function is given.

    Nobody is kept from opening the study's table by himself. Raises: BadInput where the function raises, or returns
    no model.
    """
    model = called("the function that makes the model", make, only(study, split(study, seed).train))
    if not isinstance(model, World | Endpoint):
        what, expected = "what the function that makes the model returned", "what biowm.adapters.wrap returns"
        raise BadInput(place(column=what, found=f"a {type(model).__name__}", expected=f"{expected}, or wrap_endpoint"))
    return model


def origin(make: Maker) -> dict[str, str]:
    """The SHA-256 of the file that the function is written in; nothing where it was not read from a file."""
    try:
        file = inspect.getsourcefile(make)
    except TypeError:  # an instance that can be called, or a builtin
        return {}
    if file is None or not File(file).is_file():
        return {}
    return {"file": hashlib.sha256(File(file).read_bytes()).hexdigest()}


def exam_of_model(
    model: Model,
    study: Study,
    *,
    truth: World | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Exam:
    """The exam of any model on the test subjects of a study, split by `seed`.

    The model may have learned from the training subjects of that split (`biowm.data.splits.split`) and from nobody
    else; whether it did is its maker's word, unless it was `made` here. The simple rules learn from them too, and bands
    are promised on the calibration subjects. Raises: BadInput where the model is about other things than the study, or
    where a part of the split is empty or asks nothing.
    """
    _check_same(model.spec, study)
    parts = split(study, seed)
    for name, rows in (("calibration", parts.calibrate), ("test", parts.test)):
        if not rows:
            raise BadInput(f"study {study.config.study}: found no {name} subjects, expected some (key split)")
    paths, named, spec = stack(study.paths), units(study), study.spec

    def part(rows: tuple[int, ...]) -> HeldOut:
        groups = {name: tuple(values[i] for i in rows) for name, values in study.groups.items()}
        return HeldOut(take(paths, list(rows)), tuple(study.subjects[i] for i in rows), groups)

    learn, test = part(parts.train), part(parts.test)
    horizons = declared(study.horizons, paths, spec.clock, spec.targets, study.config.asked_from)
    who = tuple(named[i] for i in parts.train)
    try:
        return exam_of_parts(
            model, Parts(learn, who, take(paths, list(parts.calibrate)), test), horizons,
            spacing_of(learn.paths, spec.targets), truth=truth, seed=seed, progress=progress,
        )  # fmt: skip
    except ValueError as error:
        raise BadInput(f"study {study.config.study}: {error}") from error


def _check_same(spec: WorldSpec, study: Study) -> None:
    """Whether a model is about what a study is about, to the letter: else its errors would be on another scale."""
    for what in ("channels", "actions", "traits", "clock"):
        found, expected = getattr(spec, what), getattr(study.spec, what)
        if found != expected:
            raise BadInput(
                f"{what} of model {spec.name}: found {found!r}, expected {expected!r}, as study {study.config.study} "
                f"has them: wrap the model with the study's own spec"
            )
