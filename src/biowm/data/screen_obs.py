"""The annotations of cells: which combinations there are, and what each means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int

from biowm.core import units

from . import screen_sets
from .columns import Text
from .faults import fault
from .keys import closest
from .locate import natural
from .screen_config import Filled, Of
from .screen_sets import Given, Grammar


@dataclass(frozen=True)
class Kind:
    """What makes a condition: who was given, where, and when it was read; `label` is the table's word."""

    given: tuple[Given, ...]
    levels: tuple[str, ...]
    hours: float
    label: str

    @property
    def key(self) -> tuple:
        """Sets have no order."""
        return (frozenset(self.given), self.levels, self.hours)


@dataclass(frozen=True, eq=False)
class Obs:
    """The annotations of cells, read with the place of each."""

    frame: pd.DataFrame
    file: str

    def column(self, name: str, key: str) -> pd.Series:
        if name not in self.frame:
            found = f"no column {name!r}{closest(name, self.frame.columns)}"
            raise fault(found, f"the column of key {key}", file=self.file, column="obs")
        return self.frame[name]

    def where(self, wanted: Mapping[str, Sequence[Text]]) -> Int[np.ndarray, " n"]:
        kept = np.ones(len(self.frame), bool)
        for name, words in wanted.items():
            column = self.column(name, "where").astype(str)
            kept &= column.isin(list(words)).to_numpy()
            if not kept.any():
                near = closest(words[0], sorted(set(column)))
                raise fault(f"no cell with {', '.join(words)}{near}", "some (key where)", file=self.file, column=name)
        if not kept.any():
            raise fault("no cell", "at least one", file=self.file, column="obs")
        return np.flatnonzero(kept)

    def levels(self, name: str, rows: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], tuple[str, ...]]:
        """Codes and words of a column of categories, natural order."""
        column = self.column(name, "context").iloc[rows]
        blank = np.flatnonzero(column.isna().to_numpy())
        if len(blank):
            raise fault("no value", "a level", file=self.file, row=column.index[blank[0]], column=name)
        codes, words = pd.factorize(column.astype(str))
        order = sorted(range(len(words)), key=lambda i: natural(words[i]))
        place = np.empty(len(words), int)
        place[order] = np.arange(len(words))
        return place[codes], tuple(words[i] for i in order)


def combinations(config: Filled, table: Obs, rows: Int[np.ndarray, " n"]) -> tuple[Int[np.ndarray, " n"], list[Kind]]:
    """Which combination of annotations each row has, and what each combination means."""
    labels = config.actions.labels
    keyed = {"control.obs": config.control.obs, "actions.from.obs": labels.obs}
    if isinstance(config.actions.effect, Of):
        keyed["actions.effect.obs"] = config.actions.effect.obs
    if config.dose is not None:
        keyed["dose.obs"] = config.dose.obs
        if isinstance(config.dose.unit, Of):
            keyed["dose.unit.obs"] = config.dose.unit.obs
    if config.time.obs is not None:
        keyed["time.obs"] = config.time.obs
    keyed |= {f"context.{name}": column for name, column in config.traits.items()}
    columns = list(dict.fromkeys(keyed.values()))
    for key, column in keyed.items():
        table.column(column, key)
    frame = table.frame[columns].iloc[rows]
    codes = np.stack([pd.factorize(frame[c], use_na_sentinel=True)[0] for c in columns], axis=1)
    _, at, combos = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    same = config.control.obs == labels.obs
    grammar = Grammar(labels.split, config.control.value if same else (), table.file, labels.obs)
    seen = {str(word) for word in frame[config.control.obs].dropna().unique()}
    if not any(set(grammar.parts(word)) <= set(config.control.value) for word in seen):
        raise screen_sets.no_control(config.control.value, seen, table.file, config.control.obs)
    return combos.reshape(-1), [_kind(config, grammar, frame.iloc[int(i)]) for i in at]


def _kind(config: Filled, grammar: Grammar, cell: pd.Series) -> Kind:
    """What the annotations of one cell mean."""
    row = cell.name

    def word(column: str) -> str:
        if pd.isna(cell[column]) or not str(cell[column]).strip():
            raise grammar.bad(row, "no value", "a word for every cell", column)
        return str(cell[column]).strip()

    levels = tuple(word(column) for column in config.traits.values())
    hours = float(config.time.at) if config.time.at is not None else _time(config, grammar, cell)
    label = word(config.actions.labels.obs)
    if config.control.obs != config.actions.labels.obs and word(config.control.obs) in config.control.value:
        return Kind((), levels, hours, label)
    targets = grammar.members(label, row)
    if not targets:
        return Kind((), levels, hours, label)
    doses: Sequence[float | None] = (None,) * len(targets)
    unit = ""
    if config.dose is not None:
        doses = grammar.doses(cell[config.dose.obs], label, row, config.dose.obs)
        if any(dose is not None for dose in doses):
            unit = _unit(config, grammar, cell)
    effect = config.actions.effect
    told = screen_sets.effect_of(cell[effect.obs]) if isinstance(effect, Of) else effect
    given = screen_sets.given(targets, doses, unit, told)
    if len({g.target for g in given}) < len(given):
        raise grammar.bad(row, repr(label), "each perturbation once in a set")
    return Kind(given, levels, hours, label)


def _unit(config: Filled, grammar: Grammar, cell: pd.Series) -> str:
    assert config.dose is not None
    unit = config.dose.unit
    if unit is None:
        expected = "their unit (key dose: {obs: ..., unit: uM} or unit: {obs: COLUMN})"
        raise grammar.bad(cell.name, "doses without a unit", expected, config.dose.obs)
    if isinstance(unit, str):
        return unit
    text = cell[unit.obs]
    if pd.isna(text) or not str(text).strip():
        found = f"no unit of dose {cell[config.dose.obs]}"
        raise grammar.bad(cell.name, found, "one for every dose, such as uM", unit.obs)
    try:
        units.parse(str(text))
    except units.UnitError as error:
        raise grammar.bad(cell.name, str(error), "a unit such as uM", unit.obs) from None
    return str(text).strip()


def _time(config: Filled, grammar: Grammar, cell: pd.Series) -> float:
    assert config.time.obs is not None
    text = str(cell[config.time.obs]).strip()
    try:
        value = float(text)
    except ValueError:
        try:
            value = units.quantity(text, config.time.unit, "time")
        except units.UnitError as error:
            raise grammar.bad(cell.name, str(error), f"a time in {config.time.unit}", config.time.obs) from None
    if not (np.isfinite(value) and value >= 0):
        raise grammar.bad(cell.name, f"{text!r}", f"a time in {config.time.unit}, 0 or later", config.time.obs)
    return value
