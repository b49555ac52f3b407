"""Whose future is asked: a subject of the fitted cohort, or one with a new history, up to a moment."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path as File
from typing import Any

import jax
import numpy as np
import pandas as pd

from biowm.core import units
from biowm.core.errors import BadInput, place
from biowm.core.given import impose, parse_given
from biowm.core.path import Path
from biowm.core.record import digest_arrays
from biowm.core.schedule import schedule
from biowm.core.spec import WorldSpec
from biowm.data import study as studies
from biowm.data.study import Study
from biowm.train.fitted import Fitted

Table = str | File | pd.DataFrame


@dataclass(frozen=True)
class Question:
    """Whose future is asked: one path (unbatched), the index of the last reading used, and its time.

    `start` is the time of t = 0 in the table (dates: clock units since 1970-01-01).
    """

    subject: str
    path: Path
    origin: int
    now: float
    start: float


def question(
    fitted: Fitted,
    *,
    subject: str | None = None,
    history: Table | None = None,
    start: float | str | None = None,
    context: Sequence[str] | None = None,
) -> Question:
    """The subject of a fitted cohort, or of a new table with the study's columns; `start` is the last time used.

    `context` asks for nobody in particular: a new subject with traits such as "line=A", of whom nothing was read.
    A world that is asked from the start is asked about somebody new where nobody is named.

    `start` is a number or a date as in the study's time column, or a quantity such as "90 d" after the subject's first
    row.
    Raises: BadInput for an unknown subject, a history of several subjects, or no reading up to `start`.
    """
    nobody = subject is None and history is None
    if context or (nobody and fitted.horizons.origins == "start"):
        if not nobody or start is not None:
            raise BadInput(
                "found --context beside --subject, --history or --from, expected it alone: it is somebody new"
            )
        return _newcomer(fitted, context or ())
    if nobody:
        raise BadInput("give --subject ID, --history NEW.csv, or --context TRAIT=VALUE for somebody new")
    if history is not None:
        name, path, first = _new_history(fitted, history, subject)
    else:
        if fitted.cohort is None:
            raise BadInput("this artefact holds no histories (it was made with --no-data): give --history NEW.csv")
        try:
            row = fitted.cohort.row(str(subject))
        except KeyError as error:
            raise BadInput(str(error.args[0])) from None
        name, first = str(subject), fitted.cohort.starts[row]
        path = jax.tree.map(lambda leaf: np.asarray(leaf)[row], fitted.cohort.paths)
    seen = np.isfinite(path.x).any(-1)
    if start is not None:
        until = _moment(start, first, fitted.spec.clock)
        seen &= np.asarray(path.t) <= until + 1e-6
    if not seen.any():
        raise BadInput(
            place(column="--from", found=start, expected=f"a time at or after the first reading of subject {name}")
        )
    origin = int(np.flatnonzero(seen)[-1])
    return Question(name, path, origin, float(path.t[origin]), float(first))


def _newcomer(fitted: Fitted, context: Sequence[str]) -> Question:
    """Somebody of whom nothing but the traits is known; BadInput for what is no trait, or not one value of it."""
    spec = fitted.spec
    traits = np.full((1, spec.trait_width), np.nan, np.float32)
    impose(traits, spec, parse_given(context, spec, option="--context"), "--context")
    nothing = np.full((1, len(spec.channels)), np.nan, np.float32)
    path = Path(np.zeros(1, np.float32), nothing, schedule([]), traits[0], np.asarray(0, np.int32))
    return Question("; ".join(context) or "somebody new", path, 0, 0.0, 0.0)


def inputs_of(asked: Question) -> dict[str, str]:
    """The hash of the history, for records."""
    return {"history": digest_arrays(jax.tree.leaves(asked.path))}


def horizon_of(spec: WorldSpec, horizon: str | float) -> float:
    """A horizon as a number in the world's clock; BadInput where it is not a positive time."""
    try:
        ahead = float(horizon) if isinstance(horizon, int | float) else units.quantity(horizon, spec.clock, "--horizon")
    except units.UnitError as error:
        raise BadInput(str(error)) from None
    if not ahead > 0:
        raise BadInput(place(column="--horizon", found=horizon, expected="a time above 0"))
    return ahead


