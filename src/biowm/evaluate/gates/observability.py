"""Gate `observability`: every channel that is read helps or does not harm, and the past is used where it tells more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float, Int

from biowm.core.forecast import forecast
from biowm.core.interval import Interval
from biowm.core.path import Path, take
from biowm.core.queries import Queries
from biowm.core.registry import register
from biowm.core.sampled import evenly
from biowm.core.scores import crps

from ..exam import Exam, Verdict
from ..metrics import METRICS, Tally, interval, ratio, tally
from .skill import MARGIN

_QUESTIONS = 64  # one chunk of forecasts for each history that is hidden in part


@register("gates", "observability")
def check(exam: Exam) -> Verdict:
    """What is seen of a subject is used: by channel, and over time (R5 of the ladder).

    The same questions are answered from the full history, with each channel hidden in turn (drop-channel curve; of a
    world with one channel there is none), and from the last reading of each channel alone (the memoryless model). It
    passes if the full history is not shown to be more than 2 % worse than any hidden one (paired ratio of CRPS by
    subject; 2 % is what `skill` calls not worse), and either clearly better than the last readings alone (interval
    below 1) or the very same forecast: then the world is Markov in what is read, and there is nothing to remember.
    """
    queries = exam.asked.queries
    rows = evenly(len(queries.subject), _QUESTIONS)
    origin = queries.origin[rows]
    known = _known(take(exam.paths, queries.subject[rows]), origin)
    x = np.asarray(known.x)
    if not (np.isfinite(x).sum(1) > 1).any():
        return exam.skip("observability", "questions are asked from first readings: there is no history to hide")
    asked = Queries(np.arange(len(rows)), origin, queries.times[rows])
    channels = exam.world.spec.channels if len(exam.world.spec.channels) > 1 else ()
    hidden = {c.name: np.where(np.arange(x.shape[2]) == j, np.nan, x) for j, c in enumerate(channels)}

    def answered(x: Float[np.ndarray, "q t d"]) -> Float[np.ndarray, "q n r d"]:
        paths = eqx.tree_at(lambda p: p.x, known, x.astype(np.float32))
        return forecast(exam.world, paths, asked, key=jax.random.key(exam.seed), draws=exam.draws)

    full, last = answered(x), answered(_last(x))
    ours, bare = _errors(exam, rows, full), _errors(exam, rows, last)
    drop = {name: ratio(ours, _errors(exam, rows, answered(less)), seed=exam.seed) for name, less in hidden.items()}
    markov = bool(np.allclose(full, last, rtol=1e-4, atol=1e-6, equal_nan=True))
    evidence = {
        "metric": "crps",
        "full": asdict(interval(ours, seed=exam.seed)),
        "last_readings": asdict(interval(bare, seed=exam.seed)),
        "ratio_to_hidden": {name: asdict(r) for name, r in drop.items()},
        "markov": markov,
    }
    return _judge(exam, ratio(ours, bare, seed=exam.seed), drop, markov, evidence)


def _known(paths: Path, origin: Int[np.ndarray, " q"]) -> Path:
    """Histories up to their origin; what came later is not there to be looked at."""
    x = np.asarray(paths.x)
    before = np.arange(x.shape[1]) <= origin[:, None]
    return eqx.tree_at(lambda p: p.x, paths, np.where(before[..., None], x, np.nan))


def _last(x: Float[np.ndarray, "q t d"]) -> Float[np.ndarray, "q t d"]:
    """The last reading of each channel, at its own time; all others hidden."""
    read = np.isfinite(x)
    place = x.shape[1] - 1 - read[:, ::-1].argmax(1)
    return np.where(np.arange(x.shape[1])[:, None] == place[:, None], x, np.nan)


def _errors(exam: Exam, rows: Int[np.ndarray, " q"], draws: Float[np.ndarray, "q n r d"]) -> Tally:
    real = exam.asked.horizon[rows] >= 0
    truth = np.where(real[..., None], exam.asked.truth[rows], np.nan)
    loss = crps(exam.scaled(draws), exam.scaled(truth), axis=1)
    return tally(METRICS["crps"], loss.ravel(), np.repeat(exam.units[rows], loss[0].size))


def _judge(
    exam: Exam, memory: Interval, drop: Mapping[str, Interval], markov: bool, evidence: Mapping[str, object]
) -> Verdict:
    harmful = [name for name, r in drop.items() if not r.low <= MARGIN]
    useful = [name for name, r in drop.items() if r.high < 1]
    if markov:
        detail = "forecasts from the last reading alone are the same: the world is Markov in what is read"
    else:
        unclear = "clearly worse" if memory.low > 1 else "not shown to be better"
        better = "clearly better" if memory.high < 1 else unclear
        detail = f"with the whole history the error is {memory.value:.3f} [{memory.low:.3f}, {memory.high:.3f}] of "
        detail += f"that from the last readings alone, {better}"
    if harmful:
        detail += f"; clearly better without having read {', '.join(harmful)}"
    elif drop:
        detail += f"; no channel harms, and what clearly helps: {', '.join(useful) or 'none'}"
    else:
        detail += "; with one channel there is none to hide"
    return exam.verdict("observability", not harmful and (markov or memory.high < 1), memory, detail, evidence)
