"""From the rows of a NONMEM table to readings in a column a channel, and to what was given.

DVID or CMT tells which channel a reading is of (keys `dvid` and `cmt` of a channel), CMT which action a dose is (key
`cmt` of an action). Several readings of one moment are replicates unless the study says `duplicates: mean`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Shaped

from biowm.core import units
from biowm.core.errors import BadInput

from . import values
from .columns import Measured
from .config import StudyConfig
from .doses import with_doses
from .nonmem_doses import given
from .nonmem_records import Records, label, note, said
from .rows import MOMENT, Rows, lower_median, tidy
from .subjects import Who
from .tables import Table


def read(r: Records, who: Who) -> tuple[Rows, list[pd.DataFrame]]:
    """The ordered readings and moments of a table, and its interventions (subject, card, dose, onset, stop).

    Where something was given between readings, or before the first, there is a row with nothing read.
    """
    table, study = r.table, r.study
    note(r)
    doses = given(r)
    frame = pd.DataFrame({"subject": r.subject, "t": r.t})
    kind = _kinds(r)
    for name, channel in study.channels.items():
        frame[name] = _readings(r, name, channel, kind == name)
    for name, covariate in study.covariates.items():
        frame[name] = values.readings(table, name, covariate, r.how)
    before = frame.groupby("subject", sort=False)["t"].shift()
    table.note("rows out of order in time, sorted", np.flatnonzero(frame["t"] < before), None)
    merged = _by_moment(frame, kind, r)
    values.check_order(merged, table, study.channels)
    moments = pd.concat([frame[MOMENT], doses[["subject", "onset"]].set_axis(MOMENT, axis=1)], ignore_index=True)
    return Rows(with_doses(merged, doses, who), moments.astype({"subject": int})), [doses]


def agree(study: StudyConfig, file: object) -> None:
    """Raise BadInput, naming the key of the study, where it asks of a NONMEM table what such a table cannot say."""
    if study.events is not None:
        raise _key(file, "events", "a table of doses", "none: the rows of a NONMEM table hold its doses")
    for group, declared in (("channels", study.channels), ("actions", study.actions)):
        for name, one in declared.items():
            for key, value in (("column", one.column), ("blank", one.blank)):
                if value is not None:
                    expected = "none: DV, AMT and RATE are read, and '.' says nothing"
                    raise _key(file, f"{group}.{name}.{key}", repr(value), expected)
    told = {key: [getattr(c, key) for c in study.channels.values()] for key in ("dvid", "cmt")}
    if len(study.channels) > 1 and not any(_distinct(labels) for labels in told.values()):
        raise _key(file, "channels", ", ".join(study.channels), "a dvid of its own for each channel, or a cmt")
    for kind in ("bolus", "rate", "switch"):
        several = {n: a for n, a in study.actions.items() if a.kind == kind}
        if kind == "switch" and several:
            name = next(iter(several))
            raise _key(file, f"actions.{name}.kind", "'switch'", "bolus (AMT at once) or rate (AMT at RATE)")
        if len(several) > 1 and not _distinct([a.cmt for a in several.values()]):
            raise _key(file, "actions", ", ".join(several), f"a cmt of its own for each action of kind {kind}")
    _check_units(study, file)


def _key(file: object, key: str, found: str, expected: str) -> BadInput:
    return BadInput(f"file {file}, key {key}: found {found}, expected {expected} (format: nonmem)")


def _distinct(labels: list[str | None]) -> bool:
    return None not in labels and len({label(word) for word in labels if word is not None}) == len(labels)


def _check_units(study: StudyConfig, file: object) -> None:
    """RATE is AMT per unit of TIME: an infusion in other units would be given for another time."""
    boluses = {n: a for n, a in study.actions.items() if a.kind == "bolus"}
    for name, action in study.actions.items():
        if action.kind == "rate":
            if not units.per(action.unit, study.time.unit):
                raise _key(file, f"actions.{name}.unit", repr(action.unit), f"a unit per {study.time.unit}, as RATE is")
            for other, bolus in boluses.items():
                if bolus.cmt in (None, action.cmt) and not _same(f"({action.unit}) * ({study.time.unit})", bolus.unit):
                    found = f"{action.unit!r} beside {bolus.unit!r} of {other}"
                    raise _key(file, f"actions.{name}.unit", found, f"{bolus.unit}/{study.time.unit}: AMT has one unit")


def _same(unit: str, other: str) -> bool:
    try:
        return abs(units.factor(unit, other) - 1) < 1e-9
    except units.UnitError:
        return False


def _kinds(r: Records) -> Shaped[np.ndarray, " rows"]:
    """The channel of each reading, '' in other rows. Raises BadInput for a reading of no channel."""
    names = list(r.study.channels)
    for item, told in (("DVID", r.dvid), ("CMT", r.cmt)):
        key = item.lower()
        declared = {label(word): n for n, c in r.study.channels.items() if (word := getattr(c, key)) is not None}
        if len(declared) == len(names):
            known = ", ".join(f"{word} ({n})" for word, n in declared.items())
            r.refuse(r.observed & ~np.isin(told, list(declared)), item, f"one of {known}")
            return np.where(r.observed, [declared.get(word, "") for word in told], "").astype(object)
    for item, told in (("DVID", r.dvid), ("CMT", r.cmt)):
        if item in r.called:
            first = told[r.observed][:1].tolist()
            expected = (
                f"{', '.join(first)} as before: {names[0]} is the only channel (channels have a key {item.lower()})"
            )
            r.refuse(r.observed & ~np.isin(told, first), item, expected)
            break
    return np.where(r.observed, names[0], "").astype(object)


def _readings(r: Records, name: str, channel: Measured, mine: Bool[np.ndarray, " rows"]) -> Shaped[np.ndarray, " rows"]:
    """The readings of one channel, NaN in the rows that hold none; one beyond a limit is the limit."""
    value = np.full(len(mine), np.nan)
    if mine.any():
        table = _limited(r, channel, mine).keep(mine)
        value[mine] = values.readings(table, name, channel.model_copy(update={"column": r.called["DV"]}), r.how)
    return value


def _limited(r: Records, channel: Measured, mine: Bool[np.ndarray, " rows"]) -> Table:
    """The table with DV of readings beyond a limit written '<limit' or '>limit'.

    The limit is DV, or the lowest level quantified (LLOQ of the row, `lloq` of the channel) where that is higher.
    """
    words = said(r, "DV").astype(object)
    marks = words.str.replace(",", ".", regex=False) if r.how.comma else words
    number = pd.to_numeric(marks, errors="coerce").to_numpy(float)
    lowest = r.numbers["LLOQ"]
    if "CENS" in r.called:
        side = np.nan_to_num(r.numbers["CENS"])
        unknown = (number == 0) & (channel.link == "log")
        quantified = np.where(np.isnan(lowest), np.nan if channel.lloq is None else channel.lloq, lowest)
        limit = np.where(unknown, np.nan, number)
        limit = np.where(side > 0, np.fmax(limit, quantified), limit)
    else:
        side, limit = np.where(number < lowest, 1.0, 0.0), lowest
    beyond = mine & (side != 0) & ~words.str.startswith(("<", ">", "≤", "≥")).to_numpy(bool)
    expected = "the limit of a reading beyond it (CENS): here, in LLOQ, or as lloq of the channel"
    r.refuse(beyond & np.isnan(limit), "DV", expected)
    where = np.flatnonzero(beyond)
    words.iloc[where] = [f"{'<' if side[i] > 0 else '>'}{limit[i]:.9g}" for i in where]
    return replace(r.table, frame=r.table.frame.assign(**{r.called["DV"]: words}))


def _by_moment(frame: pd.DataFrame, kind: Shaped[np.ndarray, " rows"], r: Records) -> pd.DataFrame:
    """One row a moment, or more where readings are replicates: of those that say something, indexed by position."""
    channels, covariates = list(r.study.channels), list(r.study.covariates)
    mean = r.study.duplicates == "mean"
    again = frame[MOMENT].assign(kind=kind).groupby([*MOMENT, "kind"], sort=False).cumcount().to_numpy()
    again = np.where(kind == "", 0, again)
    what = "readings of one moment (mean)" if mean else "readings of one moment, kept as replicates"
    r.table.note(what, np.flatnonzero(again > 0), r.called["DV"])
    where = pd.Series(np.arange(len(frame)))
    place = where.where(pd.Series(kind != ""))  # of a reading, where there is one: messages name that row
    keyed = frame[[*MOMENT, *channels]].assign(again=0 if mean else again, place=place, where=where)
    levels = values.levelled(r.study.channels)
    how = {c: "first" if not mean else lower_median if c in levels else "mean" for c in channels}
    merged = keyed.groupby([*MOMENT, "again"]).agg({**how, "place": "first", "where": "first"}).reset_index()
    merged.index = pd.Index(merged["place"].fillna(merged["where"]).astype(int).to_numpy())
    if covariates:
        _covariates(merged, frame, channels, covariates, r)
    return merged.loc[merged[[*channels, *covariates]].notna().any(axis=1), [*MOMENT, *channels, *covariates]]


def _covariates(merged: pd.DataFrame, frame: pd.DataFrame, channels: list[str], names: list[str], r: Records) -> None:
    """Put the covariates of each moment beside its first readings; where nothing is read, only what changed is news.

    Raises BadInput naming both rows where two rows of one moment disagree.
    """
    told = tidy(frame[[*MOMENT, *names]], replace(r.table, repairs=[]), names, "replicate").moments
    first = (merged["again"] == 0).to_numpy()
    read = merged[channels].notna().any(axis=1).to_numpy()[first]
    for name in names:
        value = told[name].to_numpy()
        known = told.groupby("subject", sort=False)[name].ffill().groupby(told["subject"]).shift().to_numpy()
        column = np.full(len(merged), np.nan)
        column[first] = np.where(read | (value != known), value, np.nan)
        merged[name] = column
