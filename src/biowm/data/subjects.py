"""Who is in the table, and what is true of each subject throughout: traits, groups, how it ended, which split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, Shaped

from biowm.core.path import CENSORED, ENDED, RUNNING

from . import cells
from .config import StudyConfig
from .faults import fault
from .locate import natural
from .tables import Table

PARTS = ("train", "calibrate", "test")


@dataclass(frozen=True, eq=False)
class Who:
    """The subjects in natural order of their names, and the number of the subject of each row."""

    names: tuple[str, ...]
    code: Int[np.ndarray, " rows"]


def identify(table: Table, study: StudyConfig) -> Who:
    """Number the subjects of a table, independently of the order of its rows."""
    label = cells.labels(table, study.subject, "the name of a subject")
    names = sorted(set(label), key=natural)
    return Who(tuple(names), pd.Index(names).get_indexer(pd.Index(label)))


def read(table: Table, study: StudyConfig) -> Bool[np.ndarray, " rows"]:
    """Which rows hold a reading."""
    columns = [c.column or name for name, c in study.measured.items()]
    return np.logical_or.reduce([~cells.blank(cells.text(table.column(c)), study.na).to_numpy() for c in columns])


def not_empty(table: Table, study: StudyConfig, read: Bool[np.ndarray, " rows"]) -> Bool[np.ndarray, " rows"]:
    """Which rows are of subjects that have a row with a reading (`read`); each of the others is noted."""
    who = identify(table, study)
    kept = np.isin(who.code, who.code[read])
    _, first = np.unique(np.where(kept, -1, who.code), return_index=True)
    first = first[~kept[first]]
    example = who.names[who.code[first.min()]] if len(first) else None
    table.note("subjects without one reading left out (empty: drop)", first, "/".join(study.subject), example)
    return kept


def constant(table: Table, who: Who, column: str, value: Shaped[np.ndarray, " rows"], what: str) -> pd.Series:
    """The one value of each subject, missing cells aside. Raises BadInput where a subject has two."""
    known = pd.Series(value, index=who.code)
    missing = known.isna() | (known == "")
    first = known[~missing].groupby(level=0).first()
    clash = np.flatnonzero((known.to_numpy() != first.reindex(known.index).to_numpy()) & ~missing)
    if len(clash):
        i = int(clash[0])
        subject = who.names[who.code[i]]
        found = f"{value[i]} for subject {subject!r} that has {first[who.code[i]]} in another row"
        raise table.bad(i, column, found, f"one {what} for each subject")
    return first.reindex(range(len(who.names)))


def traits(table: Table, study: StudyConfig, who: Who) -> tuple[Float[np.ndarray, "n s"], dict[str, tuple[str, ...]]]:
    """The trait vectors [n, s] (a category as 0/1 over its levels, NaN where unknown) and the levels found."""
    found = {}
    for name, trait in study.traits.items():
        column = trait.column or name
        if trait.kind == "real":
            how = cells.Reading(study.na, cells.decimal_comma(table, [column]))
            found[name] = constant(table, who, column, cells.numbers(table, column, how), "trait")
        else:
            found[name] = constant(table, who, column, cells.words(table, column, study.na), "trait")
    return coded(found, study, len(who.names))


def coded(
    values: Mapping[str, pd.Series], study: StudyConfig, n: int
) -> tuple[Float[np.ndarray, "n s"], dict[str, tuple[str, ...]]]:
    """The trait vectors of n subjects from the value of each trait (NaN where unknown), and the levels found."""
    blocks, levels = [np.empty((n, 0))], {}
    for name, value in values.items():
        if study.traits[name].kind == "real":
            blocks.append(value.to_numpy(float)[:, None])
        else:
            levels[name] = tuple(sorted(set(value.dropna()), key=natural))
            hot = value.to_numpy()[:, None] == np.array(levels[name], dtype=object)[None, :]
            blocks.append(np.where(value.isna().to_numpy()[:, None], np.nan, hot.astype(float)))
    return np.concatenate(blocks, axis=1).astype(np.float32), levels


def groups(table: Table, study: StudyConfig, who: Who) -> dict[str, tuple[str, ...]]:
    """The value of each group for each subject, '' where it is missing (refused for the group that is split by)."""
    found = {}
    for name, columns in study.groups.items():
        value = constant(table, who, columns[0], words_of(table, columns, study.na), f"{name}")
        if study.split.by == name and value.isna().any():
            subject = who.names[int(np.flatnonzero(value.isna())[0])]
            row = int(np.flatnonzero(who.code == who.names.index(subject))[0])
            raise table.bad(row, columns[0], "no value", f"a {name} for subject {subject!r}: the split is by {name}")
        found[name] = tuple(value.fillna(""))
    return found


def words_of(table: Table, columns: Sequence[str], na: Sequence[str]) -> Shaped[np.ndarray, " rows"]:
    """Words from one column or several (joined with '/'); '' where any is missing."""
    parts = [cells.words(table, column, na) for column in columns]
    whole = np.logical_and.reduce([part != "" for part in parts])
    return np.where(whole, np.array(["/".join(row) for row in zip(*parts, strict=True)], dtype=object), "")


def ends(table: Table, study: StudyConfig, who: Who) -> Int[np.ndarray, " n"]:
    """How each subject ended: RUNNING, ENDED or CENSORED."""
    if study.end is None or study.end.column is None:
        return np.full(len(who.names), RUNNING, np.int32)
    word = cells.words(table, study.end.column, study.na)
    ended, censored = np.isin(word, study.end.ended), np.isin(word, study.end.censored)
    if not (ended | censored).any():
        words = sorted({str(w) for w in word if w})
        expected = f"one of {', '.join((*study.end.ended, *study.end.censored)) or '(key end names none)'}"
        found = f"only {', '.join(words[:8]) or 'blanks'}"
        raise fault(found, expected, file=table.files[0], column=study.end.column)
    event = np.full(len(who.names), RUNNING, np.int32)
    event[who.code[censored]] = CENSORED
    event[who.code[ended]] = ENDED
    return event


def lost(
    ends: Int[np.ndarray, " n"], readings: pd.DataFrame, groups: Mapping[str, Sequence[str]], study: StudyConfig
) -> Int[np.ndarray, " n"]:
    """How each subject ended, CENSORED where it was last read before others of its group were (`end.lost`).

    Nobody is lost of whom it is known that they ended, and of no group.
    """
    if study.end is None or study.end.lost is None:
        return ends
    group = np.array(groups[study.end.lost], dtype=object)
    last = readings.groupby("subject")["t"].max().reindex(range(len(ends)))
    until = last.groupby(group).transform("max")
    early = (last < until).to_numpy() & (group != "") & (ends == RUNNING)
    return np.where(early, CENSORED, ends).astype(np.int32)


def given_split(table: Table, study: StudyConfig, who: Who) -> tuple[str, ...]:
    """The split word of each subject where the table has them, else (). Raises BadInput for a subject in two."""
    column = study.split.column
    if column is None:
        return ()
    word = cells.words(table, column, study.na)
    wrong = np.flatnonzero(~np.isin(word, PARTS))
    if len(wrong):
        raise table.bad(wrong[0], column, repr(word[wrong[0]]), f"one of {', '.join(PARTS)}")
    return tuple(constant(table, who, column, word, "split"))
