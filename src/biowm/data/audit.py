"""Leakage audit: what would let a model see in training what it is tested on."""

from __future__ import annotations

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

    kind: Literal["subject in two parts", "identical paths", "group in two parts"]
    message: str
    subjects: tuple[str, ...]


def audit(study: Study, split: Split) -> tuple[Finding, ...]:
    """Everything that leaks between the parts of a split; () where nothing does.

    Identical paths are reported wherever they are: one patient under two names makes every interval too narrow.
    """
    return (*_twice(study, split), *_identical(study), *_across(study, split))


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
