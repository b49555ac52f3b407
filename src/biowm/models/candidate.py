"""What a model part must offer to run in the race: a name, whether it is a simple rule, and how it is fitted.

A file under `biowm/models/` that registers a function returning candidates enters all of them:

    @register("candidates", "my-trunk")
    def candidates() -> tuple[Candidate, ...]:
        return (Candidate("my-trunk", False, lambda m: fit_mine(m.spec, m.frame, m.paths)),)
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from biowm.core.path import Path
from biowm.core.queries import Origins
from biowm.core.spec import WorldSpec
from biowm.core.world import World

from .baselines.pairs import Pairs, pairs_of
from .tracker import Frame, fit_frame


@dataclass(frozen=True)
class Material:
    """Training paths and what candidates share: scales, and the pairs of the direct rules."""

    spec: WorldSpec
    paths: Path
    frame: Frame
    longest: float
    _fits: dict[str, World] = field(default_factory=dict, init=False, repr=False, compare=False)
    _lock: threading.RLock = field(default_factory=threading.RLock, init=False, repr=False, compare=False)
    _busy: dict[str, threading.RLock] = field(default_factory=dict, init=False, repr=False, compare=False)

    def fitted(self, candidate: Candidate) -> World:
        """The candidate fitted to this material: once, however many ask for it."""
        with self._busy.setdefault(candidate.name, threading.RLock()):
            if candidate.name not in self._fits:
                self._fits[candidate.name] = candidate.fit(self)
            return self._fits[candidate.name]

    @property
    def pairs(self) -> Pairs:
        """Origin and later reading pairs up to the longest horizon, built on first use, whoever asks first."""
        with self._lock:
            return self._pairs

    @functools.cached_property
    def _pairs(self) -> Pairs:
        return pairs_of(self.frame, self.paths, len(self.spec.actions), self.longest)


def material(spec: WorldSpec, paths: Path, spacing: float, longest: float) -> Material:
    """Fit the shared scales on the training paths (stacked); `longest` is the longest lead, in the world's clock."""
    return Material(spec, paths, fit_frame(spec, paths, spacing), longest)


def anywhere(spec: WorldSpec, paths: Path) -> bool:
    """What a candidate asks of training paths that asks nothing."""
    return True


@dataclass(frozen=True)
class Candidate:
    """One entrant of the race.

    `least` is the number of readings, of all subjects, below which it does not run; one that is `thorough` runs only
    where time is given. `origins` are the questions it can answer: from readings spread over a history, from its first,
    or from the start, before anything was read. One that reads `sets` runs where actions are held together, and `runs`
    says what else it must find in the training paths.
    """

    name: str
    is_rule: bool
    fit: Callable[[Material], World]
    least: int = 0
    thorough: bool = False
    origins: tuple[Origins, ...] = ("spread", "first")
    sets: bool = False
    runs: Callable[[WorldSpec, Path], bool] = anywhere


def shared(candidate: Candidate) -> Candidate:
    """The same candidate, but fitted once to each material: it and what is built on it ask for one world."""
    return replace(candidate, fit=lambda m: m.fitted(candidate))
