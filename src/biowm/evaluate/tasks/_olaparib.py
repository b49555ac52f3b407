"""The wells of `parpi`: cells under olaparib that is withdrawn, the folds, the rules and the world of a fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as File

import jax
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from biowm.core.forecast import forecast
from biowm.core.mechanism_units import Declared
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec
from biowm.models.candidate import shared
from biowm.models.residuals.kernel import with_kernel
from biowm.models.trunks.mechanism_fit import entrant
from biowm.models.trunks.mechanism_futures import fit_futures
from biowm.train.candidates import eligible
from biowm.train.contest import Progress
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons

from ..metrics import Forecast
from ._fits import as_forecast, member

LINES, DELAYS, HELD = ("OVCAR3", "OVCAR4"), (0, 1, 2, 4, 7, 100), (1, 2, 4, 7)
RULES = ("persistence", "mean", "neighbours", "other-dose")
_NEVER = 100  # days: what the table writes for a drug that stays
_HORIZONS = (3.0, 9.0, 18.0)

SPEC = WorldSpec(
    name="parpi",
    clock="d",
    channels=(Channel("confluence", "%", link="logit", low=0.0, high=100.0, floor=0.1, resolution=0.1),),
    actions=(ActionCard("olaparib", "uM", "rate", 0.0, 100.0),),
    traits=(Trait("cell_line", kind="category", levels=LINES),),
)


@dataclass(frozen=True)
class Wells:
    """Wells that were read at all: condition (line, highest dose in uM, days until withdrawal), and their readings.

    `t` are days, the same in all wells of a line but for minutes; `y` is confluence in %, NaN where it was not read.
    """

    line: Int[np.ndarray, " n"]
    dose: Float[np.ndarray, " n"]
    delay: Int[np.ndarray, " n"]
    replicate: Int[np.ndarray, " n"]
    t: Float[np.ndarray, "n t"]
    y: Float[np.ndarray, "n t"]

    def names(self) -> list[str]:
        """The condition of each well: wells of one differ in nothing that was set."""
        each = zip(self.line, self.dose, self.delay, strict=True)
        return [f"{LINES[a]}/{d:g} uM/{w} d" for a, d, w in each]


@dataclass(frozen=True)
class Fold:
    """All wells of one withdrawal time are held out; the others are learned from."""

    delay: int
    train: Int[np.ndarray, " n"]
    test: Int[np.ndarray, " m"]


def read(file: File) -> Wells:
    """The wells of the table, readings in order of time; a well that was never read is left out."""
    table = pd.read_csv(file)
    found = []
    for _, well in table.groupby(["CellLine", "DMax", "Delay", "ReplicateId"]):
        if well["Confluence"].notna().any():
            found.append(well.sort_values("Time"))
    first = [well.iloc[0] for well in found]
    return Wells(
        line=np.array([LINES.index(w["CellLine"]) for w in first]),
        dose=np.array([float(w["DMax"]) for w in first]),
        delay=np.array([int(w["Delay"]) for w in first]),
        replicate=np.array([int(w["ReplicateId"]) for w in first]),
        t=np.stack([well["Time"].to_numpy(float) for well in found]),
        y=np.stack([well["Confluence"].to_numpy(float) for well in found]),
    )


def folds(wells: Wells, delays: Sequence[int] = HELD) -> Iterator[Fold]:
    """One a withdrawal time between others."""
    for delay in delays:
        out = wells.delay == delay
        yield Fold(delay, np.flatnonzero(~out), np.flatnonzero(out))


def path_of(wells: Wells, i: int) -> Path:
    """A well as a path: the drug is there from the first reading until it is withdrawn, or until the last."""
    until = min(float(wells.delay[i]), float(wells.t[i, -1]))
    plan = schedule([Entry(0, float(wells.dose[i]), 0.0, until, True)] if until > 0 else [])
    line = np.eye(len(LINES), dtype=np.float32)[wells.line[i]]
    return Path(wells.t[i].astype(np.float32), wells.y[i, :, None].astype(np.float32), plan, line, np.asarray(0, "i4"))


def by_rule(rule: str, wells: Wells, fold: Fold) -> Forecast:
    """What a rule says of the held-out wells at all their readings; it promises no band.

    Rules: persistence (the first reading); the mean of all other schedules, or of the two nearest, of the same line and
    dose; `other-dose` (the same schedule at the other dose, which no other contender has seen); `replicates` misses
    every mean of replicates by its standard error, which nobody can stay below for long.
    """
    out = np.stack([_said(rule, wells, i) for i in fold.test.tolist()])
    none = np.full_like(out, np.nan)
    return Forecast(out, out, none[:, None], none, none, none, none)


def _said(rule: str, wells: Wells, i: int) -> Float[np.ndarray, " t"]:
    if rule == "persistence":
        return np.full(wells.y.shape[1], wells.y[i, 0])
    same = (wells.line == wells.line[i]) & (wells.dose == wells.dose[i])
    here = DELAYS.index(int(wells.delay[i]))
    if rule == "replicates":
        own = wells.y[same & (wells.delay == wells.delay[i])]
        n, mean = np.isfinite(own).sum(0), _mean_of(own)
        with np.errstate(invalid="ignore"):  # of a single replicate nothing is known
            return mean + np.sqrt(np.nansum((own - mean) ** 2, axis=0) / (n - 1) / n)
    if rule == "other-dose":
        alike = (wells.line == wells.line[i]) & (wells.dose != wells.dose[i]) & (wells.delay == wells.delay[i])
        return _mean(wells, alike)
    others = [d for k, d in enumerate(DELAYS) if (abs(k - here) == 1 if rule == "neighbours" else k != here)]
    courses = np.stack([_mean(wells, same & (wells.delay == d)) for d in others])
    return _mean_of(courses)


def _mean(wells: Wells, some: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " t"]:
    return _mean_of(wells.y[some])


def _mean_of(courses: Float[np.ndarray, "n t"]) -> Float[np.ndarray, " t"]:
    """The mean over those that were read; NaN where none was."""
    seen = np.isfinite(courses)
    with np.errstate(invalid="ignore"):
        return np.where(seen, courses, 0.0).sum(0) / seen.sum(0)


def build(
    wells: Wells, fold: Fold, seed: int, thorough: bool, equations: Declared | None, tell: Progress,
) -> Fitted:  # fmt: skip
    """The default world of a fold, raced as it is asked: from the first reading, withdrawal times held out.

    Wells that were never given the drug, and those where it was never withdrawn, will always be known: all learn from
    them and the race asks about none. Equations, where given, are fitted by their futures and race as they are and with
    a kernel on what they missed.
    """
    known = [k for k, i in enumerate(fold.train) if wells.delay[i] in (DELAYS[0], _NEVER)]
    paths = stack([path_of(wells, i) for i in fold.train.tolist()])
    everyone = None
    if equations is not None:
        trunk = shared(entrant(equations, SPEC, fit_futures, "futures"))
        everyone = (trunk, with_kernel(trunk), *eligible(SPEC, paths, None, thorough, "first"))
    return fit_paths(
        SPEC, paths, Horizons("clock", _HORIZONS, "d", "first"), seed=seed,
        units=[f"{wells.delay[i]} d" for i in fold.train], known=known, candidates=everyone, thorough=thorough,
        halves=False, progress=tell,
    )  # fmt: skip


def foretold(fitted: Fitted, name: str, wells: Wells, fold: Fold, seed: int, draws: int) -> Forecast:
    """What a member says of the held-out wells; the first reading is as it was, and has no band."""
    world, trust = member(fitted, name)
    n = len(fold.test)
    times = wells.t[fold.test, 1:].astype(np.float32)
    queries = Queries(np.arange(n), np.zeros(n, int), times)
    paths = stack([path_of(wells, i) for i in fold.test.tolist()])
    area = forecast(world, paths, queries, key=jax.random.key(seed), draws=draws)
    said = as_forecast(SPEC, trust, area, times, lambda y: y)
    first = wells.y[fold.test, :1]
    none = np.full_like(first, np.nan)
    every = np.concatenate([np.broadcast_to(first[:, None], (n, draws, 1)), said.draws], axis=2)

    def whole(start: Float[np.ndarray, "m 1"], later: Float[np.ndarray, "m h"]) -> Float[np.ndarray, "m t"]:
        return np.concatenate([start, later], axis=1)

    return Forecast(
        whole(first, said.mean), whole(first, said.median), every, whole(none, said.low), whole(none, said.high),
        whole(none, said.joint_low), whole(none, said.joint_high),
    )  # fmt: skip
