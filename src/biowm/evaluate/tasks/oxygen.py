"""Task `oxygen`: radii of tumour spheroids after a switch of oxygen, learned from spheroids that had no switch.

511 melanoma spheroids of three lines under 21 % or 2 % oxygen, or switched from one to the other on day 2 or 4
(doi:10.1371/journal.pcbi.1010833), each read once, when it is destroyed: outer radius and that of its necrotic core.
What is foretold are the mean radii of the conditions after a switch, from the mean radii before it, in seven cases;
what is learned from are the constant arms of all lines. Naive rules: ignore the switch, jump to the course under the
new oxygen, add that course's increments to the state. Which of them is best in a case is known afterwards alone: the
best of three is a hard mark.

Paths of the default world are rows of different spheroids, one a day: a population that moves. The necrotic core goes
when oxygen comes back, which no constant arm shows. `replicates` misses each mean by the standard deviation within its
condition; intervals are over the two to four conditions of a case, so they say little.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from biowm.core.interval import Role
from biowm.core.registry import register
from biowm.data import catalogue
from biowm.train.contest import Progress

from ..metrics import METRICS, Tally, tally
from ..task import Answer, Setting, Task
from ._spheroids import CHANNELS, RULES, Case, Spheroids, build, by_rule, cases, foretold, read, truth

_MEMBERS, _WORLDS = ("direct", "ridge", "knn"), ("world", "world:no-rules")


@dataclass(frozen=True)
class Problem:
    """The spheroids and the switches."""

    spheroids: Spheroids
    cases: tuple[Case, ...]
    seed: int
    draws: int
    thorough: bool = False


Prediction = tuple[Float[np.ndarray, "_ 2"], ...]  # by case


@register("tasks", "oxygen")
class Oxygen(Task[Problem, Prediction]):
    """Spheroids after a switch of oxygen."""

    version = "1"
    primary = "rmse_outer"
    data = "oxygen"

    def make(self, seed: int, setting: Setting) -> Problem:
        """The books; the seed is that of rows, races and draws."""
        found = read(catalogue.find("oxygen", setting.data), catalogue.known("oxygen").files)
        full = setting.effort == "full"
        return Problem(found, tuple(cases(found)), seed, 1000 if full else 256, full)

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """The naive rules, what replicates say, and one world for all cases."""
        spheroids, asked = problem.spheroids, problem.cases
        for rule in RULES:
            yield Answer(rule, "baseline", tuple(by_rule(rule, spheroids, case) for case in asked))
        yield Answer("replicates", "floor", tuple(_within(spheroids, case) for case in asked))
        fitted = build(spheroids, problem.seed, problem.thorough, tell)
        for name in (*_MEMBERS, *_WORLDS):
            role: Role = "ours" if name in _WORLDS else "baseline"
            said = (foretold(fitted, name, spheroids, case, problem.seed, problem.draws) for case in asked)
            yield Answer(name, role, tuple(said))

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Errors of means by condition."""
        found: dict[tuple[str, str], Tally] = {}
        for case, said in zip(problem.cases, prediction, strict=True):
            square = (said - truth(problem.spheroids, case)) ** 2
            for j, channel in enumerate(CHANNELS):
                units = [f"day {day}" for day in case.conditions]
                found[case.name, f"rmse_{channel}"] = tally(METRICS["rmse"], square[:, j], units)
        return found


def _within(spheroids: Spheroids, case: Case) -> Float[np.ndarray, "t 2"]:
    """Each mean, missed by the standard deviation within its condition."""
    return np.stack(
        [spheroids[case.line, c].mean(0) + spheroids[case.line, c].std(0, ddof=1) for c in case.conditions.values()]
    )
