"""What the events of a MEDS folder give: boluses at their moment, rates and switches until the next event of theirs."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float

from . import values
from .columns import Action
from .doses import doses, recorded
from .meds_events import Events
from .meds_keys import CODE, VALUE
from .rows import MOMENT, tidy


def given(events: Events, last: pd.Series) -> list[pd.DataFrame]:
    """The interventions in rows (subject, card, dose, onset, stop).

    A rate that is said anew before it was stopped is the new one from then on; what goes on is held to the last reading
    of its subject (`last`), or the last event that gives something. What began before the window is given from its
    start. Raises BadInput for an event without a dose, and for a dose out of range.
    """
    found = []
    actions = events.study.actions
    told = [_amounts(events, name, action) for name, action in actions.items()]
    last = pd.concat([last, *(rows.groupby("subject")["t"].max() for rows in told)]).groupby(level=0).max()
    for card, (action, rows) in enumerate(zip(actions.values(), told, strict=True)):
        if action.kind == "bolus":
            t = rows["t"].to_numpy()
            span = doses(card, rows["subject"].to_numpy(), rows[VALUE].to_numpy(), t, t)[rows[VALUE].to_numpy() != 0]
        else:
            span = recorded(_held(events, action, rows), VALUE, card, action.kind, "until_next", last)
        found.append(_within(events, span))
    return found


def _amounts(events: Events, name: str, action: Action) -> pd.DataFrame:
    """Subject, time and dose of the events of an action, exact duplicates dropped."""
    mine, value = events.amounts(action.code, action.unit)
    table = events.table
    table.note(f"events of {name} without a time left out", np.flatnonzero(mine & np.isnan(events.t)), CODE)
    # A rate may have begun before the window; a bolus before it is over.
    mine &= events.inside if action.kind == "bolus" else events.t <= events.high[events.who.code]
    if action.kind == "switch":
        value = np.where(mine, 1.0, np.nan)
    elif action.blank is not None:
        value = np.where(mine & np.isnan(value), action.blank, value)
    missing = np.flatnonzero(mine & np.isnan(value))
    if len(missing):
        expected = f"a dose in {action.unit} (or actions.{name}.blank: what an event without a number gives)"
        raise table.bad(missing[0], VALUE, "no number", expected)
    values.bounds(table, VALUE, np.where(mine, value, np.nan), action)
    rows = events.rows(mine).assign(**{CODE: events.name[mine], VALUE: value[mine]})
    same = rows.duplicated()
    table.note(f"equal events of {name} at one moment, one kept", rows.index[same].to_numpy(), CODE)
    return rows[~same].drop(columns=CODE)


def _held(events: Events, action: Action, rows: pd.DataFrame) -> pd.DataFrame:
    """One row for each moment at which a rate or switch becomes another: nothing where it stops and none begins."""
    quiet = events.quiet()
    begun = tidy(rows, quiet, [VALUE], events.study.duplicates, {VALUE} if action.kind == "switch" else ()).moments
    events.note_all(quiet)
    ended = events.rows(events.of(action.stop)).drop_duplicates()
    ended = ended[~pd.MultiIndex.from_frame(ended).isin(pd.MultiIndex.from_frame(begun[MOMENT]))]
    both = pd.concat([begun.assign(on=True), ended.assign(**{VALUE: 0.0}, on=False)]).sort_values(MOMENT, kind="stable")
    if action.stop:
        before = both.groupby("subject", sort=False)["on"].shift(fill_value=False)
        stops = pd.MultiIndex.from_frame(events.rows(events.of(action.stop)))
        anew = both["on"] & before & ~pd.MultiIndex.from_frame(both[MOMENT]).isin(stops)
        events.table.note("rates said anew before they were stopped", both.index[anew].to_numpy(), CODE)
    return both[[*MOMENT, VALUE]]


def _within(events: Events, span: pd.DataFrame) -> pd.DataFrame:
    """What is given within the window of each subject."""
    low, high = (edge[span["subject"].to_numpy(int)] for edge in (events.low, events.high))
    bolus = (span["onset"] == span["stop"]).to_numpy()
    onset: Float[np.ndarray, " n"] = np.maximum(span["onset"].to_numpy(float), low)
    stop = np.minimum(span["stop"].to_numpy(float), high)
    kept = np.where(bolus, (onset == stop), stop > onset)
    return span.assign(onset=onset, stop=stop)[kept]