def ahead_of(fitted: Fitted, horizon: str | float | None) -> float:
    """How far ahead; what is asked from the start is asked to the end of what was read, unless it is said.

    Raises: BadInput where nothing is said of a world that is asked from readings.
    """
    if horizon is not None:
        return horizon_of(fitted.spec, horizon)
    if fitted.horizons.origins != "start":
        expected = f'how far ahead, such as "90 {fitted.spec.clock}"'
        raise BadInput(place(column="--horizon", found="nothing", expected=expected))
    return fitted.horizons.values[-1]


def _moment(start: float | str, first: float, clock: str) -> float:
    """`start` on the path's own clock (0 at the first row)."""
    if isinstance(start, str):
        try:
            return float(start) - first
        except ValueError:
            pass
        try:
            stamp = datetime.fromisoformat(start)
            stamp = stamp.replace(tzinfo=UTC) if stamp.tzinfo is None else stamp
            return (stamp - datetime.fromtimestamp(0, UTC)).total_seconds() * units.factor("s", clock) - first
        except (ValueError, units.UnitError):
            pass
        try:
            return units.quantity(start, clock, "--from")
        except units.UnitError as error:
            raise BadInput(str(error)) from None
    return float(start) - first


def _new_history(fitted: Fitted, history: Table, subject: str | None) -> tuple[str, Path, float]:
    """One subject's path from a new table that is described as the study's was."""
    config = described(fitted)
    study = studies.load(history if not isinstance(history, str) else File(history), config)
    if subject is None and len(study.subjects) != 1:
        some = ", ".join(study.subjects[:5])
        raise BadInput(
            place(
                file=history if isinstance(history, str | File) else None,
                found=f"{len(study.subjects)} subjects ({some})",
                expected="one subject, or --subject ID",
            )
        )
    name = str(subject) if subject is not None else study.subjects[0]
    if name not in study.subjects:
        raise BadInput(
            place(
                file=history if isinstance(history, str | File) else None,
                found=f"no subject {name!r}",
                expected=f"one of {', '.join(study.subjects[:5])}",
            )
        )
    check_same_world(fitted, study)
    row = study.subjects.index(name)
    return name, aligned(fitted, study, study.paths[row]), study.starts[row]


def described(fitted: Fitted) -> dict[str, Any]:
    """How the tables of the study were read that a world was fitted from, for a new one; BadInput without one.

    A new table has a row a reading, also where the study's came as plates: what a map said of wells is in its columns.
    """
    if fitted.study is None:
        raise BadInput("this world was not fitted from a study: it does not know how to read a table")
    own = ("table", "layout", "plate_map", "split", "events", "columns", "horizons", "limits", "labels")
    return {key: value for key, value in json.loads(fitted.study).items() if key not in own}


def check_same_world(fitted: Fitted, other: Study) -> None:
    """Refuse a study whose channels, actions, clock or traits are not those the world was fitted on."""
    for what in ("channels", "actions"):
        mine = [(i.name, i.unit) for i in getattr(fitted.spec, what)]
        theirs = [(i.name, i.unit) for i in getattr(other.spec, what)]
        if mine != theirs:
            raise BadInput(
                f"study {other.config.study}: found {what} {theirs}, expected {mine}, as the world was fitted"
            )
    if fitted.spec.clock != other.spec.clock:
        raise BadInput(f"study {other.config.study}: found clock {other.spec.clock!r}, expected {fitted.spec.clock!r}")
    if [t.name for t in fitted.spec.traits] != [t.name for t in other.spec.traits]:
        raise BadInput(f"study {other.config.study}: its traits are not those the world was fitted on")


def aligned(fitted: Fitted, other: Study, path: Path) -> Path:
    """The path with its categories coded over the levels of the fitted world (unknown ones: all zero)."""
    values, at = [], 0
    for mine, theirs in zip(fitted.spec.traits, other.spec.traits, strict=True):
        if mine.kind == "real":
            values.append(path.traits[at])
            at += 1
            continue
        coded = dict(zip(theirs.levels, path.traits[at : at + len(theirs.levels)].tolist(), strict=True))
        values += [coded.get(level, 0.0) for level in mine.levels]
        at += len(theirs.levels)
    return dataclasses.replace(path, traits=np.array(values, np.float32))
