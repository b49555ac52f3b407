"""The contest: every candidate answers for training subjects it has not seen, all of them the same questions."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float, Int

from biowm.core.forecast import forecast, shares
from biowm.core.path import Path, take
from biowm.core.queries import Queries
from biowm.core.spec import WorldSpec
from biowm.models.candidate import Candidate, Material, material

from .horizons import Asked, Horizons, ask
from .race import Sheet, score_sheet
from .stages import Stages
from .workers import Once, side_by_side, woven

FOLDS, SMALL, MOST_ASKED = 4, 200, 400
ORIGINS, DRAWS = 6, 64
Progress = Callable[[str, float], None]


def silent(text: str, share: float) -> None:
    """Nobody asked how far it is."""


def portion(tell: Progress, name: str, i: int, n: int) -> Progress:
    """What hears of portion i of n, which has a name."""
    return lambda text, share: tell(f"{name}, {text}", (i + share) / n)


@dataclass(frozen=True)
class Job:
    """What is fitted: the spec, stacked paths of the subjects to learn from, and the unit each belongs to.

    Everybody learns from the subjects in `known` (indices), and nobody is asked about them.
    """

    spec: WorldSpec
    paths: Path
    units: tuple[str, ...]
    horizons: Horizons
    spacing: float
    seed: int
    known: tuple[int, ...] = ()


@dataclass(frozen=True)
class Contest:
    """What was asked, every candidate's out-of-sample draws (standardised link space), and the sheet of the race.

    `kept` is what the worlds that are kept learn from: what all had learned from when they answered, or everybody
    where there were several folds.
    """

    asked: Asked
    draws: dict[str, Float[np.ndarray, "q n h d"]]
    sheet: Sheet
    kept: Material


def contest(job: Job, candidates: Sequence[Candidate], ready: Material, stages: Stages, tell: Progress) -> Contest:
    """Hold subjects out, by unit, and let every candidate answer for them; `tell` hears of shares of this work.

    `ready` is the material of everybody, in whose scale answers are compared.

    Raises: ValueError where a fold would leave a channel without anybody to learn from.
    """
    folds = _folds(job)
    _check_channels(job, folds)
    without = [Once(functools.partial(_without, job, held)) for held in folds]
    asked, draws = _out_of_sample(job, candidates, folds, without, stages, tell)
    scale = ready.frame.scale
    in_z = {name: scale.to_z(x) for name, x in draws.items()}
    columns = list(job.spec.targets)
    number = {name: i for i, name in enumerate(dict.fromkeys(job.units))}
    sheet = score_sheet(
        tuple(c.name for c in candidates),
        tuple(c.is_rule for c in candidates),
        [in_z[c.name][..., columns] for c in candidates],
        scale.to_z(asked.truth)[..., columns],
        asked.horizon,
        asked.queries.subject,
        np.array([number[name] for name in job.units])[asked.queries.subject],
    )
    return Contest(asked, in_z, sheet, without[0]() if len(folds) == 1 else ready)


def mixture(
    draws: Mapping[str, Float[np.ndarray, "q n h d"]], weights: dict[str, float]
) -> Float[np.ndarray, "q n h d"]:
    """Draws of the linear pool: from each member as many as its weight asks, largest remainders first."""
    n = next(iter(draws.values())).shape[1]
    counts = zip(weights, shares(list(weights.values()), n), strict=True)
    return np.concatenate([draws[name][:, :k] for name, k in counts if k > 0], axis=1)


def _folds(job: Job) -> list[Int[np.ndarray, " _"]]:
    """Held-out subjects of each fold, by unit: four folds below 200 subjects, else one of a fifth (at most 400)."""
    asked = np.setdiff1d(np.arange(len(job.units)), job.known)
    names = sorted({job.units[s] for s in asked})
    order = np.random.default_rng([job.seed, 1]).permutation(len(names))
    place = {names[u]: i for i, u in enumerate(order)}
    rank = np.array([place[job.units[s]] for s in asked])
    if len(asked) < SMALL:
        k = min(FOLDS, len(names))
        if k < 2:
            raise ValueError(f"found {len(names)} subject or group, expected at least 2 to hold some out")
        return [asked[rank % k == f] for f in range(k)]
    cut = max(1, min(len(names) // 5, int(len(names) * MOST_ASKED / len(asked))))
    return [asked[rank < cut]]


def _check_channels(job: Job, folds: list[Int[np.ndarray, " _"]]) -> None:
    """Every fold must leave, for every channel, somebody to learn from; ValueError if not.

    That is somebody who was read twice; once, where questions are asked from the start.
    """
    least = 1 if job.horizons.origins == "start" else 2
    repeated = np.isfinite(np.asarray(job.paths.x)).sum(1) >= least
    for j, channel in enumerate(job.spec.channels):
        if any(not np.delete(repeated[:, j], held).any() for held in folds):
            raise ValueError(
                f"channel {channel.name!r} is read {'twice ' if least > 1 else ''}in "
                f"{int(repeated[:, j].sum())} of {len(repeated)} training "
                f"subjects, expected enough that every fold has one: too few to learn from, leave the channel out"
            )


def _out_of_sample(
    job: Job,
    candidates: Sequence[Candidate],
    folds: list[Int[np.ndarray, " _"]],
    without: list[Once[Material]],
    stages: Stages,
    tell: Progress,
) -> tuple[Asked, dict[str, Float[np.ndarray, "q n h d"]]]:
    """Every candidate's draws for the held-out subjects of every fold (stages; float32, in units)."""
    asked = ask(job.paths, np.concatenate(folds), job.horizons, origins=ORIGINS, targets=job.spec.targets)
    shape = (len(asked.queries.subject), DRAWS, asked.queries.times.shape[1], len(job.spec.channels))
    rows = [np.flatnonzero(np.isin(asked.queries.subject, held)) for held in folds]
    entries = [(f, c) for f in range(len(folds)) for c in woven(candidates)]
    ended = itertools.count(1)

    def answer(f: int, c: Candidate) -> Float[np.ndarray, "q n h d"]:
        whole = asked.queries
        part = Queries(whole.subject[rows[f]], whole.origin[rows[f]], whole.times[rows[f]])
        key = jax.random.fold_in(jax.random.key(job.seed), f)

        def compute() -> np.ndarray:
            return forecast(without[f]().fitted(c), job.paths, part, key=key, draws=DRAWS)

        return stages.get(f"race/{f}/{c.name}", compute)

    def told(i: int) -> None:
        f, c = entries[i]
        tell(f"race: fold {f + 1} of {len(folds)}, {c.name}", next(ended) / len(entries))

    found = side_by_side([functools.partial(answer, *entry) for entry in entries], told)
    out = {c.name: np.empty(shape, np.float32) for c in candidates}
    for (f, c), draws in zip(entries, found, strict=True):
        out[c.name][rows[f]] = draws
    return asked, out


def _without(job: Job, held: Int[np.ndarray, " _"]) -> Material:
    """What is learned from when some subjects are held out."""
    kept = take(job.paths, np.setdiff1d(np.arange(job.paths.t.shape[0]), held))
    return material(job.spec, kept, job.spacing, job.horizons.longest(job.spacing))
