"""A study: the paths of its subjects, what was given to them, and everything that was repaired on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import Any

import numpy as np
import pandas as pd

from biowm.core.path import Path
from biowm.core.record import digest
from biowm.core.spec import WorldSpec

from . import (
    cells,
    doses,
    events,
    meds,
    meds_folder,
    meds_keys,
    nonmem,
    nonmem_records,
    plates,
    shapes,
    side,
    subjects,
    tables,
    values,
)
from . import config as configs
from .config import LimitText, StudyConfig
from .faults import fault
from .locate import locate
from .paths import assemble, check, read_at
from .rows import Rows, tidy
from .tables import Repair, Table


@dataclass(frozen=True, eq=False)
class Study:
    """Data that are ready to be learned from; subjects, paths, starts and groups go in the same order.

    `starts` are the times of t = 0 in the table (dates: clock units since 1970-01-01). `horizons` are in clock units,
    () where none are declared. `spacing` is the median gap between readings. `given_split` holds the words train,
    calibrate and test where the table has them.
    """

    config: StudyConfig
    spec: WorldSpec
    subjects: tuple[str, ...]
    paths: tuple[Path, ...]
    starts: tuple[float, ...]
    groups: Mapping[str, tuple[str, ...]]
    horizons: tuple[float, ...]
    spacing: float
    limits: tuple[LimitText, ...]
    repairs: tuple[Repair, ...]
    sha256: str
    given_split: tuple[str, ...] = ()


def load(
    source: str | File | pd.DataFrame,
    config: Mapping[str, Any] | None = None,
    *,
    data: str | File | None = None,
    progress: meds.Progress = lambda text, share: None,
) -> Study:
    """A study from its YAML file, or from a table (file or data frame) and its description as a dictionary.

    `data` is a folder searched for tables before $BIOWM_DATA; `progress` hears of what is read and the
    share of it, where that takes time (MEDS). Raises BadInput naming file, row and column.
    """
    if isinstance(source, pd.DataFrame):
        return from_frame(source, config or {}, data=data)
    if config is not None:
        return _load(configs.parse({**config, "table": str(source)}), File.cwd(), data, "config", progress)
    file = File(source)
    return _load(configs.read(file), file.parent, data, file, progress)


def histories(
    folder: str | File,
    config: Mapping[str, Any],
    until: Mapping[int, int],
    *,
    progress: meds.Progress = lambda text, share: None,
) -> Study:
    """The subjects of a MEDS folder as they were known at one time each (us since 1970); some may be empty."""
    study = configs.parse({**config, "table": str(folder)})
    root = locate(study.table, File.cwd(), None, "config")[0]
    return _of_folder(study, root, File.cwd(), None, "config", progress, until)


def from_frame(frame: pd.DataFrame, config: Mapping[str, Any], *, data: str | File | None = None) -> Study:
    """A study from a data frame and its description: the keys of a study file, without table."""
    study = configs.parse({"table": "frame", **config})
    if study.format == "meds":
        raise fault("a data frame", "the path of a MEDS folder (format: meds)", file="config")
    meds_keys.only_here(study, "config")
    content = digest(frame.to_csv().encode())
    wide = plates.from_frame(frame, study) if study.layout == "plate" else tables.from_frame(frame)
    table, content = shapes.described(wide, content, study, File.cwd(), data, "config")
    return _build(study, table, File.cwd(), data, "config", content)


def _load(study: StudyConfig, base: File, data: str | File | None, name: object, progress: meds.Progress) -> Study:
    paths = locate(study.table, base, data, name)
    if study.format == "meds" or (paths[0].is_dir() and study.format != "geff"):
        return _of_folder(study, paths[0], base, data, name, progress)
    meds_keys.only_here(study, name)
    table, content = shapes.read(paths, study, base, data, name)
    return _build(study, table, base, data, name, content)


def _build(study: StudyConfig, table: Table, base: File, data: str | File | None, name: object, content: str) -> Study:
    other, clinical = None, study.format == "nonmem"
    if clinical:
        nonmem.agree(study, name)
    elif study.events is not None:
        other, more = tables.read(locate(study.events.table, base, data, name), None, None)
        content = digest([content, more])
    records = nonmem_records.records(table, study) if clinical else None
    if study.empty == "drop":
        read = subjects.read(table, study) if records is None else records.observed
        kept = subjects.not_empty(table, study, read)
        table, records = table.keep(kept), None if records is None else records.keep(kept)
    who = subjects.identify(table, study)
    rows, given = _recorded(table, other, study, who) if records is None else nonmem.read(records, who)
    check(rows.readings, table, study, who)
    starts = np.minimum(rows.moments.groupby("subject")["t"].min().to_numpy(), study.given_from)
    if study.screen:
        edges = pd.concat([*given, doses.nothing_at(starts)])
        rows = Rows(doses.with_doses(rows.readings, edges, who), rows.moments)
    plans = doses.schedules(doses.joined(given), starts, study.assignment.kind == "randomised")
    traits, levels = subjects.traits(table, study, who)
    groups = subjects.groups(table, study, who)
    ends = subjects.lost(subjects.ends(table, study, who), rows.readings, groups, study)
    paths = assemble(rows.readings, table, study, starts, plans, traits, ends)
    spacing, spec = _spacing(paths), configs.spec(study, levels)
    cards, said = side.described(study.side, spec.actions, base, data, name, table.repairs.append)
    return Study(
        config=study,
        spec=replace(spec, actions=cards),
        subjects=who.names,
        paths=paths,
        starts=tuple(starts.tolist()),
        groups=groups,
        horizons=tuple(configs.clock_horizon(h, study.time.unit, spacing) for h in study.horizons),
        spacing=spacing,
        limits=study.limits,
        repairs=(*table.repairs, *(other.repairs if other is not None else ())),
        sha256=digest([content, *([said] if said else []), study.model_dump(mode="json")]),
        given_split=subjects.given_split(table, study, who),
    )


def _of_folder(
    study: StudyConfig,
    root: File,
    base: File,
    data: str | File | None,
    name: object,
    progress: meds.Progress,
    until: Mapping[int, int] | None = None,
) -> Study:
    """A study of the events in a MEDS folder; of what was known at times `until`, if they are given."""
    if not root.is_dir():
        raise fault("a file", "a MEDS folder: data/ with shards and metadata/", file=root)
    if study.format not in (None, "meds"):
        raise fault("a MEDS folder", f"a file (format: {study.format})", file=root)
    if study.side is not None:
        raise fault("side information beside a MEDS folder", "a study without the key side", file=name)
    study = study.model_copy(update={"format": "meds"})
    meds_keys.agree(study, name)
    folder = meds_folder.open_folder(root)
    labels = None if study.labels is None else locate(study.labels, base, data, name)[0]
    times = until if labels is None else meds_folder.prediction_times(labels)
    cohort = meds.read(folder, study, name, times, progress, sparse=until is not None)
    spacing = _spacing(cohort.paths)
    content = [meds_folder.digest_of(folder), None if labels is None else digest(labels.read_bytes())]
    return Study(
        config=study,
        spec=configs.spec(study, cohort.levels),
        subjects=cohort.subjects,
        paths=cohort.paths,
        starts=cohort.starts,
        groups={},
        horizons=tuple(configs.clock_horizon(h, study.time.unit, spacing) for h in study.horizons),
        spacing=spacing,
        limits=study.limits,
        repairs=cohort.repairs,
        sha256=digest([content, study.model_dump(mode="json")]),
        given_split=cohort.split,
    )


def only(study: Study, rows: Sequence[int]) -> Study:
    """The study of some of its subjects: nothing that was read of the others is left in it.

    What is asked stays: the spec, the horizons and the limits. The table is still named in `config`.
    """
    paths = tuple(study.paths[i] for i in rows)
    subjects = tuple(study.subjects[i] for i in rows)
    return replace(
        study,
        subjects=subjects,
        paths=paths,
        starts=tuple(study.starts[i] for i in rows),
        groups={name: tuple(values[i] for i in rows) for name, values in study.groups.items()},
        spacing=_spacing(paths),
        repairs=(),
        sha256=digest([study.sha256, subjects]),
        given_split=tuple(study.given_split[i] for i in rows) if study.given_split else (),
    )


def _spacing(paths: tuple[Path, ...]) -> float:
    gaps = np.concatenate([np.empty(0), *(np.diff(read_at(p)) for p in paths)])
    return float(np.median(gaps[gaps > 0])) if (gaps > 0).any() else 1.0


def _recorded(
    table: Table, other: Table | None, study: StudyConfig, who: subjects.Who
) -> tuple[Rows, list[pd.DataFrame]]:
    """The ordered rows of readings and doses, and the interventions that the table and its table of events record."""
    rows, acting = _rows(table, study, who)
    cards = list(study.actions)
    given = [
        doses.held(rows.moments, a, cards.index(a), study, table)
        if study.actions[a].kind == "set-member"
        else doses.recorded(rows.moments, a, cards.index(a), study.actions[a].kind, study.actions[a].recorded)
        for a in acting
    ]
    if other is not None:
        kind = cells.kind_of_time(table, study.time, study.time.column)
        last = rows.moments.groupby("subject")["t"].max()
        given += events.given(other, table, study, who, last, acting, kind)
    return rows, given


def _rows(table: Table, study: StudyConfig, who: subjects.Who) -> tuple[Rows, list[str]]:
    """The ordered rows of readings and doses, and the actions that this table records."""
    acting = {
        name: action
        for name, action in study.actions.items()
        if study.events is None or (action.column or name) in table.frame.columns
    }
    columns = [c.column or name for name, c in (study.measured | acting).items()]
    timed = [study.time.column] if study.time.at is None else []
    how = cells.Reading(study.na, cells.decimal_comma(table, [*columns, *timed]))
    frame = pd.DataFrame({"subject": who.code, "t": cells.times(table, study.time, study.time.column, how)})
    for name, channel in study.measured.items():
        frame[name] = values.readings(table, name, channel, how)
    for name, action in acting.items():
        frame[name] = values.amounts(table, name, action, how)
    rows = tidy(frame, table, list(acting), study.duplicates, values.levelled(study.measured | acting))
    for joined in (rows.readings, rows.moments):
        values.check_order(joined, table, study.channels)
    readings = values.fill_readings(rows.readings, table, study.channels)
    readings = readings[readings[list(study.measured)].notna().any(axis=1)]
    return Rows(readings, values.fill_doses(rows.moments, table, acting)), list(acting)
