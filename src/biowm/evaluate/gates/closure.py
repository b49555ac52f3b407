"""Gate `closure`: a forecast carried on step by step is no worse than one long step, and stays among real readings."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.forecast import forecast
from biowm.core.interval import Interval
from biowm.core.queries import Queries
from biowm.core.registry import register
from biowm.core.sampled import evenly
from biowm.core.scores import crps
from biowm.core.world import World

from ..exam import NO_TRANSITION, Exam, Verdict
from ..metrics import METRICS, interval, ratio, tally
from .skill import MARGIN

_QUESTIONS, _STEPS = 64, 24  # one chunk of forecasts; the most steps that a rollout is cut into


@dataclass(frozen=True)
class Ends:
    """Questions (numbers among those asked), the reading each ends at, its time, and the steps that lead there."""

    rows: Int[np.ndarray, " q"]
    column: Int[np.ndarray, " q"]
    until: Float[np.ndarray, " q"]
    steps: Int[np.ndarray, " q"]


@dataclass(frozen=True)
class Strays:
    """How often draws and truths lie outside the range of all training readings, counted by subject."""

    draws: Interval
    truth: Interval


@register("gates", "closure")
def check(exam: Exam) -> Verdict:
    """Single steps against one joint step to the same reading, and against the truth (R2 of the ladder).

    Each question is carried to its last reading within 24 `spacing`s: once in k steps of one spacing, each under the
    action of its own time, and once in one step under the mean action (boluses at its start). It passes if the
    iterated error (CRPS) is not shown to be more than 2 % worse than the direct one (paired ratio by subject; 2 % is
    what `skill` calls not worse), if every iterated reading is finite, and if the share of them outside the range of
    all training readings is within the exact 95 % interval of that share among the true readings: the forecast leaves
    no faster than reality does.
    GEARS fails the first (+24 % in L2, doi:10.21203/rs.3.rs-10404367/v1).
    """
    world = exam.dynamics
    if world is None:
        return exam.skip("closure", NO_TRANSITION)
    ends = _ends(exam, world.spacing)
    if ends is None:
        return exam.skip("closure", "no question reaches two steps ahead, so nothing is carried on")
    steps, channels = _steps(exam, ends), list(world.spec.targets)
    iterated = _carried(exam, world, ends, steps)
    lost = 1.0 - float(np.isfinite(iterated[..., channels]).mean())
    if lost:
        detail = f"carried on step by step, {100 * lost:.2g} % of the readings are not finite numbers"
        return exam.verdict("closure", False, None, detail, {"not_finite": lost})
    joint = _carried(exam, world, ends, np.repeat(steps[:, -1:], steps.shape[1], axis=1))  # the same program serves
    truth = exam.asked.truth[ends.rows, ends.column]
    errors = {
        name: tally(
            METRICS["crps"],
            crps(exam.scaled(draws), exam.scaled(truth), axis=1).ravel(),
            np.repeat(exam.units[ends.rows], len(channels)),
        )
        for name, draws in (("iterated", iterated), ("joint", joint))
    }
    against = ratio(errors["iterated"], errors["joint"], seed=exam.seed)
    evidence = {
        "metric": "crps",
        "questions": len(ends.rows),
        "steps": [int(ends.steps.min()), int(ends.steps.max())],
        "errors": {name: asdict(interval(t, seed=exam.seed)) for name, t in errors.items()},
        "ratio": asdict(against),
    }
    return _judge(exam, against, _strays(exam, ends, iterated, truth), evidence)


def _ends(exam: Exam, spacing: float) -> Ends | None:
    """The last reading of each question that is between two and 24 steps ahead; None where no question has one."""
    steps = np.where(exam.asked.horizon >= 0, np.rint(exam.asked.leads / spacing), 0).astype(int)
    reach = np.where(steps <= _STEPS, steps, 0)
    column = np.asarray(reach.argmax(1))
    far = np.flatnonzero(reach.max(1) >= 2)
    if not len(far):
        return None
    rows = far[evenly(len(far), _QUESTIONS)]
    column = column[rows]
    return Ends(rows, column, exam.asked.queries.times[rows, column], steps[rows, column])


def _steps(exam: Exam, ends: Ends) -> Float[np.ndarray, "q t"]:
    """The times of the single steps of each question, the last repeated; it is the reading's own to the bit."""
    start = exam.asked.start[ends.rows]
    share = np.arange(1, ends.steps.max() + 1) / ends.steps[:, None]
    times = (start[:, None] + share * (ends.until - start)[:, None]).astype(np.float32)
    return np.where(share < 1, times, ends.until[:, None])


def _carried(exam: Exam, world: World, ends: Ends, times: Float[np.ndarray, "q t"]) -> Float[np.ndarray, "q n d"]:
    """Draws of the reading at the last of `times`."""
    queries = exam.asked.queries
    asked = Queries(queries.subject[ends.rows], queries.origin[ends.rows], times)
    return forecast(world, exam.paths, asked, key=jax.random.key(exam.seed), draws=exam.draws)[:, :, -1]


def _strays(
    exam: Exam, ends: Ends, iterated: Float[np.ndarray, "q n d"], truth: Float[np.ndarray, "q d"]
) -> Strays | None:
    """Readings outside the training range; None where the training readings are not known."""
    if exam.training is None:
        return None
    seen, scale, targets = exam.training.envelope, exam.training.scale, list(exam.world.spec.targets)
    low, high = seen.z_low[targets], seen.z_high[targets]
    read = np.isfinite(truth[:, targets])

    def outside(x: Float[np.ndarray, "q n d"]) -> Bool[np.ndarray, "q n"]:
        z = np.asarray(scale.to_z(x))[..., targets]
        return np.asarray((~((z >= low - 1e-5) & (z <= high + 1e-5)) & read[:, None]).any(-1))

    def share(x: Float[np.ndarray, "q n d"]) -> Interval:
        return interval(tally(METRICS["coverage90"], outside(x).mean(1), exam.units[ends.rows]))

    return Strays(share(iterated), share(truth[:, None]))


def _judge(exam: Exam, against: Interval, strays: Strays | None, evidence: dict[str, Any]) -> Verdict:
    worse = not against.low <= MARGIN
    leaves = strays is not None and not strays.draws.value <= strays.truth.high
    detail = f"carried on in up to {evidence['steps'][1]} single steps, the error is {against.value:.3f} "
    detail += f"[{against.low:.3f}, {against.high:.3f}] of that of one long step (a ratio: low is good)"
    detail += ", clearly worse" if worse else ""
    if strays is None:
        detail += "; whether it stays in the range of the training readings is not known: histories were left out"
    else:
        ours, real = strays.draws, strays.truth
        detail += f"; {100 * ours.value:.2g} % of its readings leave the range of all training readings, "
        detail += f"{'more often than' if leaves else 'not clearly more than'} real ones: {100 * real.value:.2g} %"
        detail += f" [{100 * real.low:.2g}, {100 * real.high:.2g}]"
    evidence = {**evidence, "outside_training_range": None if strays is None else asdict(strays)}
    return exam.verdict("closure", not (worse or leaves), against, detail, evidence)
