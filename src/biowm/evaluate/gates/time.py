"""Gate `time`: elapsed time is explicit: a forecast does not depend on when it is looked at on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import jax
import numpy as np
from jaxtyping import Float, Int

from biowm.core.forecast import forecast
from biowm.core.interval import Interval
from biowm.core.path import take
from biowm.core.queries import Queries
from biowm.core.registry import register
from biowm.core.sampled import evenly
from biowm.core.schedule import Entry, Schedule
from biowm.core.world import World

from ..exam import NO_TRANSITION, Exam, Verdict
from ..metrics import METRICS, Tally, ratio, tally
from ..tamper import masked, pack, unpack

_QUESTIONS, _STEPS = 64, 6  # one chunk of forecasts; an even number of steps of one `spacing`
_TOLERANCE = 0.05  # of the forecast's SD, as the contract suite allows of its mean
_LEAST = 0.02  # of a channel's SD: no forecast counts as sharper, as no band is narrower


@dataclass(frozen=True)
class Apart:
    """How far two forecasts of one channel are apart, in their SD: root mean square of the shift, ratio of the SDs."""

    shift: Interval
    spread: Interval

    @property
    def agree(self) -> bool:
        """Whether a difference above the tolerance is not shown."""
        most = 1 + _TOLERANCE
        return self.shift.low <= _TOLERANCE and self.spread.low <= most and self.spread.high >= 1 / most


@register("gates", "time")
def check(exam: Exam) -> Verdict:
    """The semigroup T_{a+b} = T_b T_a: other times on the way leave the law of the forecast alone (R4 of the ladder).

    From each origin the forecast is made for 2, 4 and 6 `spacing`s ahead, each action held at its mean rate and each
    bolus given at the origin, so that a step means the same on every grid: through a regular grid of one spacing, one
    with half steps, and an irregular one (steps of 0.5 to 1.5 spacings). At the common times the difference of the
    means, in SDs of the forecast, and the ratio of the SDs are compared per channel, over all questions, with the
    error of finitely many draws taken out. It passes if no 95 % interval (by subject) lies wholly beyond 5 % of the
    forecast's SD: that much the contract suite allows, and about that much 64 draws of 64 questions can tell.
    """
    world = exam.dynamics
    if world is None:
        return exam.skip("time", NO_TRANSITION)
    rows = evenly(len(exam.asked.queries.subject), _QUESTIONS)
    plans = _held(exam, rows, _STEPS * world.spacing)
    regular, *others = (_carried(exam, world, rows, plans, grid) for grid in _grids(exam, world, rows))
    units = exam.units[rows]
    found = {
        f"{name}, {world.spec.channels[j].name}": _apart(regular[..., c], other[..., c], units, exam.seed)
        for name, other in zip(("half steps", "irregular steps"), others, strict=True)
        for c, j in enumerate(world.spec.targets)
    }
    return _judge(exam, found)


def _grids(exam: Exam, world: World, rows: Int[np.ndarray, " q"]) -> list[Float[np.ndarray, "q t"]]:
    """Times in spacings after each origin: regular, with half steps, irregular; all end alike and are of one shape."""
    steps, rng = np.arange(1, _STEPS + 1), np.random.default_rng(exam.seed)
    halves = np.arange(1, 2 * _STEPS + 1) / 2
    odd = steps - (steps % 2) * rng.uniform(-0.5, 0.5, (len(rows), _STEPS))
    start = exam.asked.start[rows][:, None]
    ahead = [np.broadcast_to(grid, (len(rows), grid.shape[-1])) for grid in (steps, halves, odd)]
    width = 2 * _STEPS
    padded = [np.concatenate([g, np.full((len(rows), width - g.shape[1]), float(_STEPS))], axis=1) for g in ahead]
    return [(start + world.spacing * grid).astype(np.float32) for grid in padded]


def _held(exam: Exam, rows: Int[np.ndarray, " q"], ahead: float) -> Schedule:
    """What was given until the origin, then each action at its mean rate over the horizon, boluses at the origin."""
    queries = exam.asked.queries
    given = take(exam.paths, queries.subject[rows]).plan
    plans, origins = unpack(given), exam.asked.start[rows]
    held = masked(plans, origins)
    for q, (plan, now) in enumerate(zip(plans, origins.tolist(), strict=True)):
        until = now + ahead
        for action in range(len(exam.world.spec.actions)):
            own = [e for e in plan if e.card == action and e.onset < until]
            rate = sum(e.dose * max(min(e.stop, until) - max(e.onset, now), 0.0) for e in own) / ahead
            boluses = [e.dose for e in own if e.stop == e.onset >= now]
            held[q] += [Entry(action, rate, now, until)] if rate else []
            held[q] += [Entry(action, float(np.mean(boluses)), now, now)] if boluses else []
    return pack(held, given.card.shape[1])


def _carried(
    exam: Exam, world: World, rows: Int[np.ndarray, " q"], plans: Schedule, times: Float[np.ndarray, "q t"]
) -> Float[np.ndarray, "q n common c"]:
    """Draws at 2, 4 and 6 spacings, in standardised link space."""
    queries = exam.asked.queries
    asked = Queries(queries.subject[rows], queries.origin[rows], times)
    draws = forecast(world, exam.paths, asked, key=jax.random.key(exam.seed), draws=exam.draws, plans=plans)
    common = exam.asked.start[rows][:, None] + world.spacing * np.arange(2, _STEPS + 1, 2)
    place = (np.abs(times[:, None] - common[:, :, None])).argmin(-1)
    return exam.scaled(np.take_along_axis(draws, place[:, None, :, None], axis=2))


def _apart(a: Float[np.ndarray, "q n r"], b: Float[np.ndarray, "q n r"], units: np.ndarray, seed: int) -> Apart:
    """The two statistics, with the Monte-Carlo error of the draws (paired by their noise) taken out."""
    gap = b.astype(float) - a
    shift = gap.mean(1) ** 2 - gap.var(1, ddof=1) / gap.shape[1]  # unbiased for the squared difference of the means
    one, other = (np.maximum(x.var(1, ddof=1, dtype=float), _LEAST**2) for x in (a, b))
    squared = ratio(_summed(shift, units), _summed(one, units), seed=seed)
    return Apart(_root(squared), _root(ratio(_summed(other, units), _summed(one, units), seed=seed)))


def _summed(values: Float[np.ndarray, "q r"], units: np.ndarray) -> Tally:
    return tally(METRICS["mae"], values.ravel(), np.repeat(units, values.shape[1]))


def _root(squared: Interval) -> Interval:
    """The interval of a root mean square; what the noise of the draws makes negative counts as none."""
    low, value, high = (float(np.sqrt(np.maximum(v, 0.0))) for v in (squared.low, squared.value, squared.high))
    return Interval(value, low, high, squared.n)


def _judge(exam: Exam, found: Mapping[str, Apart]) -> Verdict:
    differ = [name for name, apart in found.items() if not apart.agree]
    worst = max(found, key=lambda name: np.nan_to_num(found[name].shift.low, nan=np.inf))
    shift, spread = found[worst].shift, found[worst].spread
    detail = "forecasts agree whether or not they are looked at on the way" if not differ else (
        f"what is forecast depends on the times at which it is looked at on the way ({'; '.join(differ)})"
    )  # fmt: skip
    detail += f": with {worst} they are {shift.value:.3f} [{shift.low:.3f}, {shift.high:.3f}] of their SD apart"
    detail += f" and {spread.value:.3f} [{spread.low:.3f}, {spread.high:.3f}] times as wide"
    evidence = {"tolerance": _TOLERANCE, "apart": {name: asdict(apart) for name, apart in found.items()}}
    return exam.verdict("time", not differ, shift, detail, evidence)
