"""Gate `closure`: a forecast in pieces is no worse than the same forecast at once, and stays among real readings.

Pieces are steps in time, or the members of a set that are given one on top of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.forecast import forecast
from biowm.core.interval import Interval
from biowm.core.path import take
from biowm.core.queries import Queries
from biowm.core.registry import register
from biowm.core.sampled import evenly
from biowm.core.schedule import Schedule
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


@dataclass(frozen=True)
class Carried:
    """Readings of some questions (numbers, column of each) foretold in pieces and at once, and how they were cut."""

    rows: Int[np.ndarray, " q"]
    column: Int[np.ndarray, " q"]
    pieces: Float[np.ndarray, "q n d"]
    whole: Float[np.ndarray, "q n d"]
    says: str
    evidence: Mapping[str, Any]


@register("gates", "closure")
def check(exam: Exam) -> Verdict:
    """Forecasts in pieces against the same forecast at once, and against the truth (R2 of the ladder).

    Each question is carried to its last reading within 24 `spacing`s: once in k steps of one spacing, each under the
    action of its own time, and once in one step under the mean action (boluses at its start). In a screen that is read
    once, sets of several members are given one member after another, in either order, each on top of what the ones
    before it led to, and all at once.

    It passes if the error in pieces (CRPS) is not shown to be more than 2 % worse than the other (paired ratio by
    subject; 2 % is what `skill` calls not worse), if every reading is finite, and if the share of them outside the
    range of all training readings is within the exact 95 % interval of that share among the true readings: the
    forecast leaves no faster than reality does.
    GEARS fails the first (+24 % in L2, doi:10.21203/rs.3.rs-10404367/v1).
    """
    world = exam.dynamics
    if world is None:
        return exam.skip("closure", NO_TRANSITION)
    ends = _ends(exam, world.spacing)
    found = _in_steps(exam, world, ends) if ends is not None else _in_turn(exam, world)
    if found is None:
        why = "no question reaches two steps ahead, and none is about a set of several members: nothing is carried on"
        return exam.skip("closure", why)
    channels = list(world.spec.targets)
    lost = 1.0 - float(np.isfinite(found.pieces[..., channels]).mean())
    if lost:
        detail = f"{found.says}, {100 * lost:.2g} % of the readings are not finite numbers"
        return exam.verdict("closure", False, None, detail, {"not_finite": lost})
    truth = exam.asked.truth[found.rows, found.column]
    errors = {
        name: tally(
            METRICS["crps"],
            crps(exam.scaled(draws), exam.scaled(truth), axis=1).ravel(),
            np.repeat(exam.units[found.rows], len(channels)),
        )
        for name, draws in (("iterated", found.pieces), ("joint", found.whole))
    }
    against = ratio(errors["iterated"], errors["joint"], seed=exam.seed)
    evidence = {
        "metric": "crps",
        "questions": len(found.rows),
        **found.evidence,
        "errors": {name: asdict(interval(t, seed=exam.seed)) for name, t in errors.items()},
        "ratio": asdict(against),
    }
    return _judge(exam, found, against, _strays(exam, found, truth), evidence)


def _in_steps(exam: Exam, world: World, ends: Ends) -> Carried:
    """In single steps, and in one."""
    steps = _steps(exam, ends)
    pieces = _asked(exam, world, ends.rows, steps)
    whole = _asked(exam, world, ends.rows, np.repeat(steps[:, -1:], steps.shape[1], axis=1))  # the same program serves
    reach = [int(ends.steps.min()), int(ends.steps.max())]
    says = f"carried on in up to {reach[1]} single steps"
    return Carried(ends.rows, ends.column, pieces, whole, says, {"steps": reach})


def _in_turn(exam: Exam, world: World) -> Carried | None:
    """One member of a set after another, in either order, and all at once; None where no set has two."""
    held = [a for a, card in enumerate(world.spec.actions) if card.kind == "set-member"]
    own = take(exam.paths.plan, exam.asked.queries.subject)
    card, onset, stop = (np.asarray(leaf) for leaf in (own.card, own.onset, own.stop))
    read = np.asarray(np.isfinite(exam.asked.truth).any(-1)).reshape(len(card), -1)
    column = np.asarray(read.shape[1] - 1 - read[:, ::-1].argmax(1))
    start, until = exam.asked.start, np.take_along_axis(exam.asked.queries.times, column[:, None], 1)[:, 0]
    given = np.isin(card, held) & (onset < until[:, None]) & (stop > start[:, None])
    rows = np.flatnonzero((given.sum(1) > 1) & read.any(1))
    if not len(rows):
        return None
    rows = rows[evenly(len(rows), _QUESTIONS // 2)]
    given, size = given[rows], given[rows].sum(1, keepdims=True)
    place = np.cumsum(given, 1) - 1
    times, pieces = until[rows, None].astype(np.float32), []
    plans = take(own, rows)
    for order in (place, size - 1 - place):
        share = (start[rows, None] + order / size * (until - start)[rows, None]).astype(np.float32)
        plan = replace(plans, onset=np.where(given, np.maximum(onset[rows], share), onset[rows]))
        pieces.append(_asked(exam, world, rows, times, plan))
    whole = _asked(exam, world, rows, times, plans)
    twice = np.concatenate([rows, rows])
    says = f"members of {len(rows)} sets given one after another, in either order"
    evidence = {"sets": len(rows), "members": [int(size.min()), int(size.max())]}
    return Carried(twice, column[twice], np.concatenate(pieces), np.concatenate([whole, whole]), says, evidence)


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


def _asked(
    exam: Exam, world: World, rows: Int[np.ndarray, " q"], times: Float[np.ndarray, "q t"],
    plans: Schedule | None = None,
) -> Float[np.ndarray, "q n d"]:  # fmt: skip
    """Draws of the reading at the last of `times`."""
    queries = exam.asked.queries
    asked = Queries(queries.subject[rows], queries.origin[rows], times)
    key = jax.random.key(exam.seed)
    return forecast(world, exam.paths, asked, key=key, draws=exam.draws, plans=plans)[:, :, -1]


def _strays(exam: Exam, found: Carried, truth: Float[np.ndarray, "q d"]) -> Strays | None:
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
        return interval(tally(METRICS["coverage90"], outside(x).mean(1), exam.units[found.rows]))

    return Strays(share(found.pieces), share(truth[:, None]))


def _judge(
    exam: Exam, found: Carried, against: Interval, strays: Strays | None, evidence: dict[str, Any]
) -> Verdict:  # fmt: skip
    worse = not against.low <= MARGIN
    leaves = strays is not None and not strays.draws.value <= strays.truth.high
    whole = "one long step" if "steps" in found.evidence else "the whole set at once"
    detail = f"{found.says}, the error is {against.value:.3f} "
    detail += f"[{against.low:.3f}, {against.high:.3f}] of that of {whole} (a ratio: low is good)"
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
