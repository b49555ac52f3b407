"""What a benchmark task is: problems by seed, contenders that answer them, and scores by unit. One file a task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Generic, Literal, TypeVar

from biowm.core.interval import Role, Row
from biowm.train.contest import Progress

from .metrics import Tally

Effort = Literal["quick", "default", "full"]
Problem = TypeVar("Problem")
Prediction = TypeVar("Prediction")
Pooled = Mapping[tuple[str, Role, str, str], Tally]  # by name, role, split and metric, over all seeds


@dataclass(frozen=True)
class Setting:
    """How a task is run: how much of it, which variant, and where the data lie (None: the usual places)."""

    effort: Effort = "default"
    variant: str | None = None
    data: Path | None = None


@dataclass(frozen=True)
class Answer(Generic[Prediction]):
    """What one contender says to a problem."""

    name: str
    role: Role
    prediction: Prediction


class Task(ABC, Generic[Problem, Prediction]):
    """A benchmark: registered by `@register("tasks", name)`, made anew for every run.

    `primary` is the metric that decides who wins; `higher`: more of it is better. `data` names the known data set.
    """

    version: ClassVar[str]
    primary: ClassVar[str]
    higher: ClassVar[bool] = False
    variants: ClassVar[tuple[str, ...]] = ()
    data: ClassVar[str | None] = None

    @abstractmethod
    def make(self, seed: int, setting: Setting) -> Problem:
        """The problem of one seed. Raises BadInput where its data are missing."""

    @abstractmethod
    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """Every contender's answer, baselines first, one at a time; `tell(text, share)` hears of the work between."""

    @abstractmethod
    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Tallies by (split, metric); where seeds draw different subjects, the names of the units tell them apart."""

    def scope(self, setting: Setting) -> str:
        """What of the task a setting runs, where that is not all of it."""
        return ""

    def remarks(self, rows: Sequence[Row]) -> Iterable[str]:
        """Sentences that have to stand beside the rows of a result: what a figure must not be taken for."""
        return ()

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """Rows besides the tallies' own: ratios between contenders, figures quoted from elsewhere."""
        return ()
