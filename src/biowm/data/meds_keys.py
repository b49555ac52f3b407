"""What a study file may ask of a MEDS folder, and which of the codes listed there it means."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator

from biowm.core import units
from biowm.core.errors import BadInput

from .codes import Codes, conversion, select
from .columns import Action, Constant, Covariate, Measured
from .config import StudyConfig

SUBJECT, TIME, CODE, VALUE = "subject_id", "time", "code", "numeric_value"
MICROSECOND = "us"  # the unit of time in a shard


def agree(study: StudyConfig, file: object) -> None:
    """Raise BadInput, naming the key of the study, where it asks of a MEDS folder what such a folder cannot say."""
    for key, found, expected in _faults(study):
        raise BadInput(f"file {file}, key {key}: found {found}, expected {expected} (format: meds)")


def only_here(study: StudyConfig, file: object) -> None:
    """Raise BadInput where a study of another table uses keys that mean something in MEDS folders alone."""
    keys = [f"covariates.{n}.code" for n, c in study.covariates.items() if c.code]
    keys += [f"actions.{n}.{k}" for n, a in study.actions.items() for k in ("code", "stop") if getattr(a, k)]
    keys += [f"traits.{n}.{k}" for n, t in study.traits.items() for k in ("code", "since") if getattr(t, k)]
    keys += [k for k in ("window", "labels") if getattr(study, k) is not None]
    keys += [f"channels.{n}.code" for n, c in study.channels.items() if any(u is not None for u in c.code.values())]
    if keys:
        raise BadInput(f"file {file}, key {keys[0]}: it belongs to MEDS folders, and the table is none")


def listed(study: StudyConfig, there: Collection[str], file: object) -> None:
    """Raise BadInput where the study means an event whose code is not among those `there`."""
    for key, codes in events(study):
        for pattern in codes:
            if not select([pattern], there):
                near = [c for c in sorted(there) if c.startswith(pattern.rstrip("*"))][:3]
                near = near or difflib.get_close_matches(pattern, there, n=3, cutoff=0.5)
                guess = f" such as {', '.join(map(repr, near))}" if near else ""
                raise BadInput(f"file {file}, key {key}: found {pattern!r}, expected a code of the folder{guess}")


def events(study: StudyConfig) -> Iterator[tuple[str, Codes]]:
    """Every key of the study that means events, with their codes."""
    for group in ("channels", "covariates", "actions", "traits"):
        for name, one in getattr(study, group).items():
            for key in ("code", "stop", "since"):
                if getattr(one, key, None):
                    yield f"{group}.{name}.{key}", getattr(one, key)
    if study.window is not None:
        yield "window.code", study.window.code
    if study.end is not None:
        yield "end", dict.fromkeys((*study.end.ended, *study.end.censored))


def _faults(study: StudyConfig) -> Iterator[tuple[str, str, str]]:
    """Key, what is there and what is expected."""
    if study.subject != (SUBJECT,):
        yield "subject", ", ".join(study.subject), SUBJECT
    if study.time.column != TIME or study.time.format is not None:
        yield "time", f"{study.time.column} {study.time.format or ''}".strip(), f"column {TIME}, without a format"
    if not _lasts(study.time.unit):
        yield "time.unit", study.time.unit, "a unit of time, such as h or d"
    asked = (("columns", study.columns), ("na", study.na), ("events", study.events), ("groups", study.groups))
    for key, value in (*asked, ("split.column", study.split.column)):
        if value:
            yield key, "it", "none: metadata/ says which subjects are in which part, codes say the rest"
    if study.end is not None and study.end.column != CODE:
        yield "end.column", study.end.column or "none", f"{CODE} (ended and censored are codes of events)"
    for name, one in (study.measured | study.actions).items():
        yield from _of_event(name, one)
    for name, trait in study.traits.items():
        yield from _of_trait(f"traits.{name}", trait)


def _of_event(name: str, one: Measured | Covariate | Action) -> Iterator[tuple[str, str, str]]:
    group = {Measured: "channels", Covariate: "covariates", Action: "actions"}[type(one)]
    key = f"{group}.{name}"
    if not one.code:
        yield key, "no code", f"the codes of the events that are {name} (code: ...)"
    if one.column is not None:
        yield f"{key}.column", one.column, f"none: {VALUE} is read"
    if isinstance(one, Measured) and one.blank is not None:
        yield f"{key}.blank", f"{one.blank:g}", "none: an event without a number is no reading"
    if isinstance(one, Action):
        if one.recorded != "until_next":
            yield f"{key}.recorded", one.recorded, "until_next: an event says what follows it"
        if one.kind == "bolus" and one.stop:
            yield f"{key}.stop", ", ".join(one.stop), "none: a bolus is given at once"
    for pattern in one.code:
        fault = _conversion_fault(one.code, pattern, one.unit)
        if fault is not None:
            yield f"{key}.code", repr(one.code[pattern]), fault


def _of_trait(key: str, trait: Constant) -> Iterator[tuple[str, str, str]]:
    if bool(trait.code) == bool(trait.since):
        yield key, "both code and since" if trait.code else "neither code nor since", "one of them"
    if trait.column is not None:
        yield f"{key}.column", trait.column, f"none: {VALUE} is read"
    if trait.since and (trait.kind != "real" or not _lasts(trait.unit)):
        yield f"{key}.unit", repr(trait.unit), "a unit of time: since is the time gone by"
    for pattern in trait.code if trait.kind == "real" else ():
        fault = _conversion_fault(trait.code, pattern, trait.unit)
        if fault is not None:
            yield f"{key}.code", repr(trait.code[pattern]), fault


def _conversion_fault(codes: Codes, pattern: str, unit: str) -> str | None:
    try:
        conversion(codes, pattern, unit)
    except units.UnitError as error:
        return f"a unit of {unit!r}, or a factor ({error})"
    return None


def _lasts(unit: str) -> bool:
    try:
        units.factor(unit, "s")
    except units.UnitError:
        return False
    return True
