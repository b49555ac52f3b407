"""The baselines that no report may leave out, and the exam with those of them that the race did not run."""

from __future__ import annotations

from dataclasses import replace

from biowm.models.candidate import material
from biowm.train.calibrate import unpromised
from biowm.train.candidates import entrants, references, spacing_of

from .exam import Exam

BASELINES = ("persistence", "mean", "no-effect", "additive", "nearest-dose", "knn", "ridge", "low-rank")


def with_baselines(exam: Exam) -> Exam:
    """The exam with every baseline, those it lacks fitted to what its model learned from; they promise no band.

    Where the model's training subjects are not known, the exam says of each that it lacks why.
    """
    lacking = [name for name in BASELINES if name not in exam.rules]
    if exam.training is None:
        why = "the histories that the model learned from were left out"
        return replace(exam, without={**exam.without, **dict.fromkeys(lacking, why)})
    spec, paths = exam.world.spec, exam.training.paths
    spacing = spacing_of(paths, spec.targets)
    ready = material(spec, paths, spacing, exam.horizons.longest(spacing))
    origins = exam.horizons.origins
    fits = {c.name: c for c in (*entrants(spec, origins=origins), *references(origins))}
    mute = unpromised(exam.calibrations["world"])
    without = {name: f"it cannot be asked from the {origins}" for name in lacking if name not in fits}
    lacking = [name for name in lacking if name in fits]
    rules = {**exam.rules, **{name: ready.fitted(fits[name]) for name in lacking}}
    trust = {**exam.calibrations, **dict.fromkeys(lacking, mute)}
    return replace(exam, rules=rules, calibrations=trust, without={**exam.without, **without})
