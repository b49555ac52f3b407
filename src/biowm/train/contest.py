"""The contest: every candidate answers for training subjects it has not seen, all of them the same questions."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

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
_SHARE = 5  # one fold is a fifth
ORIGINS, DRAWS = 6, 64
Progress = Callable[[str, float], None]


def silent(text: str, share: float) -> None:
    """Nobody asked how far it is."""


def portion(tell: Progress, name: str, i: int, n: int) -> Progress:
    """What hears of portion i of n, which has a name."""
    return lambda text, share: tell(f"{name}, {text}", (i + share) / n)


@dataclass(frozen=True)
class Job:
    """What is fitted: the spec, stacked paths of the subjects to learn from, and the units each belongs to.

    A subject of several units (a condition of the members of its set) is held out with each of them. From one of no
    unit everybody learns, and nobody is asked about it.
    """

    spec: WorldSpec
    paths: Path
    units: tuple[tuple[str, ...], ...]
    horizons: Horizons
    spacing: float
    seed: int


@dataclass(frozen=True)
class Held:
    """Subjects that are held out together, and the unit on whose account each of them is."""

    subjects: Int[np.ndarray, " n"]
    units: tuple[str, ...]


@dataclass(frozen=True)
class Contest:
    """What was asked, every candidate's out-of-sample draws (standardised link space), and the sheet of the race.

    `unit` numbers the unit on whose account each question was asked. `kept` is what the worlds that are kept learn
    from: what all had learned from when they answered, or everybody where there were several folds.
    """

    asked: Asked
    unit: Int[np.ndarray, " q"]
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
    without = [Once(functools.partial(_without, job, held.subjects)) for held in folds]
    asked, who, draws = _out_of_sample(job, candidates, folds, without, stages, tell)
    scale = ready.frame.scale
    in_z = {name: scale.to_z(x) for name, x in draws.items()}
    columns = list(job.spec.targets)
    number = {name: i for i, name in enumerate(dict.fromkeys(name for names in job.units for name in names))}
    unit = np.array([number[name] for held in folds for name in held.units])[who]
    sheet = score_sheet(
        tuple(c.name for c in candidates),
        tuple(c.is_rule for c in candidates),
        [in_z[c.name][..., columns] for c in candidates],
        scale.to_z(asked.truth)[..., columns],
        asked.horizon,
        who,
        unit,
        stands=asked.stands,
    )
    return Contest(asked, unit, in_z, sheet, without[0]() if len(folds) == 1 else ready)


def mixture(
    draws: Mapping[str, Float[np.ndarray, "q n h d"]], weights: dict[str, float]
) -> Float[np.ndarray, "q n h d"]:
    """Draws of the linear pool: from each member as many as its weight asks, largest remainders first."""
    n = next(iter(draws.values())).shape[1]
    counts = zip(weights, shares(list(weights.values()), n), strict=True)
    return np.concatenate([draws[name][:, :k] for name, k in counts if k > 0], axis=1)


def _folds(job: Job) -> list[Held]:
    """Who is held out in each fold, by unit: four folds of everybody, or one of a fifth where there are many.

    Many are 200 subjects (at most 400 are held out then); of conditions, which are asked once, from their start, so
    many units that a fifth are 400. Where subjects belong to several units there are as many times more folds, so that
    about as much is left to learn from.
    """
    asked = np.flatnonzero([len(names) > 0 for names in job.units])
    names = sorted({name for s in asked for name in job.units[s]})
    if len(names) < 2:
        raise ValueError(f"found {len(names)} subject or group, expected at least 2 to hold some out")
    order = np.random.default_rng([job.seed, 1]).permutation(len(names))
    rank = {names[u]: i for i, u in enumerate(order)}
    several = sum(len(set(job.units[s])) for s in asked) / len(asked)
    few = len(names) < _SHARE * MOST_ASKED if job.horizons.origins == "start" else len(asked) < SMALL
    if few:
        k = min(round(FOLDS * several), len(names))
        return [_held(job, asked, {name for name in names if rank[name] % k == f}) for f in range(k)]
    cut = max(1, int(min(len(names) / _SHARE, len(names) * MOST_ASKED / len(asked)) / several))
    return [_held(job, asked, {name for name in names if rank[name] < cut})]


def _held(job: Job, asked: Int[np.ndarray, " n"], names: set[str]) -> Held:
    """Who belongs to any of the units; of several of them, to the first."""
    mine = [(s, next((name for name in job.units[s] if name in names), None)) for s in asked]
    found = [(s, name) for s, name in mine if name is not None]
    return Held(np.array([s for s, _ in found], int), tuple(name for _, name in found))


def _check_channels(job: Job, folds: list[Held]) -> None:
    """Every fold must leave, for every channel, somebody to learn from; ValueError if not.

    That is somebody who was read twice; once, where questions are asked from the start.
    """
    least = 1 if job.horizons.origins == "start" else 2
    repeated = np.isfinite(np.asarray(job.paths.x)).sum(1) >= least
    for j, channel in enumerate(job.spec.channels):
        if any(not np.delete(repeated[:, j], held.subjects).any() for held in folds):
            raise ValueError(
                f"channel {channel.name!r} is read {'twice ' if least > 1 else ''}in "
                f"{int(repeated[:, j].sum())} of {len(repeated)} training "
                f"subjects, expected enough that every fold has one: too few to learn from, leave the channel out"
            )


def _out_of_sample(
    job: Job,
    candidates: Sequence[Candidate],
    folds: list[Held],
    without: list[Once[Material]],
    stages: Stages,
    tell: Progress,
) -> tuple[Asked, Int[np.ndarray, " q"], dict[str, Float[np.ndarray, "q n h d"]]]:
    """What the held-out subjects of every fold are asked, for which of them, and every candidate's draws.

    Subjects are counted fold after fold: who is held out twice is asked twice. Draws are stages; float32, in units.
    """
    held = np.concatenate([fold.subjects for fold in folds])
    asked = ask(take(job.paths, held), np.arange(len(held)), job.horizons, origins=ORIGINS, targets=job.spec.targets)
    who = asked.queries.subject
    asked = replace(asked, queries=replace(asked.queries, subject=held[who]))
    shape = (len(who), DRAWS, asked.queries.times.shape[1], len(job.spec.channels))
    ends = np.cumsum([len(fold.subjects) for fold in folds])
    rows = [
        np.flatnonzero((who >= end - len(fold.subjects)) & (who < end)) for fold, end in zip(folds, ends, strict=True)
    ]
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
    return asked, who, out


def _without(job: Job, held: Int[np.ndarray, " _"]) -> Material:
    """What is learned from when some subjects are held out."""
    kept = take(job.paths, np.setdiff1d(np.arange(job.paths.t.shape[0]), held))
    return material(job.spec, kept, job.spacing, job.horizons.longest(job.spacing))
