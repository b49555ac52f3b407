"""What the doses of a NONMEM table give: boluses and infusions, the additional and the earlier ones written out."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from . import values
from .doses import doses
from .nonmem_records import Records, label

STEADY = 20  # earlier doses of a steady state: with a half-life of three intervals, 2^(-20/3) = 1 % is missing
_MODELLED = {-1.0: "a rate that the model finds", -2.0: "a duration that the model finds"}


def given(r: Records) -> pd.DataFrame:
    """The interventions in rows (subject, card, dose, onset, stop): AMT at once, or at RATE until it is all given.

    ADDL more doses II apart follow, up to the last row of the subject; before a dose at steady state (SS) come
    `STEADY` like it. Raises BadInput for what is no dose, or of no action of the study.
    """
    _check(r)
    amount, rate = r.amount("AMT"), r.amount("RATE")
    card = _cards(r, rate > 0)
    mine = r.doses & (amount > 0)
    _note(r, mine, rate)
    index, k = _repeats(r, mine)
    onset = r.t[index] + k * r.amount("II")[index]
    infused = rate[index] > 0
    length = np.where(infused, amount[index] / np.where(infused, rate[index], 1.0), 0.0)
    rows = [
        doses(c, r.subject[i], np.where(rate > 0, rate, amount)[i], on, on + long)
        for c in range(len(r.study.actions))
        for i, on, long in [(part[card[index] == c] for part in (index, onset, length))]
    ]
    return pd.concat(rows, ignore_index=True) if rows else doses(0, *(np.empty(0) for _ in range(4)))


def _check(r: Records) -> None:
    """Refuse a dose without an amount, an unknown rate, repetition without an interval, a steady state of what?"""
    amount, rate, every = r.amount("AMT"), r.amount("RATE"), r.amount("II")
    more, steady = r.amount("ADDL"), r.amount("SS")
    r.refuse(r.doses & np.isnan(r.numbers["AMT"]), "AMT", "an amount in a row that is a dose")
    for code, what in _MODELLED.items():
        r.refuse(rate == code, "RATE", f"a rate above 0, or 0 for a bolus ({what} cannot be represented)")
    r.refuse(rate < 0, "RATE", "a rate above 0, or 0 for a bolus")
    r.refuse(
        (rate > 0) & (amount == 0), "AMT", "the amount that is infused (an infusion without end cannot be represented)"
    )
    r.refuse((more < 0) | (more % 1 != 0), "ADDL", "how many more doses follow: 0, 1, 2, ...")
    r.refuse((every < 0) | ((every == 0) & ((more > 0) | (steady > 0))), "II", "the interval between doses, above 0")
    r.refuse(~np.isin(steady, (0, 1, 2)), "SS", "0, 1 or 2 (steady state of this dose alone, or besides others)")
    r.refuse(
        (steady > 0) & ~_begins(r, steady),
        "SS",
        "a steady state only in the first doses of a subject, before any reading",
    )


def _begins(r: Records, steady: Float[np.ndarray, " rows"]) -> Bool[np.ndarray, " rows"]:
    """Whether nothing was given or read of the subject before, so that earlier doses change nothing that is known."""
    rows = pd.DataFrame({"subject": r.subject, "t": r.t})[r.doses | r.observed]
    early = rows["t"] <= rows.groupby("subject")["t"].transform("min")
    rows = rows[r.doses[rows.index]]
    repeated = rows.duplicated(["subject", "t"])  # SS 1 forgets the doses above it
    fine = early.reindex(range(len(r.t)), fill_value=False).to_numpy()
    forgets = repeated.reindex(range(len(r.t)), fill_value=False).to_numpy() & (steady == 1)
    return fine & ~forgets


def _cards(r: Records, infused: Bool[np.ndarray, " rows"]) -> Int[np.ndarray, " rows"]:
    """The action of each dose by its kind and compartment, -1 in other rows; amounts and rates are within its range."""
    card = np.full(len(infused), -1)
    names = list(r.study.actions)
    for kind, item, mine in (("bolus", "AMT", r.doses & ~infused), ("rate", "RATE", r.doses & infused)):
        actions = {n: a for n, a in r.study.actions.items() if a.kind == kind}
        by_cmt = {label(a.cmt): n for n, a in actions.items() if a.cmt is not None}
        what = "a bolus" if kind == "bolus" else "an infusion (kind: rate)"
        if not actions:
            r.refuse(mine, item, f"no such dose: none of the actions ({', '.join(names) or 'none'}) is {what}")
        elif by_cmt:
            known = ", ".join(f"{word} ({n})" for word, n in by_cmt.items())
            r.refuse(mine & ~np.isin(r.cmt, list(by_cmt)), "CMT", f"one of {known} for {what}")
            card[mine] = [names.index(by_cmt[word]) for word in r.cmt[mine]]
        elif mine.any():
            (only,) = actions
            first = r.cmt[mine][0]
            r.refuse(
                mine & (r.cmt != first), "CMT", f"{first!r} as before: only {only} is {what} (key cmt of an action)"
            )
            card[mine] = names.index(only)
        for n, action in actions.items():
            amount = np.where(card == names.index(n), r.numbers[item], np.nan)
            if item in r.called:
                values.bounds(r.table, r.called[item], amount, action)
    return card


def _repeats(r: Records, mine: Bool[np.ndarray, " rows"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """The row of each dose, and by how many intervals it comes after that row (before it: negative)."""
    every, more = r.amount("II"), r.amount("ADDL")
    last = pd.Series(r.t).groupby(r.subject).transform("max").to_numpy()
    room = np.floor((last - r.t) / np.where(every > 0, every, 1.0) + 1e-9)
    after = np.where(mine, np.minimum(more, room), 0).astype(int)
    cut = np.flatnonzero(mine & (after < more))
    r.table.note("additional doses after the last row of their subject left out", cut, r.called.get("ADDL"))
    before = np.where(mine & (r.amount("SS") > 0), STEADY, 0)
    steady = f"doses at steady state with {STEADY} earlier ones written out (1 % short at a half-life of 3 intervals)"
    r.table.note(steady, np.flatnonzero(before), r.called.get("SS"))
    rows = np.flatnonzero(mine)
    count = (before + 1 + after)[rows]
    index = np.repeat(rows, count)
    place = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return index, place - before[index]


def _note(r: Records, mine: Bool[np.ndarray, " rows"], rate: Float[np.ndarray, " rows"]) -> None:
    """Note intervals and doses of nothing, equal doses of one moment (all given), readings below a bolus of then."""
    idle = r.doses & (r.amount("II") > 0) & (r.amount("ADDL") == 0) & (r.amount("SS") == 0)
    r.table.note("intervals (II) without ADDL or SS, of no consequence", np.flatnonzero(idle), r.called.get("II"))
    r.table.note("doses of 0 left out", np.flatnonzero(r.doses & ~mine), r.called.get("AMT"))
    rows = pd.DataFrame({"subject": r.subject, "t": r.t, "amount": r.amount("AMT"), "rate": rate, "cmt": r.cmt})
    equal = rows[mine].duplicated()
    r.table.note("equal doses of one moment, all given", equal.index[equal].to_numpy(), r.called.get("AMT"))
    bolus = pd.Series(mine & (rate == 0)).groupby([rows["subject"], rows["t"]]).cummax().to_numpy()
    r.table.note(
        "readings listed after a bolus of the same time, taken as before it", np.flatnonzero(bolus & r.observed), None
    )
