"""From the events of a MEDS folder to paths: codes are told apart as the study says, some whole subjects at a time.

Readings of one moment are one row. Nothing after the prediction time of a subject is read (key `labels`), and nothing
outside the window of the study; an event without a time is a trait or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from biowm.core import units
from biowm.core.path import CENSORED, ENDED, RUNNING, Path

from . import doses, meds_doses, values
from .cells import Reading
from .codes import select
from .columns import Constant, Covariate, Measured
from .config import StudyConfig
from .faults import fault
from .meds_events import Events, timed
from .meds_folder import Folder
from .meds_keys import CODE, SUBJECT, VALUE, events, listed
from .meds_scan import Scan, chunks
from .paths import assemble
from .rows import tidy
from .subjects import coded
from .tables import Repair, Table

Progress = Callable[[str, float], None]


@dataclass(frozen=True, eq=False)
class Cohort:
    """The subjects of a folder in order of their numbers, as a study holds them."""

    subjects: tuple[str, ...]
    paths: tuple[Path, ...]
    starts: tuple[float, ...]
    levels: dict[str, tuple[str, ...]]
    split: tuple[str, ...]
    repairs: tuple[Repair, ...]


@dataclass(frozen=True, eq=False)
class _Part:
    """Some subjects (by number), the value of each trait beside each path."""

    ids: Int[np.ndarray, " n"]
    paths: tuple[Path, ...]
    starts: Float[np.ndarray, " n"]
    traits: pd.DataFrame
    repairs: list[Repair]


def read(
    folder: Folder,
    study: StudyConfig,
    name: object,
    until: Mapping[int, int] | None,
    progress: Progress,
    *,
    sparse: bool = False,
) -> Cohort:
    """The subjects of a folder as `study` describes them; nothing after their prediction times `until` is read.

    `sparse`: some subjects may have no reading, and some channels none, as where few are asked about. `progress` hears
    of the share of the rows that was read. Raises BadInput, naming shard, row and column, where an event is not what it
    may be, and for a channel that is never read.
    """
    if folder.codes is not None:
        listed(study, folder.codes, name)
    patterns = [code for _, codes in events(study) for code in codes]
    scan = Scan(folder, lambda code: bool(select(patterns, [code])), until)
    parts, total = [], folder.rows
    for chunk in chunks(scan):
        progress(f"reading {folder.root.name}", scan.rows / total)
        parts.append(_part(chunk, study))
    if folder.codes is None:
        listed(study, scan.names, name)
    order = np.argsort(np.concatenate([p.ids for p in parts])) if parts else np.empty(0, int)
    paths = [path for p in parts for path in p.paths]
    starts = [start for p in parts for start in p.starts.tolist()]
    ids = [i for p in parts for i in p.ids.tolist()]
    if not sparse:
        _check(folder, study, scan, ids, paths)
    frames = [p.traits for p in parts] or [pd.DataFrame(columns=list(study.traits))]
    traits = pd.concat(frames, ignore_index=True)
    vectors, levels = coded({name: traits[name] for name in study.traits}, study, len(traits))
    return Cohort(
        subjects=tuple(str(ids[i]) for i in order),
        paths=tuple(replace(paths[i], traits=vectors[i]) for i in order),
        starts=tuple(starts[i] for i in order),
        levels=levels,
        split=_split(folder, [ids[i] for i in order], scan),
        repairs=(*folder.notes, *_said(scan, study, ids), *_merged(r for p in parts for r in p.repairs)),
    )


def _part(table: Table, study: StudyConfig) -> _Part:
    """The subjects of one chunk that have a reading."""
    found = timed(table, study)
    merged = _readings(found)
    last = merged.groupby("subject")["t"].max()
    given = doses.joined(meds_doses.given(found, last))
    given = given[given["subject"].isin(last.index)]
    rows = doses.with_doses(merged, given, found.who)
    seen = last.index.to_numpy(int)  # subjects with a reading, renumbered 0, 1, ...
    rank = pd.Series(np.arange(len(seen)), index=seen)
    moments = pd.concat([rows[["subject", "t"]], given[["subject", "onset"]].set_axis(["subject", "t"], axis=1)])
    starts = moments.groupby("subject")["t"].min().reindex(seen).to_numpy(float)
    traits = pd.DataFrame({n: _trait(found, t, seen, starts) for n, t in study.traits.items()}, index=range(len(seen)))
    plans = doses.schedules(
        given.assign(subject=given["subject"].map(rank)), starts, study.assignment.kind == "randomised"
    )
    rows = rows.assign(subject=rows["subject"].map(rank).to_numpy(int))
    none = np.empty((len(seen), 0), np.float32)
    paths = assemble(rows, table, study, starts, plans, none, _ends(found)[seen])
    ids = np.array([int(found.who.names[i]) for i in seen], np.int64)
    return _Part(ids, paths, starts, traits, table.repairs)


def _readings(found: Events) -> pd.DataFrame:
    """One row for each moment (or more, where readings are replicates), a column a channel."""
    table, study = found.table, found.study
    columns = {name: _channel(found, name, one) for name, one in study.measured.items()}
    read = np.logical_or.reduce([np.isfinite(value) for value in columns.values()])
    frame = found.rows(read).assign(**{name: value[read] for name, value in columns.items()})
    quiet = found.quiet()
    rows = tidy(frame, quiet, [], study.duplicates, values.levelled(study.measured)).readings
    found.note_all(quiet)
    values.check_order(rows, table, study.channels)
    return rows


def _channel(found: Events, name: str, one: Measured | Covariate) -> Float[np.ndarray, " n"]:
    """The readings of one channel within the window, NaN elsewhere."""
    mine, value = found.amounts(one.code, one.unit)
    table = found.table
    table.note(f"events of {name} without a time left out", np.flatnonzero(mine & np.isnan(found.t)), CODE)
    mine &= found.inside
    table.note(f"events of {name} without a number left out", np.flatnonzero(mine & np.isnan(value)), CODE)
    hit = np.flatnonzero(mine & ~np.isnan(value))
    column = np.full(len(value), np.nan)
    if len(hit):
        mask = np.zeros(len(value), bool)
        mask[hit] = True
        there = table.keep(mask)
        there = replace(there, frame=there.frame.assign(**{VALUE: value[hit]}))
        column[hit] = values.readings(there, name, one.model_copy(update={"column": VALUE}), Reading())
    return column


def _ends(found: Events) -> Int[np.ndarray, " n"]:
    """How each subject ended: by the last event within its window that says so."""
    ends = np.full(len(found.who.names), RUNNING, np.int32)
    if found.study.end is not None:
        words = ((CENSORED, found.study.end.censored), (ENDED, found.study.end.ended))
        for event, codes in words:
            ends[found.who.code[found.of(dict.fromkeys(codes)) & found.inside]] = event
    return ends


def _trait(
    found: Events, trait: Constant, seen: Int[np.ndarray, " n"], starts: Float[np.ndarray, " n"]
) -> Shaped[np.ndarray, " n"]:
    """A trait of the subjects `seen`, as it was known when their path starts: later events say nothing about then."""
    if trait.since:
        first = found.rows(found.of(trait.since)).groupby("subject")["t"].min().reindex(seen)
        gone = starts - first.to_numpy(float)
        return np.where(gone >= 0, gone, np.nan) * units.factor(found.study.time.unit, trait.unit)
    limit = np.full(len(found.who.names), -np.inf)
    limit[seen] = starts
    if trait.kind == "category":
        mine, said = found.words(trait.code)
        value = np.array(said, object)[found.name]
    else:
        mine, value = found.amounts(trait.code, trait.unit)
        mine &= ~np.isnan(value)
    known = mine & (np.isnan(found.t) | (found.t <= limit[found.who.code]))
    rows = pd.DataFrame({"subject": found.who.code, "t": found.t, "value": value})[known]
    last = rows.sort_values("t", kind="stable", na_position="first").groupby("subject")["value"].last().reindex(seen)
    return last.to_numpy(float) if trait.kind == "real" else last.astype(object).to_numpy()


def _check(folder: Folder, study: StudyConfig, scan: Scan, ids: list[int], paths: list[Path]) -> None:
    """Raise BadInput for a subject without a reading, and for a channel without a number."""
    empty = set(scan.first if scan.until is None else scan.first.keys() & scan.until.keys()) - set(ids)
    if empty and (study.empty == "refuse" or not ids):
        subject = min(empty)
        shard, row = scan.first[subject]
        found = f"subject {subject} without one reading of {', '.join(study.measured)}"
        found += "" if study.window is None else " within the window"
        expected = "at least one reading a subject (empty: drop leaves such subjects out)"
        raise fault(found, expected, file=folder.shards[shard], row=row, column=SUBJECT)
    for j, name in enumerate(study.measured):
        if not any(np.isfinite(path.x[:, j]).any() for path in paths):
            raise fault(f"no number for {name} in any event", "readings", file=folder.root / "data", column=VALUE)


def _split(folder: Folder, ids: list[int], scan: Scan) -> tuple[str, ...]:
    """The part that each subject is in, () where the folder has no splits."""
    if folder.split is None:
        return ()
    for i in ids:
        if i not in folder.split:
            shard, row = scan.first[i]
            expected = f"every subject in {folder.root / 'metadata' / 'subject_splits.parquet'}"
            raise fault(f"subject {i}, in no part", expected, file=folder.shards[shard], row=row, column=SUBJECT)
    return tuple(folder.split[i] for i in ids)


def _said(scan: Scan, study: StudyConfig, ids: list[int]) -> list[Repair]:
    """What was left out, and why."""
    there = scan.first if scan.until is None else scan.first.keys() & scan.until.keys()
    counts = {
        "subjects without one reading left out (empty: drop)": len(there) - len(ids),
        "subjects without a prediction time left out (labels)": len(scan.first) - len(there),
        "events after the prediction time left out (labels)": scan.later,
    }
    return [Repair(what, count) for what, count in counts.items() if count]


def _merged(repairs: Iterable[Repair]) -> list[Repair]:
    """Repairs of one kind in many chunks as one, where it happened first."""
    found: dict[str, Repair] = {}
    for repair in repairs:
        before = found.get(repair.what)
        found[repair.what] = repair if before is None else replace(before, count=before.count + repair.count)
    return list(found.values())
