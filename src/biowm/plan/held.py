"""What goes on if nobody decides anything: rates as they are, boluses in the rhythm they had."""

from __future__ import annotations

import numpy as np

from biowm.core.schedule import Entry, Schedule, entries, schedule
from biowm.core.spec import WorldSpec


def hold(plan: Schedule, spec: WorldSpec, now: float, horizon: float) -> Schedule:
    """The schedule from `now` over `horizon` that continues what was given before `now`.

    A rate or switch stays at what was in force just before `now`; a bolus given at least twice is repeated
    at its last dose and its median gap, counted from the last one.
    """
    past = [e for e in entries(plan) if e.onset < now]
    going_on = []
    for a, card in enumerate(spec.actions):
        mine = sorted((e for e in past if e.card == a), key=lambda e: e.onset)
        if card.kind != "bolus":
            dose = sum(e.dose for e in mine if now <= e.stop)
            going_on += [Entry(a, dose, now, now + horizon)] if dose else []
        elif len(mine) > 1:
            gap = float(np.median(np.diff([e.onset for e in mine])))
            following = mine[-1].onset + gap * np.arange(1, 1 + int((now + horizon - mine[-1].onset) / max(gap, 1e-6)))
            going_on += [Entry(a, mine[-1].dose, t, t) for t in following.tolist() if now <= t < now + horizon]
    return schedule(going_on)
