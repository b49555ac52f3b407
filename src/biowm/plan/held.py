"""What goes on if nobody decides anything: rates as they are, boluses in the rhythm they had."""

from __future__ import annotations

import numpy as np

from biowm.core.schedule import Entry, Schedule, entries, schedule
from biowm.core.spec import WorldSpec


def hold(plan: Schedule, spec: WorldSpec, now: float, horizon: float) -> Schedule:
    """The schedule from `now` over `horizon` that continues what was given before `now`.

    A rate or switch stays at what was in force just before `now`; a bolus given at least twice is repeated
    at its last dose and its median gap, counted from the last one, unless it was stopped: overdue by half a gap.
    """
    past = [e for e in entries(plan) if e.onset < now]
    going_on: list[Entry] = []
    for a, card in enumerate(spec.actions):
        mine = sorted((e for e in past if e.card == a), key=lambda e: e.onset)
        dose = sum(e.dose for e in mine if now <= e.stop)
        if card.kind == "bolus":
            going_on += _rhythm(mine, now, horizon)
        elif dose:
            going_on.append(Entry(a, dose, now, now + horizon))
    return schedule(going_on)


def _rhythm(given: list[Entry], now: float, horizon: float) -> list[Entry]:
    if len(given) < 2:
        return []
    last, gap = given[-1], max(float(np.median(np.diff([e.onset for e in given]))), 1e-6)
    due = last.onset + gap * np.arange(1, 1 + int((now + horizon - last.onset) / gap))
    stopped = now > last.onset + 1.5 * gap
    return (
        []
        if stopped
        else [last._replace(onset=t, stop=t, assigned=False) for t in due.tolist() if now <= t < now + horizon]
    )
