"""Interventions in a table of their own, wide (a column per action) or long (action, dose, onset, stop)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from biowm.core.units import UnitError, factor

from . import cells, values
from .columns import Action
from .config import Events, StudyConfig
from .doses import doses, recorded
from .faults import fault
from .keys import closest
from .rows import tidy
from .subjects import Who, constant, words_of
from .tables import Table


def given(
    table: Table, readings: Table, study: StudyConfig, who: Who, last: pd.Series, acting: list[str], kind: str
) -> list[pd.DataFrame]:
    """The interventions of the events table, in rows (subject, card, dose, onset, stop).

    `readings` is the study's table, `last` the last time of each subject in it, where an open interval ends; `acting`
    are the actions that it records already; `kind` is what its times are (`cells.kind_of_time`).
    """
    assert study.events is not None
    if study.events.by is not None:
        table, code = _shared(table, readings, study.events.by, study, who)
    else:
        label = cells.labels(table, study.events.subject or study.subject, "the name of a subject")
        code = pd.Index(who.names).get_indexer(pd.Index(label))
        table.note("doses of subjects that have no readings, left out", np.flatnonzero(code < 0), None)
    read = _long if study.events.action in table.frame.columns else _wide
    return read(table, study, study.events, code, last, acting, kind)


def _shared(
    table: Table, readings: Table, by: Sequence[str], study: StudyConfig, who: Who
) -> tuple[Table, Int[np.ndarray, " rows"]]:
    """The events once for each subject that they are of, and the numbers of these; `by` names whose they are."""
    label = cells.labels(table, by, "whose events they are")
    mine = constant(readings, who, by[0], words_of(readings, by, study.na), "/".join(by)).fillna("").to_numpy()
    table.note("doses of conditions that have no readings, left out", np.flatnonzero(~np.isin(label, mine)), by[0])
    pairs = [(row, subject) for row, word in enumerate(label) for subject in np.flatnonzero(mine == word)]
    rows, code = np.array(pairs, int).reshape(-1, 2).T
    if not len(rows):
        expected = f"events of the conditions of the readings, such as {sorted(set(mine) - {''})[:1]}"
        raise table.bad(0, by[0], repr(label[0]), expected)
    return table.keep(rows), code


def _time(table: Table, study: StudyConfig, column: str, kind: str, *, required: bool) -> Float[np.ndarray, " rows"]:
    if (found := cells.kind_of_time(table, study.time, column)) != kind:
        raise fault(found, f"{kind}, as in the table of readings", file=table.files[0], column=column)
    how = cells.Reading(study.na, cells.decimal_comma(table, [column]))
    return cells.times(table, study.time, column, how, required=required)


def _once(table: Table, name: str, acting: list[str]) -> None:
    if name in acting:
        raise fault("doses of this action in both tables", "them in one", file=table.files[0], column=name)


def _wide(
    table: Table,
    study: StudyConfig,
    events: Events,
    code: Int[np.ndarray, " rows"],
    last: pd.Series,
    acting: list[str],
    kind: str,
) -> list[pd.DataFrame]:
    here = {n: a for n, a in study.actions.items() if n not in acting or (a.column or n) in table.frame.columns}
    columns = [a.column or n for n, a in here.items()]
    how = cells.Reading(study.na, cells.decimal_comma(table, columns))
    t = _time(table, study, events.time or study.time.column, kind, required=True)
    frame = pd.DataFrame({"subject": code, "t": t})
    for name, action in here.items():
        _once(table, name, acting)
        frame[name] = values.amounts(table, name, action, how)
    rows = tidy(frame[code >= 0], table, list(here), study.duplicates, values.levelled(here))
    moments = values.fill_doses(rows.moments, table, here)
    cards = list(study.actions)
    return [recorded(moments, n, cards.index(n), a.kind, a.recorded, last) for n, a in here.items()]


def _long(
    table: Table,
    study: StudyConfig,
    events: Events,
    code: Int[np.ndarray, " rows"],
    last: pd.Series,
    acting: list[str],
    kind: str,
) -> list[pd.DataFrame]:
    names = {a.column or n: n for n, a in study.actions.items()}
    action = cells.words(table, events.action, ())
    unknown = np.flatnonzero(~np.isin(action, list(names)))
    if len(unknown):
        word = str(action[unknown[0]])
        raise table.bad(int(unknown[0]), events.action, repr(word), f"a declared action{closest(word, names)}")
    onset_column = events.time or (events.onset if events.onset in table.frame.columns else study.time.column)
    onset = _time(table, study, onset_column, kind, required=True)
    stop = np.full(len(onset), np.nan)
    if events.stop in table.frame.columns:
        stop = _time(table, study, events.stop, kind, required=False)
    wrong = np.flatnonzero(stop < onset)
    if len(wrong):
        found = str(table.frame[events.stop].iloc[wrong[0]])
        raise table.bad(
            int(wrong[0]), events.stop, repr(found), f"a stop that is not before its onset ({onset_column})"
        )
    dose = _doses(table, study, events, action, names)
    rows = pd.DataFrame({"subject": code, "action": action, "dose": dose, "onset": onset, "stop": stop})
    same = rows.duplicated()
    table.note("exact duplicate rows dropped", np.flatnonzero(same), None)
    rows = rows[~same & (rows["subject"] >= 0)]
    pieces = []
    for word, name in names.items():
        mine = rows[rows["action"] == word]
        if len(mine):
            _once(table, name, acting)
            pieces.append(_span(table, events, mine, list(study.actions).index(name), study.actions[name], last))
    return pieces


def _doses(
    table: Table, study: StudyConfig, events: Events, action: Shaped[np.ndarray, " rows"], names: dict[str, str]
) -> Float[np.ndarray, " rows"]:
    """The dose of each row of a long table; a switch needs none."""
    dose = np.full(len(action), np.nan)
    if events.dose in table.frame.columns or any(a.kind != "switch" for a in study.actions.values()):
        how = cells.Reading(study.na, cells.decimal_comma(table, [events.dose]))
        dose = cells.numbers(table, events.dose, how, switch=True) * _factors(table, study, events, action, names)
    for word, name in names.items():
        card, mine = study.actions[name], action == word
        if card.kind == "switch":
            dose[mine & np.isnan(dose)] = 1.0
        cells.refuse(table, events.dose, mine & np.isnan(dose), f"a dose of {word} in {card.unit}")
        values.bounds(table, events.dose, np.where(mine, dose, np.nan), card)
    return dose


def _factors(
    table: Table, study: StudyConfig, events: Events, action: Shaped[np.ndarray, " rows"], names: dict[str, str]
) -> Float[np.ndarray, " rows"]:
    """What turns each dose into the unit of its action; 1 where no unit is said."""
    scale = np.ones(len(action))
    if events.unit not in table.frame.columns:
        return scale
    said = cells.words(table, events.unit, study.na)
    for i, (word, unit) in enumerate(zip(action, said, strict=True)):
        card = study.actions[names[str(word)]]
        if unit and card.unit:
            try:
                scale[i] = factor(str(unit), card.unit)
            except UnitError as error:
                raise table.bad(i, events.unit, repr(str(unit)), f"a unit like {card.unit} ({error})") from None
    return scale


def _span(table: Table, events: Events, rows: pd.DataFrame, card: int, action: Action, last: pd.Series) -> pd.DataFrame:
    """Onset and stop of one action's rows: a bolus has no length, an open interval lasts as long as the readings."""
    onset, stop = rows["onset"].to_numpy(), rows["stop"].to_numpy(copy=True)
    where = rows.index.to_numpy()
    if action.kind == "bolus":
        table.note("stop of a bolus left out", where[stop > onset], events.stop)
        stop = onset
    else:
        open_end = np.isnan(stop)
        column = events.stop if events.stop in table.frame.columns else None
        table.note("doses without a stop held to the subject's last row", where[open_end], column)
        stop = np.where(open_end, np.maximum(onset, rows["subject"].map(last).to_numpy(float)), stop)
    span = doses(card, rows["subject"].to_numpy(), rows["dose"].to_numpy(), onset, stop)
    return span[(span["dose"] != 0) & ((span["stop"] > span["onset"]) | (action.kind == "bolus"))]
