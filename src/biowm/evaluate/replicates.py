"""The ceiling that replicates give: what others, declared to be the same, did from the same time on.

A study declares them as a grouping of the name `replicate` (wells of one plate under one schedule, mice of one arm). A
subject's future is then its own last reading and the rise of each other member of its group since that time: what
forecasts as good as a repeated experiment would say. A model that knows more of a subject than its group may do better.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from biowm.core.scores import crps

from .exam import Exam

GROUPING = "replicate"
_LEAST = 2  # others, for a spread


def missing(exam: Exam) -> str:
    """Why replicates give no ceiling here; empty where they do."""
    if GROUPING not in exam.contexts:
        return f"no grouping '{GROUPING}' is declared"
    counts = [len(_others(exam, s)) for s in range(len(exam.subjects))]
    alone = sum(n < _LEAST for n in counts)
    few = f"{alone} of {len(counts)} subjects have fewer than {_LEAST} others in their group '{GROUPING}'"
    return few if 2 * alone > len(counts) else ""


def losses(exam: Exam) -> dict[str, Float[np.ndarray, "q r c"]]:
    """CRPS, absolute and squared error of what the replicates say (standardised link space; NaN: fewer than two)."""
    asked, truth = exam.asked, exam.scaled(exam.asked.truth)
    times, z = np.asarray(exam.paths.t, np.float64), exam.scaled(exam.paths.x)
    whom = asked.queries.subject.tolist(), asked.queries.origin.tolist()
    out = {metric: np.full(truth.shape, np.nan) for metric in ("crps", "mae", "rmse")}
    for q, (subject, origin) in enumerate(zip(*whom, strict=True)):
        when = np.concatenate([times[subject, origin : origin + 1], asked.queries.times[q]])
        others = _others(exam, subject)
        for c in range(z.shape[2] if len(others) >= _LEAST else 0):
            own = _at(times[subject], z[subject, :, c], when[:1])
            read = np.array([_at(times[o], z[o, :, c], when) for o in others])
            said = own + read[:, 1:] - read[:, :1]
            for r in np.flatnonzero(np.isfinite(said).sum(0) >= _LEAST):
                draws = said[np.isfinite(said[:, r]), r]
                out["crps"][q, r, c] = crps(draws[:, None], truth[q, r : r + 1, c])[0]
                out["mae"][q, r, c] = abs(np.median(draws) - truth[q, r, c])
                out["rmse"][q, r, c] = (draws.mean() - truth[q, r, c]) ** 2
    return out


def _others(exam: Exam, subject: int) -> np.ndarray:
    """The other subjects of the exam in the group of this one."""
    groups = np.array(exam.contexts[GROUPING])
    found = np.flatnonzero((groups == groups[subject]) & (groups != ""))
    return found[found != subject]


def _at(t: Float[np.ndarray, " t"], z: Float[np.ndarray, " t"], when: Float[np.ndarray, " w"]) -> np.ndarray:
    """Readings at other times, linear between neighbours; NaN before the first and after the last."""
    seen = np.isfinite(z)
    if not seen.any():
        return np.full(len(when), np.nan)
    return np.interp(when, t[seen], z[seen], left=np.nan, right=np.nan)
