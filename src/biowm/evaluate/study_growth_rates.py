"""Growth rate metrics of a study: wells that were given one held dose, against wells that were given nothing.

A well is compared with the controls of its own cells by how much each grew from its own first reading, so wells need
not start alike: GR = 2^(log2(x / x0) / mean of log2(xc / xc0) of the controls) - 1 (doi:10.1038/nmeth.3853).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from biowm.core import units
from biowm.core.errors import BadInput
from biowm.core.path import CENSORED, Path
from biowm.core.schedule import Entry, entries
from biowm.data.keys import closest
from biowm.data.study import Study

from .growth_rates import GrowthRates, growth_rates

_WHOLE = 1e-3  # of the time up to the reading: a dose that is held for less than the rest of it is not held


@dataclass(frozen=True)
class StudyGrowthRates:
    """Metrics, what they are of (channel, time) and who was left out: lost before, not read then, given several."""

    found: GrowthRates
    channel: str
    at: float
    lost: tuple[str, ...]
    unread: tuple[str, ...]
    mixed: tuple[str, ...]


def study_growth_rates(
    study: Study,
    *,
    channel: str | None = None,
    at: float | None = None,
    by: Sequence[str] = (),
    unit: str | None = None,
) -> StudyGrowthRates:
    """Metrics of every drug and every kind of cells, from the first reading of each subject to the one at `at`.

    Args: `channel` (default: the first), a count or anything in proportion; `at` in the study's clock, from the first
    reading on (default: the median of the last times of those who were not lost); `by`, groups or categories that tell
    cells apart (default: every category among the traits); `unit` of doses (default: that of the first action).
    Raises: BadInput where no subject was given nothing, controls did not grow, doses changed before `at`, or a drug has
    fewer than four readings or three doses.
    """
    column = _channel(study, channel)
    wells = _wells(study, column, at)
    cells = _cells(study, by)
    drugs = [a for a in range(len(study.spec.actions)) if len({tuple(given[a]) for given in wells.given}) > 1]
    grown: dict[str, list[float]] = {}
    rows, mixed = [], []
    for i in wells.early:
        mine = [a for a in drugs if wells.given[i][a]]
        if not mine:
            grown.setdefault(cells[i], []).append(float(np.log2(wells.late[i] / wells.early[i])))
    for i in wells.early:
        mine = [a for a in drugs if wells.given[i][a]]
        if len(mine) > 1:
            mixed.append(study.subjects[i])
        elif mine:
            card = study.spec.actions[mine[0]]
            control = wells.early[i] * 2 ** _growth(study, cells[i], grown, wells.at)
            dose = _held(study, i, mine[0], wells.given[i][mine[0]], wells.at)
            row = (cells[i], card.name, dose, card.unit or "1", wells.late[i], wells.early[i], control)
            rows.append(row)
    names = ["cell_line", "drug", "concentration", "unit", "cell_count", "cell_count__time0", "cell_count__ctrl"]
    table = pd.DataFrame(rows, columns=names)
    _enough(study, table)
    found = growth_rates(table, unit=unit or str(table["unit"].iloc[0]), file=f"study {study.config.study}")
    lost, unread = (tuple(study.subjects[i] for i in some) for some in (wells.lost, wells.unread))
    return StudyGrowthRates(found, study.spec.channels[column].name, wells.at, lost, unread, tuple(mixed))


@dataclass(frozen=True)
class _Wells:
    """The subjects read at `at`, with their first and late reading; what all were given; who cannot be used."""

    at: float
    early: dict[int, float]
    late: dict[int, float]
    given: list[list[list[Entry]]]
    lost: list[int]
    unread: list[int]


def _wells(study: Study, channel: int, at: float | None) -> _Wells:
    """Look every subject up. Raises BadInput where nobody stayed, or one reads 0 at the start."""
    times = [_read(p, channel) for p in study.paths]
    if at is None:
        stayed = [float(t[-1]) for (t, _), p in zip(times, study.paths, strict=True) if len(t) and p.event != CENSORED]
        if not stayed:
            raise BadInput(f"study {study.config.study}: everybody was lost; expected a time (--at)")
        at = float(np.median(stayed))
    wells = _Wells(at, {}, {}, [_given(p, len(study.spec.actions)) for p in study.paths], [], [])
    for i, ((t, x), p) in enumerate(zip(times, study.paths, strict=True)):
        near = int(np.argmin(np.abs(t - at))) if len(t) else 0
        if near == 0 or abs(t[near] - at) > study.spacing / 2:
            lost = int(p.event) == CENSORED and (not len(t) or t[-1] < at)
            (wells.lost if lost else wells.unread).append(i)
            continue
        if x[0] <= 0:
            name = study.spec.channels[channel].name
            raise BadInput(f"subject {study.subjects[i]}, {name}: found {x[0]:g} at first, expected above 0")
        wells.early[i], wells.late[i] = float(x[0]), float(x[near])
    return wells


def _read(path: Path, channel: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.asarray(path.x, float)[:, channel]
    seen = np.isfinite(x)
    return np.asarray(path.t, float)[seen], x[seen]


def _given(path: Path, actions: int) -> list[list[Entry]]:
    plan = [e for e in entries(path.plan) if e.dose != 0]
    return [[e for e in plan if e.card == a] for a in range(actions)]


def _held(study: Study, i: int, action: int, plan: list[Entry], at: float) -> float:
    """The one dose of a subject up to `at`. Raises BadInput where there is none."""
    card, clock = study.spec.actions[action], study.spec.clock
    one = plan[0]
    held = one.stop == one.onset or (one.onset <= _WHOLE * at and one.stop >= (1 - _WHOLE) * at)
    if len(plan) > 1 or not held:
        said = ", ".join(f"{e.dose:g} {card.unit} from {e.onset:g} to {e.stop:g} {clock}" for e in plan[:2])
        raise BadInput(
            f"subject {study.subjects[i]}, {card.name}: found {said}, expected one dose up to {at:g} {clock}: "
            "growth rate metrics are of doses that are held"
        )
    return one.dose


def _growth(study: Study, cells: str, grown: dict[str, list[float]], at: float) -> float:
    if cells not in grown:
        raise BadInput(
            f"study {study.config.study}: found no subject of {cells!r} that was given nothing, expected one"
        )
    mean = float(np.mean(grown[cells]))
    if mean <= 0:
        raise BadInput(
            f"study {study.config.study}: found controls of {cells!r} that did not grow by {at:g} {study.spec.clock} "
            f"({mean:.2g} doublings), expected growth"
        )
    return mean


def _enough(study: Study, table: pd.DataFrame) -> None:
    if table.empty:
        raise BadInput(f"study {study.config.study}: found no subject that was given one drug, expected some")
    for key, mine in table.groupby(["cell_line", "drug"], sort=False):
        doses = mine["concentration"].nunique()
        if doses < 3 or len(mine) < 4:
            cells, drug = key if isinstance(key, tuple) else (key, "")
            raise BadInput(
                f"study {study.config.study}, {drug} on {cells}: found {len(mine)} readings at {doses} doses, "
                "expected at least 4 readings at 3 doses"
            )


def _channel(study: Study, name: str | None) -> int:
    names = [c.name for c in study.spec.channels]
    if name is not None and name not in names:
        raise BadInput(f"--channel: found {name!r}{closest(name, names)}")
    return study.spec.targets[0] if name is None else names.index(name)


def _cells(study: Study, by: Sequence[str]) -> list[str]:
    """What tells the cells of each subject apart, in one word."""
    levels: dict[str, Sequence[str]] = dict(study.groups)
    traits = {}
    for trait, place in zip(study.spec.traits, study.spec.trait_places, strict=True):
        if trait.kind == "category":
            hot = np.nan_to_num(np.stack([np.asarray(p.traits)[place] for p in study.paths]))
            traits[trait.name] = [trait.levels[row.argmax()] if row.max() > 0 else "" for row in hot]
    levels |= traits
    unknown = next((name for name in by if name not in levels), None)
    if unknown is not None:
        raise BadInput(f"--by: found {unknown!r}{closest(unknown, levels)}")
    some = [levels[name] for name in (by or traits)]
    return ["/".join(words) for words in zip(*some, strict=True)] if some else ["all"] * len(study.subjects)


def at_of(study: Study, text: str | None) -> float | None:
    """A time such as '72 h' in the study's clock. Raises UnitError."""
    return None if text is None else units.quantity(text, study.spec.clock, "--at")
