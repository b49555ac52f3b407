"""Leakage audit: what would let a model see in training what it is tested on."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import Literal

import numpy as np

from biowm.core.record import digest_arrays

from .splits import Split
from .study import Study


@dataclass(frozen=True)
class Finding:
    """One way in which held-out data are not held out, and for whom."""

    kind: Literal[
        "subject in two parts", "identical paths", "shared stretch", "shared first reading", "group in two parts"
    ]
    message: str
    subjects: tuple[str, ...]


def audit(study: Study, split: Split) -> tuple[Finding, ...]:
    """Everything that leaks between the parts of a split; () where nothing does.

    Identical paths are reported wherever they are: one patient under two names makes every interval too narrow. Parts
    of histories that are the same, to the last digit, are reported where one is trained on and the other held out.
    """
    same = _identical(study)
    known = {frozenset(pair) for f in same for pair in itertools.combinations(f.subjects, 2)}
    return (
        *_twice(study, split),
        *same,
        *_stretches(study, split, known),
        *_starts(study, split, known),
        *_across(study, split),
    )


def _twice(study: Study, split: Split) -> list[Finding]:
    listed = [*split.train, *split.calibrate, *split.test]
    twice = sorted({i for i in listed if listed.count(i) > 1}) if len(set(listed)) < len(listed) else []
    names = tuple(study.subjects[i] for i in twice)
    return [Finding("subject in two parts", f"in two parts of the split: {_some(names)}", names)] if names else []


def _identical(study: Study) -> list[Finding]:
    """Subjects with the same three or more readings at the same times."""
    same: dict[str, list[str]] = defaultdict(list)
    for name, path in zip(study.subjects, study.paths, strict=True):
        if len(path.t) >= 3:
            t = np.asarray(path.t) - path.t[0]
            same[digest_arrays([t, np.asarray(path.x)])].append(name)
    return [
        Finding("identical paths", f"the same readings at the same times under the names {_some(names)}", tuple(names))
        for names in same.values()
        if len(names) > 1
    ]


def _stretches(study: Study, split: Split, known: set[frozenset[str]]) -> list[Finding]:
    """Subjects of both sides that share three consecutive readings: one history cut in two, or a copy of a part."""
    held, at = {*split.test, *split.calibrate}, defaultdict(set)
    for i, path in enumerate(study.paths):
        t, x = np.asarray(path.t), np.asarray(path.x)
        for k in range(len(t) - 2):
            piece = x[k : k + 3]
            if np.isfinite(piece).all(1).any() and len(np.unique(piece[np.isfinite(piece)])) > 2:
                at[digest_arrays([np.diff(t[k : k + 3]), piece])].add(i)
    found = {i for some in at.values() for i in some if _leaks(study, some, held, known)}
    names = tuple(study.subjects[i] for i in sorted(found))
    message = f"three consecutive readings that are also in the other part: {_some(names)}"
    return [Finding("shared stretch", message, names)] if names else []


def _starts(study: Study, split: Split, known: set[frozenset[str]]) -> list[Finding]:
    """Subjects of both sides whose first readings are one measurement, copied: the same numbers in every channel.

    Numbers that are also read later, of anybody, are such as come up by themselves (rounded, at a limit).
    """
    held, at, later = {*split.test, *split.calibrate}, defaultdict(set), set()
    for i, path in enumerate(study.paths):
        x = np.asarray(path.x)
        rows = [digest_arrays([row]) for row in x[np.isfinite(x).any(axis=1)]]
        later |= set(rows[1:])
        if rows:
            at[rows[0]].add(i)
    found = {i for row, some in at.items() for i in some if row not in later and _leaks(study, some, held, known)}
    names = tuple(study.subjects[i] for i in sorted(found))
    message = f"the first reading is also that of a subject in the other part: {_some(names)} (one measurement copied?)"
    return [Finding("shared first reading", message, names)] if names else []


def _leaks(study: Study, members: set[int], held: set[int], known: set[frozenset[str]]) -> bool:
    """Whether these subjects lie on both sides and it has not been said already that they are the same."""
    pairs = itertools.combinations([study.subjects[i] for i in sorted(members)], 2)
    return bool(members & held) and bool(members - held) and not all(frozenset(pair) in known for pair in pairs)


def _across(study: Study, split: Split) -> list[Finding]:
    """Groups with subjects on both sides of the split."""
    held = {*split.test, *split.calibrate}
    findings = []
    for group, values in study.groups.items():
        sides: dict[str, set[bool]] = defaultdict(set)
        for i, value in enumerate(values):
            if value:
                sides[value].add(i in held)
        both = [value for value, side in sides.items() if len(side) > 1]
        if both:
            names = tuple(study.subjects[i] for i, value in enumerate(values) if value in both)
            message = f"{group} in training and held out: {_some(both)} (the test does not speak for a new {group})"
            findings.append(Finding("group in two parts", message, names))
    return findings


def _some(names: tuple[str, ...] | list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
