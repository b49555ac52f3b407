"""Fit a study: split its subjects, fit the training ones, keep the cohort."""

from __future__ import annotations

import dataclasses

import numpy as np

from biowm.core import registry
from biowm.core.mechanism_units import Declared
from biowm.core.path import stack, take
from biowm.core.record import Record
from biowm.data.splits import belongs, split
from biowm.data.study import Study

from .contest import Progress
from .fit import fit_paths
from .fitted import Cohort, Fitted
from .horizons import declared
from .stages import Stages


def declared_by(study: Study) -> Declared | None:
    """The mechanism that a study file names."""
    given = study.config.mechanism
    if given is None:
        return None
    return Declared(registry.get("mechanisms", given.name)(), given.channels, given.actions, given.batch)


def fit_study(
    study: Study,
    *,
    mechanism: Declared | None = None,
    thorough: bool = False,
    seed: int = 0,
    stages: Stages | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit the default world to the training and calibration subjects of a study; the test subjects stay unseen.

    A `mechanism` enters the race beside all others, in place of the one that the study file names; `thorough`
    lets those race too that take long.

    Calibration is out of sample by construction (the race holds its subjects out), so that training and
    calibration subjects are one pool. Raises: ValueError where there are too few subjects or readings.
    """
    parts = split(study, seed)
    label = np.full(len(study.subjects), "train", dtype=object)
    label[list(parts.calibrate)], label[list(parts.test)] = "calibrate", "test"
    paths = stack(study.paths)
    pool = np.flatnonzero(label != "test")
    names = belongs(study)
    fitted = fit_paths(
        study.spec,
        take(paths, pool),
        declared(study.horizons, paths, study.spec.clock, study.spec.targets, study.config.asked_from),
        seed=seed,
        units=[names[i] for i in pool],
        mechanism=mechanism or declared_by(study),
        thorough=thorough,
        stages=stages,
        progress=progress,
    )
    record = fitted.record
    inputs = {**record.inputs, "study": study.sha256}
    return dataclasses.replace(
        fitted,
        cohort=Cohort(study.subjects, paths, tuple(label.tolist()), study.starts, study.groups),
        record=Record(record.kind, inputs, record.config, record.seed, record.parents, record.metrics),
        study=study.config.model_dump_json(exclude_defaults=True),
    )
