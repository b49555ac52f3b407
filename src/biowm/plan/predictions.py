"""Predictions for a whole file of MEDS labels, each by what was known at its prediction time and by nothing later."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as File

import numpy as np
import pandas as pd

from biowm.core import units
from biowm.core.errors import BadInput, place
from biowm.core.scores import rank_quantile
from biowm.data import study as studies
from biowm.data.meds_folder import asked_for
from biowm.data.study import Study
from biowm.train.fitted import Fitted

from .question import Question, aligned, check_same_world, described
from .whatif import what_if

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
COLUMNS = ("subject_id", "prediction_time", "channel", "unit", "time", *(f"q{q:g}" for q in QUANTILES), "support")
_UNREAD = "no reading by then"


def predictions(
    fitted: Fitted,
    folder: str | File,
    labels: str | File,
    *,
    horizon: float,
    draws: int = 200,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> pd.DataFrame:
    """A row for each row of `labels` and channel: what it will be `horizon` (in the clock) after the prediction time.

    The folder is read anew for the first, second, ... prediction time of every subject, each time without any event
    after it: neither readings nor doses, traits or ends are known sooner. Actions go on as they were then. Quantiles
    are of the draws, in the channel's unit; `support` is the verdict, or says that nothing was read (quantiles: NaN).
    Raises BadInput where the world was not fitted to MEDS data, or folder or labels are not as the standard says.
    """
    config = described(fitted)
    if config.get("format") != "meds":
        raise BadInput(place(file=labels, found="a world of other tables", expected="one fitted to MEDS data"))
    asked = asked_for(File(labels))
    rounds: dict[int, dict[int, int]] = {}
    for subject, time in dict.fromkeys(asked):
        rounds.setdefault(sum(subject in times for times in rounds.values()), {})[subject] = time
    told: dict[tuple[int, int], list[tuple[object, ...]]] = {}
    for times in rounds.values():
        known = studies.histories(folder, {**config, "horizons": []}, times)
        check_same_world(fitted, known)
        for subject, time in times.items():
            told[subject, time] = _answer(fitted, known, subject, time, horizon, draws, seed)
            progress(len(told) / len(set(asked)))
    return pd.DataFrame([row for question in asked for row in told[question]], columns=pd.Index(COLUMNS))


def _answer(
    fitted: Fitted, known: Study, subject: int, time: int, horizon: float, draws: int, seed: int
) -> list[tuple[object, ...]]:
    """The rows of one subject at one prediction time (microseconds)."""
    spec = fitted.spec
    second = units.factor("s", spec.clock)
    now = pd.Timestamp(time, unit="us")
    then = now + pd.Timedelta(seconds=horizon / second)
    head = [(subject, now, c.name, c.unit, then) for c in spec.channels]
    history = _history(fitted, known, str(subject))
    if history is None:
        return [(*row, *([float("nan")] * len(QUANTILES)), _UNREAD) for row in head]
    wait = time / 1e6 * second - history.start - history.now  # since the last reading, from which futures count
    futures = what_if(fitted, history, horizon=wait + horizon, draws=draws, seed=seed)
    levels = np.stack([rank_quantile(futures.draws[:, -1], q) for q in QUANTILES], axis=-1)
    return [(*row, *levels[c].tolist(), futures.support.verdict) for c, row in enumerate(head)]


def _history(fitted: Fitted, known: Study, name: str) -> Question | None:
    """The history of a subject up to its last reading; None where there is none."""
    if name not in known.subjects:
        return None
    row = known.subjects.index(name)
    path = aligned(fitted, known, known.paths[row])
    seen = np.flatnonzero(np.isfinite(path.x).any(-1))
    if not len(seen):
        return None
    return Question(name, path, int(seen[-1]), float(path.t[seen[-1]]), known.starts[row])
