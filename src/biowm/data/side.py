"""What is known of interventions beforehand: a table with a row each, of numbers and of sets that it belongs to.

Gene sets, drug targets, fingerprints, embeddings: members with like rows are expected to act alike, and one that was
never given is answered through its row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from biowm.core.record import digest
from biowm.core.spec import ActionCard

from .faults import fault
from .keys import Keys, closest
from .locate import locate
from .tables import Repair, read

_MARK = ";"  # between the sets of one cell: "kinase; MAPK"


class Side(Keys):
    """A table (csv, tsv, parquet, xlsx) and the column that names interventions; all other columns are looked at."""

    table: str
    name: str


def known_of(side: Side, file: Path) -> dict[str, tuple[float, ...]]:
    """A row of numbers for each name: numbers standardised, words one column for each set (mean square 1 a column).

    Raises BadInput for a missing column, a name that comes twice, or a table without anything that differs.
    """
    table, _ = read([file], None, None)
    frame = table.frame
    if side.name not in frame.columns:
        raise fault(
            f"no such column{closest(side.name, [str(c) for c in frame.columns])}", "the names of interventions",
            file=file, column=side.name,
        )  # fmt: skip
    names = [str(name).strip() for name in frame[side.name]]
    twice = next((i for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise fault(repr(names[twice]), "each intervention once", file=file, row=table.row[twice], column=side.name)
    columns = [column for c in frame.columns if c != side.name for column in _numbers(frame[c])]
    columns = [c for c in columns if np.ptp(c) > 0]
    if not columns:
        raise fault("no column in which rows differ", "numbers, or sets such as 'kinase; MAPK'", file=file)
    values = np.stack(columns, 1)
    values = (values - values.mean(0)) / values.std(0) / np.sqrt(values.shape[1])
    return {name: tuple(float(v) for v in row) for name, row in zip(names, values, strict=True)}


def described(
    side: Side | None, cards: Sequence[ActionCard], base: Path, data: str | Path | None, name: object,
    note: Callable[[Repair], None], more: bool = False,
) -> tuple[tuple[ActionCard, ...], str]:  # fmt: skip
    """The cards with what a side table says of them, and its hash; `more`: and cards of its other rows."""
    if side is None:
        return tuple(cards), ""
    file = locate(side.table, base, data, name)[0]
    like = cards[0] if more and cards and len({(c.unit, c.effect) for c in cards}) == 1 and not cards[0].unit else None
    return told(cards, known_of(side, file), like, note, str(file)), digest(file.read_bytes())


def told(
    cards: Sequence[ActionCard], known: dict[str, tuple[float, ...]], like: ActionCard | None,
    note: Callable[[Repair], None], file: str,
) -> tuple[ActionCard, ...]:  # fmt: skip
    """The cards with what is known of them (without a row: the average); `like`: how cards of other rows are made."""
    width = len(next(iter(known.values())))
    missing = [card.name for card in cards if card.name not in known]
    if missing:
        note(Repair("interventions without a row of side information, taken as average", len(missing), file,
                    example=missing[0]))  # fmt: skip
    found = [replace(card, known=known.get(card.name, (0.0,) * width)) for card in cards]
    if like is not None:
        there = {card.name for card in cards}
        found += [replace(like, name=name, target=name, known=row) for name, row in known.items() if name not in there]
    return tuple(found)


def _numbers(column: pd.Series) -> list[np.ndarray]:
    """One column of numbers as it is (missing: its mean), or a column of words as one column for each set."""
    numbers = pd.to_numeric(column, errors="coerce")
    empty = column.isna() | (column.astype(str).str.strip() == "")
    if numbers.notna().any() and (numbers.notna() | empty).all():
        return [numbers.fillna(numbers.mean()).to_numpy(float)]
    sets = [{w.strip() for w in str(v).split(_MARK) if w.strip()} if pd.notna(v) else set() for v in column]
    return [np.array([float(word in s) for s in sets]) for word in sorted(set().union(*sets))]
