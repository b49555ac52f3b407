"""An exam in three parts: simple rules learn from some subjects, bands are promised on others, the last are asked."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np

from biowm.core.forecast import Model, forecast
from biowm.core.path import Path
from biowm.core.world import World
from biowm.models.candidate import material
from biowm.train.calibrate import Calibration, calibrate
from biowm.train.candidates import eligible
from biowm.train.contest import DRAWS, ORIGINS, Progress, silent
from biowm.train.envelope import envelope
from biowm.train.horizons import Horizons, ask

from .baselines import with_baselines
from .exam import Exam, Training
from .heldout import HeldOut, categories


@dataclass(frozen=True)
class Parts:
    """Who is learned from (with the split unit of each), whom bands are calibrated on, and who is asked."""

    learn: HeldOut
    units: tuple[str, ...]
    trust: Path
    test: HeldOut


def exam_of_parts(
    model: Model,
    parts: Parts,
    horizons: Horizons,
    spacing: float,
    *,
    truth: World | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Exam:
    """The exam on the last part; the simple rules are fitted to the first, all bands promised on the second."""
    spec, learn, trust = model.spec, parts.learn.paths, parts.trust
    ready = material(spec, learn, spacing, horizons.longest(spacing))
    scale = ready.frame.scale
    rules = {c.name: c.fit(ready) for c in eligible(spec, learn) if c.is_rule}
    asked = ask(trust, np.arange(len(trust.t)), horizons, origins=ORIGINS, targets=spec.targets)

    def promise(member: Model) -> Calibration:
        draws = forecast(member, trust, asked.queries, key=jax.random.key(seed), draws=DRAWS)
        return calibrate(spec, scale, asked, scale.to_z(draws), len(horizons.values))

    met = {**parts.learn.groups, **categories(spec, learn)}
    exam = Exam(
        model, rules, parts.test.paths, parts.test.subjects, horizons,
        {name: promise(member) for name, member in {"world": model, **rules}.items()},
        seed=seed, truth=truth, progress=progress,
        training=Training(learn, parts.units, scale, envelope(spec, scale, learn, horizons.longest(spacing))),
        contexts={**parts.test.groups, **categories(spec, parts.test.paths)},
        trained_on={name: frozenset(values) for name, values in met.items()},
    )  # fmt: skip
    return with_baselines(exam)
