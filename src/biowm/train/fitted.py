"""What `fit` returns: the world, its rivals, its calibration and everything needed to use it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from biowm.core.interval import Row
from biowm.core.path import Path
from biowm.core.record import Record
from biowm.core.spec import WorldSpec
from biowm.core.world import World
from biowm.models.blend import blend

from .calibrate import Calibration
from .envelope import Envelope
from .horizons import Horizons
from .race import Race

if TYPE_CHECKING:
    from .cells.part import CellPart


@dataclass(frozen=True)
class Cohort:
    """The subjects a world was fitted and tested on: stacked paths and the split each subject is in.

    `groups` holds the groupings of the study (site, plate): the value of every subject.
    """

    subjects: tuple[str, ...]
    paths: Path
    split: tuple[str, ...]
    starts: tuple[float, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def known(self) -> Int[np.ndarray, " k"]:
        """Indices of the subjects that were not held out."""
        return np.flatnonzero(np.array(self.split) != "test")

    def row(self, subject: str) -> int:
        """Index of a subject; KeyError names some of those there are."""
        if subject not in self.subjects:
            some = ", ".join(self.subjects[:8])
            raise KeyError(f"unknown subject {subject!r}; there are {len(self.subjects)}, such as {some}")
        return self.subjects.index(subject)


@dataclass(frozen=True)
class Fitted:
    """A fitted world with its trust: `world` is the blend, `rules_free` the same without the simple rules.

    `members` holds every simple rule, every variant that earned weight and declared equations, `half_members` those of
    the blend fitted on each of two disjoint halves of the subjects, `rows` the held-out metrics. `rules_calibration` is
    of every simple rule, of declared equations and of `world:no-rules`. `cohort` is None where the histories were left
    out; `study` is the description of the study's table (JSON), by which a new history is read.
    """

    spec: WorldSpec
    world: World
    rules_free: World
    members: Mapping[str, World]
    race: Race
    calibration: Calibration
    rules_calibration: Mapping[str, Calibration]
    horizons: Horizons
    envelope: Envelope
    half_members: tuple[Mapping[str, World], Mapping[str, World]]
    cohort: Cohort | None
    rows: tuple[Row, ...]
    record: Record
    study: str | None = None
    cells: CellPart | None = None

    @property
    def halves(self) -> tuple[World, World]:
        """The blends of the two halves, for promises that are not made by the model that planned."""
        first, second = (blend(self.spec, dict(half), self.race.weights()) for half in self.half_members)
        return first, second
