"""Held-out subjects as examples for the report of a fit."""

from __future__ import annotations

import numpy as np

from biowm.evaluate.heldout import held_out
from biowm.plan.question import question
from biowm.plan.whatif import schedule_of, what_if
from biowm.safety.support import future
from biowm.train.fitted import Fitted

from .fitted import Example

_MOST = 3


def examples(fitted: Fitted, seed: int) -> list[Example]:
    """Up to three held-out subjects, forecast from the middle of their history, as treated and untreated."""
    part = held_out(fitted)
    if part is None or fitted.cohort is None:
        return []
    longest = fitted.envelope.longest
    found = []
    for subject in part.subjects:
        asked = question(fitted, subject=subject)
        t = np.asarray(asked.path.t)[np.isfinite(asked.path.x).any(-1)]
        middle = t[(t >= t[0] + 0.3 * (t[-1] - t[0])) & (t <= t[-1] - 0.5 * longest)]
        treated = [float(m) for m in middle if future(asked.path, float(m), float(m) + 0.5 * longest)]
        if fitted.spec.actions and not treated:
            continue
        if len(middle) and len(found) < _MOST:
            moment = treated[0] if treated else float(middle[0])
            start = fitted.cohort.starts[fitted.cohort.row(subject)]
            asked = question(fitted, subject=subject, start=moment + start)
            against = ("zero",) if fitted.spec.actions else ()
            futures = what_if(fitted, asked, against=against, horizon=longest, seed=seed)
            found.append(Example(subject, asked.path, asked.now, futures, schedule_of(futures, asked.now)))
    return found
