"""A plan: the schedule, what it is worth in the model that made it, and what others promise of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from biowm.core.interval import Interval
from biowm.core.record import Record
from biowm.core.schedule import Entry
from biowm.core.spec import WorldSpec

from .goals import Goal, Severity

NO_GUARANTEE = "no guarantee: planning breaks exchangeability, so calibrated bands do not hold for planned schedules"


@dataclass(frozen=True)
class LimitCheck:
    """How sure a limit is to hold (1 or 0 for doses): in the model that planned, and by judges that did not.

    `promised` is the lower of two: for each half's plan as the other half judges it, and for the plan given.
    """

    text: str
    meaning: str
    severity: Severity
    source: str
    level: float
    own: float
    promised: float | None
    ok: bool


@dataclass(frozen=True)
class Alternative:
    """A simple schedule beside the plan, judged by the models that did not plan where there are such.

    `ok` says whether it keeps the hard limits, `beaten` in what share of the draws, where the two differ, the
    plan reaches the goal better.
    """

    name: str
    value: Interval
    ok: bool
    beaten: float


@dataclass(frozen=True)
class Plan:
    """What to do from `now` on (absolute time, in the world's clock), towards a goal, within limits.

    `own` is the goal's value in the model that planned, `promise` by models fitted on other subjects than the
    planning ones (intervals hold 95 % of the draws; n counts draws), `overpromise` how much better the first is.
    `unlikely` says in what the schedule differs from all that was seen in training, and `disagreement` how far
    the judges' median paths are apart, in half-widths of their 80 % bands.
    """

    spec: WorldSpec
    goal: Goal
    now: float
    horizon: float
    entries: tuple[Entry, ...]
    own: Interval
    promise: Interval | None
    limits: tuple[LimitCheck, ...]
    alternatives: tuple[Alternative, ...]
    unlikely: tuple[str, ...] = ()
    disagreement: float | None = None
    record: Record | None = None

    @property
    def overpromise(self) -> float | None:
        """How much better the planning model's value is than the promise, in the goal's unit."""
        if self.promise is None:
            return None
        return (self.promise.value - self.own.value) * (1 if self.goal.sense == "minimise" else -1)

    def to_json(self) -> dict[str, Any]:
        """The object that `biowm plan --json` prints; times count from `now`."""
        return {
            "goal": {"text": self.goal.text, "sense": self.goal.sense, "unit": self.goal.quantity.unit},
            "clock": self.spec.clock,
            "horizon": self.horizon,
            "schedule": [self._entry(e) for e in self.entries],
            "own": asdict(self.own),
            "promise": None if self.promise is None else asdict(self.promise),
            "overpromise": self.overpromise,
            "limits": [asdict(x) for x in self.limits],
            "alternatives": [asdict(x) for x in self.alternatives],
            "unlikely": list(self.unlikely),
            "disagreement": self.disagreement,
            "note": NO_GUARANTEE,
            "record": None if self.record is None else self.record.to_json(),
        }

    def _entry(self, entry: Entry) -> dict[str, Any]:
        card = self.spec.actions[entry.card]
        return {
            "action": card.name,
            "dose": entry.dose,
            "unit": card.unit,
            "onset": entry.onset - self.now,
            "stop": entry.stop - self.now,
            "planned": entry.assigned,
        }


def describe(plan: Plan) -> str:
    """The plan as a few lines to read."""
    unit = plan.goal.quantity.unit
    lines = [f"Goal: {plan.goal.text}", "Schedule (from the last reading used):"]
    lines += [f"  {_line(plan, e)}" for e in plan.entries] or ["  nothing"]
    if plan.promise is None:
        lines.append(f"Value by the model that planned: {_number(plan.own, unit)}; no judge, so no promise")
    else:
        lines.append(f"Promise, by models fitted on other subjects: {_number(plan.promise, unit)}")
        gap = plan.overpromise or 0.0
        side = "better" if gap > 0 else "worse"
        lines.append(f"Value by the model that planned: {_number(plan.own, unit)}, {side} by {abs(gap):.3g}")
    for check in plan.limits:
        sure = f"{check.own:.2f}" if check.promised is None else f"{check.promised:.2f} promised, {check.own:.2f} own"
        lines.append(f"Limit ({check.severity}) {check.meaning}: {'holds' if check.ok else 'BROKEN'} ({sure})")
    for other in plan.alternatives:
        kept = "" if other.ok else ", breaks a hard limit"
        lines.append(f"Instead {other.name}: {_number(other.value, unit)}{kept}; plan better in {other.beaten:.0%}")
    if plan.disagreement is not None:
        lines.append(f"Judges disagree by {plan.disagreement:.2f} half-widths of their 80 % band")
    lines += [f"Unlike the training data: {reason}" for reason in plan.unlikely]
    return "\n".join([*lines, NO_GUARANTEE[0].upper() + NO_GUARANTEE[1:] + "."])


def _line(plan: Plan, entry: Entry) -> str:
    card, clock = plan.spec.actions[entry.card], plan.spec.clock
    start, stop = entry.onset - plan.now, entry.stop - plan.now
    when = f"at {start:.4g} {clock}" if entry.stop == entry.onset else f"from {start:.4g} to {stop:.4g} {clock}"
    dose = "on" if card.kind == "switch" else f"{entry.dose:.4g} {card.unit}"
    return f"{card.name} {dose} {when}" + ("" if entry.assigned else " (going on)")


def _number(interval: Interval, unit: str) -> str:
    return f"{interval.value:.4g} [{interval.low:.4g}, {interval.high:.4g}] {unit}".rstrip()
