"""The spheroids of `oxygen`: arms, cases, the naive rules, and the world of all constant arms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as File

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float

from biowm.core.forecast import forecast
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec
from biowm.train.contest import Progress
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons

from ._fits import member

LINES = ("WM164", "WM793b", "WM983b")
RULES = ("ignore", "jump", "increments")
CHANNELS = ("outer", "necrotic")
_COLUMNS = ["OuterRadius", "NecroticRadius"]
_CONSTANT = {21.0: {2: 17, 3: 18, 4: 19, 6: 15, 8: 16}, 2.0: {2: 1, 4: 2, 6: 3, 8: 4}}  # % oxygen: condition by day
_HORIZONS = (1.0, 2.0, 4.0, 6.0)

SPEC = WorldSpec(
    name="oxygen",
    clock="d",
    channels=(
        Channel("outer", "um", link="log", low=0.0, floor=1.0),
        Channel("necrotic", "um", link="real", low=0.0, below="outer"),
    ),
    actions=(ActionCard("oxygen", "%", "rate", 0.0, 21.0),),
    traits=(Trait("line", kind="category", levels=LINES),),
)


@dataclass(frozen=True)
class Case:
    """A line under a switch of oxygen (%) on a day, and the conditions read afterwards, by day."""

    name: str
    line: str
    switch: int
    before: float
    after: float
    conditions: Mapping[int, int]


_SWITCHES = (
    ("21-2", 2, 21.0, 2.0, {3: 11, 4: 12, 6: 13, 8: 14}),
    ("2-21-d2", 2, 2.0, 21.0, {3: 5, 4: 6, 6: 7, 8: 8}),
    ("2-21-d4", 4, 2.0, 21.0, {6: 9, 8: 10}),
)

Spheroids = Mapping[tuple[str, int], Float[np.ndarray, "n 2"]]  # outer and necrotic radius (um), by line and condition


def read(folder: File, files: str) -> Spheroids:
    """All spheroids of the books; each was destroyed when it was read."""
    found = {}
    for file in sorted(folder.glob(files)):
        line = next(name for name in LINES if name in file.name)
        for condition, rows in pd.read_excel(file).groupby("Condition"):
            found[line, int(condition)] = rows[_COLUMNS].to_numpy(float)  # type: ignore[arg-type]
    return found


def cases(spheroids: Spheroids) -> Iterator[Case]:
    """The seven switches that were made."""
    for line in LINES:
        for name, switch, before, after, conditions in _SWITCHES:
            if all((line, c) in spheroids for c in conditions.values()):
                yield Case(f"{line}/{name}", line, switch, before, after, conditions)


def truth(spheroids: Spheroids, case: Case) -> Float[np.ndarray, "t 2"]:
    """Mean radii of each condition after the switch."""
    return np.stack([spheroids[case.line, c].mean(0) for c in case.conditions.values()])


def by_rule(rule: str, spheroids: Spheroids, case: Case) -> Float[np.ndarray, "t 2"]:
    """Means after a switch by a naive rule, from the constant arms of the same line (linear between days).

    Rules: `ignore` the switch; `jump` to the course under the new oxygen; the state at the switch and the
    `increments` of that course.
    """
    days = np.array(list(case.conditions), float)
    old, new = (lambda t, o=o: _course(spheroids, case.line, o, t) for o in (case.before, case.after))
    if rule == "ignore":
        return old(days)
    at = np.array([float(case.switch)])
    return new(days) if rule == "jump" else old(at) + new(days) - new(at)


def _course(spheroids: Spheroids, line: str, oxygen: float, t: Float[np.ndarray, " t"]) -> Float[np.ndarray, "t 2"]:
    arm = _CONSTANT[oxygen]
    means = np.stack([spheroids[line, c].mean(0) for c in arm.values()])
    return np.stack([np.interp(t, list(arm), column) for column in means.T], axis=1)


def arms(spheroids: Spheroids, seed: int) -> tuple[list[Path], list[str]]:
    """Paths of the constant arms and the arm of each: a path is a row of spheroids, one a day, drawn without return.

    No spheroid is read twice, so which ones make a row is chance, and nothing in a path but its arm is its own.
    """
    rng, paths, names = np.random.default_rng([seed, 5]), [], []
    for line in LINES:
        for oxygen, arm in _CONSTANT.items():
            each = {day: rng.permutation(spheroids[line, c]) for day, c in arm.items()}
            for k in range(max(len(rows) for rows in each.values())):
                some = [(day, rows[k]) for day, rows in each.items() if k < len(rows)]
                if len(some) > 1:
                    t, x = np.array([d for d, _ in some], float), np.stack([row for _, row in some])
                    paths.append(_path(line, [Entry(0, oxygen, 0.0, 8.0, True)], t, x))
                    names.append(f"{line}/{oxygen:g} %")
    return paths, names


def _path(line: str, given: list[Entry], t: Float[np.ndarray, " t"], x: Float[np.ndarray, "t 2"]) -> Path:
    which = np.array([line == name for name in LINES], np.float32)
    return Path(t.astype(np.float32), x.astype(np.float32), schedule(given), which, np.asarray(0, np.int32))


def build(spheroids: Spheroids, seed: int, thorough: bool, tell: Progress) -> Fitted:
    """The default world of the constant arms of all lines; the race holds whole arms out."""
    paths, names = arms(spheroids, seed)
    return fit_paths(
        SPEC, stack(paths), Horizons("clock", _HORIZONS, "d", "first"), seed=seed, units=names, thorough=thorough,
        halves=False, progress=tell,
    )  # fmt: skip


def foretold(
    fitted: Fitted, name: str, spheroids: Spheroids, case: Case, seed: int, draws: int
) -> Float[np.ndarray, "t 2"]:
    """Means after a switch: from the mean radii of the constant arm up to the switch."""
    arm = {day: c for day, c in _CONSTANT[case.before].items() if day <= case.switch}
    past = np.stack([spheroids[case.line, c].mean(0) for c in arm.values()])
    days = np.array(list(case.conditions), float)
    t, x = np.array([*arm, *days], float), np.concatenate([past, np.full((len(days), 2), np.nan)])
    end = float(case.switch)
    given = [Entry(0, case.before, 0.0, end, True), Entry(0, case.after, end, 8.0, True)]
    queries = Queries(np.zeros(1, int), np.array([len(past) - 1]), days[None].astype(np.float32))
    paths = stack([_path(case.line, given, t, x)])
    said = forecast(member(fitted, name)[0], paths, queries, key=jax.random.key(seed), draws=draws)
    return said[0].mean(0)
