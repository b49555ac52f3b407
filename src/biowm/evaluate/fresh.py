"""Fresh subjects of the simulator that the data came from: read up to a decision, then treated by many schedules."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float, Int

from biowm.core.forecast import forecast
from biowm.core.path import take
from biowm.core.queries import Queries
from biowm.core.rollout import time_grid
from biowm.core.schedule import Schedule
from biowm.core.world import World
from biowm.engine.cohort import Cohort, Policy, had_been, simulate
from biowm.train.horizons import Horizons

from .exam import Exam

SUBJECTS = 48  # in every cohort: one compiled program serves all gates
HISTORY = 8  # readings before the decision
_NEW = 1_000_003  # added to the seed of the exam: none of its subjects is met again
_DRAWS = 32

Doses = Float[np.ndarray, "q g a"]
"""The dose of every action in each step after the decision, one table a question."""


@dataclass(frozen=True)
class Fresh:
    """Subjects treated by a policy all along (`cohort`), and the decision after their first readings.

    `steps` are the times from the decision to the longest horizon, no further apart than the simulator's spacing;
    `ends` says which of those after the decision is each horizon.
    """

    cohort: Cohort
    steps: Float[np.ndarray, " m"]
    ends: Int[np.ndarray, " h"]

    def plans(self, subject: Int[np.ndarray, " q"], doses: Doses) -> Schedule:
        """What was given to each subject until the decision, and from there on `doses`."""
        past, now, count = take(self.cohort.paths.plan, subject), self.steps[0], doses[0].size
        cards, begins = np.arange(doses.shape[2]), np.repeat(self.steps[:-1], doses.shape[2])
        bolus = np.array([card.kind == "bolus" for card in self.cohort.world.spec.actions])
        stops = np.where(np.tile(bolus, doses.shape[1]), begins, np.repeat(self.steps[1:], doses.shape[2]))
        dose = doses.reshape(len(doses), count)

        def both(before: np.ndarray, after: np.ndarray) -> np.ndarray:
            return np.concatenate([before, np.broadcast_to(after, dose.shape)], axis=1).astype(before.dtype)

        return Schedule(
            card=both(
                np.where(past.onset < now, past.card, -1), np.where(dose != 0, np.tile(cards, doses.shape[1]), -1)
            ),
            dose=both(np.asarray(past.dose), dose),
            onset=both(np.asarray(past.onset), begins),
            stop=both(np.minimum(past.stop, now), stops),
            assigned=both(np.asarray(past.assigned), np.ones(1, bool)),
        )

    def truth(self, subject: Int[np.ndarray, " q"], plans: Schedule) -> Float[np.ndarray, "q h d"]:
        """What would have come at the horizons, with the subject's own chances."""
        times = np.concatenate([self.cohort.paths.t[0, :HISTORY], self.steps[1:]])
        return had_been(self.cohort, subject, plans, times)[:, HISTORY:][:, self.ends]

    def answer(self, exam: Exam, subject: Int[np.ndarray, " q"], plans: Schedule) -> Float[np.ndarray, "q n h d"]:
        """What the model under exam says will come at the horizons, from the readings up to the decision alone."""
        times = np.broadcast_to(self.steps[1:], (len(subject), len(self.steps) - 1))
        queries = Queries(subject, np.full(len(subject), HISTORY - 1), times)
        key = jax.random.key(exam.seed)
        return forecast(exam.world, self.cohort.paths, queries, key=key, draws=_DRAWS, plans=plans)[:, :, self.ends]


def fresh(exam: Exam, truth: World, policy: Policy) -> Fresh:
    """`SUBJECTS` subjects of `truth` that the exam has not met, treated by `policy` at every reading."""
    h = truth.spacing
    past = (h * np.arange(HISTORY)).astype(np.float32)
    now = float(past[-1])
    grid, ends = time_grid(now, now + leads(exam.horizons, h), h)
    cohort = simulate(truth, SUBJECTS, np.concatenate([past, grid]), policy, seed=exam.seed + _NEW)
    return Fresh(cohort, np.concatenate([past[-1:], grid]), ends)


def leads(horizons: Horizons, spacing: float) -> Float[np.ndarray, " h"]:
    """The horizons in the world's clock; readings are `spacing` apart."""
    return np.array(horizons.values) * (spacing if horizons.kind == "readings" else 1.0)
