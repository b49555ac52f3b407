"""Conditions that somebody asks about, as a table: a set, its context, its doses, its time, and how many cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from biowm.core import units
from biowm.core.spec import ActionCard, WorldSpec

from . import screen_sets, tables
from .keys import closest
from .screen_config import Filled, Of
from .screen_names import condition_names
from .screen_obs import Kind
from .screen_sets import Given, Grammar
from .tables import Table

_CELLS = "cells"  # the column of how many cells are asked for


@dataclass(frozen=True, eq=False)
class Conditions:
    """What is asked: axes c conditions, a perturbations, s traits; see `Screen` for `dose`, `traits` and `hours`.

    `counts` is how many cells are asked of each. `obs` says the same in the columns and words of the screen's table.
    """

    names: tuple[str, ...]
    members: tuple[str, ...]
    dose: Float[np.ndarray, "c a"]
    traits: Float[np.ndarray, "c s"]
    hours: Float[np.ndarray, " c"]
    counts: Int[np.ndarray, " c"]
    obs: pd.DataFrame


def read_conditions(file: str | Path, spec: WorldSpec, config: Filled, *, cells: int = 100) -> Conditions:
    """The conditions in a table (csv, tsv, parquet, xlsx) about the screen that `spec` and `config` describe.

    Columns: `perturbation` ("A+B"; blank or the control's word: nothing), one for each context, `dose` ("10 uM",
    "10 uM+1 uM"; of genetic perturbations that went both ways "up" or "down"), `time` where times vary, `cells` (left
    out: `cells` of each). The columns of the screen's own obs mean the same. Raises BadInput naming file, row, column.
    """
    table, _ = tables.read([Path(file)], None, None)
    return _Asked(table, spec, config).conditions(cells)


@dataclass(frozen=True, eq=False)
class _Asked:
    """A table of conditions, and the screen that it is about."""

    table: Table
    spec: WorldSpec
    config: Filled

    def conditions(self, cells: int) -> Conditions:
        columns = self._columns()
        label = columns["perturbation"]
        same = self.config.control.obs == self.config.actions.labels.obs
        words = self.config.control.value if same else (screen_sets.CONTROLS[0],)
        grammar = Grammar(self.config.actions.labels.split, words, self.table.files[0], label)
        kinds, rows, counts = [], [], []
        for i in range(len(self.table.frame)):
            read = {key: self._word(i, column) for key, column in columns.items()}
            targets = grammar.members(read["perturbation"] or words[0], self.table.row[i])
            given = self._given(i, columns, read, targets)
            levels = tuple(self._level(i, columns, read, name) for name in self.config.traits)
            kinds.append(Kind(given, levels, self._hours(i, columns, read), read["perturbation"] or words[0]))
            counts.append(self._count(i, columns, read, cells))
            rows.append(self._obs(kinds[-1], read))
        self._once(kinds, label)
        return Conditions(
            names=condition_names(kinds, self.config),
            members=tuple("+".join(g.target for g in kind.given) for kind in kinds),
            dose=self._doses(kinds),
            traits=self._traits(kinds),
            hours=np.array([kind.hours for kind in kinds], np.float32),
            counts=np.array(counts, int),
            obs=pd.DataFrame(rows),
        )

    def _columns(self) -> dict[str, str]:
        """The column of the table for each thing that is asked; unknown ones are refused."""
        dose, time = self.config.dose, self.config.time
        effect = self.config.actions.effect
        own = {"perturbation": self.config.actions.labels.obs} | self.config.traits
        own |= {"dose": dose.obs} if dose is not None else {}
        own |= {"dose_unit": dose.unit.obs} if dose is not None and isinstance(dose.unit, Of) else {}
        own |= {"time": time.obs} if time.obs is not None else {}
        own |= {"effect": effect.obs} if isinstance(effect, Of) else {}
        asked = ["perturbation", *self.config.traits, "dose", "dose_unit", "effect", "time", _CELLS]
        found = {}
        for key in asked:
            names = [name for name in dict.fromkeys((key, own.get(key, key))) if name in self.table.frame.columns]
            if len(names) > 1:
                raise self.table.bad(0, names[1], f"{names[1]} beside {names[0]}, which means the same", "one of them")
            if names:
                found[key] = names[0]
        unknown = [str(c) for c in self.table.frame.columns if c not in found.values()]
        if unknown:
            known = dict.fromkeys((*asked, *own.values()))
            raise self.table.bad(0, unknown[0], f"an unknown column{closest(unknown[0], known)}", "one of these")
        if "perturbation" not in found:
            there = ", ".join(map(str, self.table.frame.columns))
            raise self.table.bad(0, own["perturbation"], f"no such column (there are: {there})", "the sets asked about")
        return found

    def _word(self, i: int, column: str) -> str:
        value = self.table.frame[column].iloc[i]
        return "" if pd.isna(value) else str(value).strip()

    def _given(
        self, i: int, columns: dict[str, str], read: dict[str, str], targets: Sequence[str]
    ) -> tuple[Given, ...]:
        cards = [self._card(i, columns, target) for target in targets]
        if len(set(targets)) < len(targets):
            raise self.table.bad(i, columns["perturbation"], repr(read["perturbation"]), "each perturbation once")
        texts = self._each(i, columns, "dose", read.get("dose", ""), len(targets))
        told = self._each(i, columns, "effect", read.get("effect", ""), len(targets))
        units_ = self._each(i, columns, "dose_unit", read.get("dose_unit", ""), len(targets))
        return tuple(
            self._drug(i, columns, card, f"{text} {unit}".strip())
            if card.unit
            else self._gene(i, columns, card, text, word)
            for card, text, word, unit in zip(cards, texts, told, units_, strict=True)
        )

    def _card(self, i: int, columns: dict[str, str], target: str) -> ActionCard:
        names = [card.name for card in self.spec.actions]
        if target not in names:
            found = f"the perturbation {target!r}{closest(target, names)}"
            raise self.table.bad(i, columns["perturbation"], found, "perturbations of the screen")
        return self.spec.actions[names.index(target)]

    def _each(self, i: int, columns: dict[str, str], key: str, text: str, many: int) -> list[str]:
        """One word for each member; a single one is for all."""
        mark = self.config.actions.labels.split
        parts = [part.strip() for part in text.split(mark)] if mark else [text]
        if len(parts) not in (1, many) and many:
            raise self.table.bad(i, columns[key], repr(text), f"one for each of {many} members, or one for all")
        return parts * many if len(parts) == 1 else parts[:many]

    def _drug(self, i: int, columns: dict[str, str], card: ActionCard, text: str) -> Given:
        column = columns.get("dose", "dose")
        if not text:
            raise self.table.bad(i, column, f"no dose of {card.name}", f"one with a unit, such as '1 {card.unit}'")
        try:
            dose = units.quantity(text, card.unit, f"dose of {card.name}")
        except units.UnitError as error:
            expected = f"a dose with a unit, such as '1 {card.unit}'"
            raise self.table.bad(i, column, str(error), expected) from None
        if not dose > 0:
            raise self.table.bad(i, column, repr(text), "a dose above 0; a condition given nothing leaves out its name")
        return Given(card.name, dose, card.unit)

    def _gene(self, i: int, columns: dict[str, str], card: ActionCard, text: str, word: str) -> Given:
        """A genetic perturbation goes the way it went in the screen; where it went both ways, the table says which."""
        told = screen_sets.effect_of(word) or screen_sets.effect_of(text)
        sign = {"up": 1.0, "down": -1.0, "knock-out": -1.0}.get(told or "")
        if sign is None and text not in ("", "1", "-1", "1.0", "-1.0", "on"):
            expected = "1 or -1, up or down, or nothing: a genetic perturbation has no dose"
            raise self.table.bad(i, columns.get("dose", "dose"), repr(text), expected)
        high = card.high or 0.0
        ways = [way for way in (1.0, -1.0) if card.low <= way <= high]
        if sign is None and text.startswith("-1"):
            sign = -1.0
        if sign is None and len(ways) > 1:
            expected = "up or down in a column dose: both were seen in the screen"
            raise self.table.bad(i, columns.get("dose", "dose"), f"no direction of {card.name}", expected)
        if sign is not None and sign not in ways:
            way = "up" if ways[0] > 0 else card.effect or "down"
            column = columns.get("effect", columns.get("dose", "dose"))
            raise self.table.bad(i, column, f"{card.name} {told or text}", f"{way}, as in the screen")
        return Given(card.name, ways[0] if sign is None else sign)

    def _level(self, i: int, columns: dict[str, str], read: dict[str, str], name: str) -> str:
        levels = next(trait.levels for trait in self.spec.traits if trait.name == name)
        if name not in columns:
            if len(levels) == 1:
                return levels[0]
            raise self.table.bad(i, name, "no such column", f"the context of each condition: one of {_some(levels)}")
        if read[name] not in levels:
            found = f"{read[name]!r}{closest(read[name], levels)}" if read[name] else "no value"
            raise self.table.bad(i, columns[name], found, f"a {name} of the screen: one of {_some(levels)}")
        return read[name]

    def _hours(self, i: int, columns: dict[str, str], read: dict[str, str]) -> float:
        clock, at = self.config.time.unit, self.config.time.at
        if not read.get("time"):
            if at is not None:
                return at
            raise self.table.bad(i, columns.get("time", "time"), "no time", f"one, such as '24 {clock}'")
        text = read["time"]
        try:
            own = columns["time"] == self.config.time.obs
            value = float(text) if own and _number(text) else units.quantity(text, clock, "time")
        except units.UnitError as error:
            raise self.table.bad(i, columns["time"], str(error), f"a time such as '24 {clock}'") from None
        if not (np.isfinite(value) and value >= 0):
            raise self.table.bad(i, columns["time"], repr(text), "a time of 0 or later")
        return value

    def _count(self, i: int, columns: dict[str, str], read: dict[str, str], cells: int) -> int:
        text = read.get(_CELLS, "")
        if not text:
            return cells
        value = float(text) if _number(text) else 0.0
        if not (value >= 1 and value == int(value)):
            raise self.table.bad(i, columns[_CELLS], repr(text), "a whole number of cells, at least 1")
        return int(value)

    def _once(self, kinds: Sequence[Kind], column: str) -> None:
        first: dict[tuple, int] = {}
        for i, kind in enumerate(kinds):
            before = first.setdefault(kind.key, i)
            if before < i:
                found = f"the condition of row {self.table.row[before]} again"
                raise self.table.bad(i, column, found, "each condition once (column cells says how many)")

    def _obs(self, kind: Kind, read: dict[str, str]) -> dict[str, object]:
        """The condition in the columns of the screen's own table."""
        config = self.config
        words: dict[str, object] = {config.actions.labels.obs: kind.label}
        words |= dict(zip(config.traits.values(), kind.levels, strict=True))
        if not kind.given:
            words[config.control.obs] = config.control.value[0]
        if config.time.obs is not None:
            words[config.time.obs] = kind.hours
        if config.dose is not None:
            mark = config.actions.labels.split or "+"
            words[config.dose.obs] = mark.join(f"{abs(g.dose):g}" for g in kind.given) or None
            if isinstance(config.dose.unit, Of):
                words[config.dose.unit.obs] = next((g.unit for g in kind.given if g.unit), None)
        if isinstance(config.actions.effect, Of) and read.get("effect"):
            words[config.actions.effect.obs] = read["effect"]
        return words

    def _doses(self, kinds: Sequence[Kind]) -> Float[np.ndarray, "c a"]:
        dose = np.zeros((len(kinds), len(self.spec.actions)), np.float32)
        for c, kind in enumerate(kinds):
            for member in kind.given:
                dose[c, self.spec.action(member.target)] = member.dose
        return dose

    def _traits(self, kinds: Sequence[Kind]) -> Float[np.ndarray, "c s"]:
        traits = np.zeros((len(kinds), self.spec.trait_width), np.float32)
        for t, (trait, place) in enumerate(zip(self.spec.traits, self.spec.trait_places, strict=True)):
            for c, kind in enumerate(kinds):
                traits[c, place.start + trait.levels.index(kind.levels[t])] = 1.0
        return traits


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _some(levels: Sequence[str]) -> str:
    return ", ".join(levels[:8]) + (", ..." if len(levels) > 8 else "")
