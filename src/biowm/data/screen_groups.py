"""The conditions of a screen: cells given the same set, in the same context, read at the same time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from biowm.core import units
from biowm.core.errors import BadInput
from biowm.core.spec import ActionCard, Trait

from . import screen_sets
from .columns import Text
from .faults import fault
from .keys import closest
from .locate import natural
from .screen_config import BATCH, Of, ScreenConfig
from .screen_file import Source
from .screen_sets import Given, Grammar
from .tables import Repair

_FEWEST = 2  # cells that make a condition
_PARTS = ("train", "calibrate", "test")


@dataclass(frozen=True, eq=False)
class Groups:
    """Rows of the table that are kept, the condition of each, and what the conditions are; see `Screen`."""

    rows: Int[np.ndarray, " n"]
    of: Int[np.ndarray, " n"]
    batch: Int[np.ndarray, " n"]
    batches: tuple[str, ...]
    conditions: tuple[str, ...]
    members: tuple[str, ...]
    labels: tuple[str, ...]
    dose: Float[np.ndarray, "c a"]
    trait: Float[np.ndarray, "c s"]
    hours: Float[np.ndarray, " c"]
    control: Bool[np.ndarray, " c"]
    actions: tuple[ActionCard, ...]
    traits: tuple[Trait, ...]
    clock: str
    given_split: tuple[str, ...]


@dataclass(frozen=True)
class _Kind:
    """What makes a condition: who was given, where, and when it was read; `label` is the table's word."""

    given: tuple[Given, ...]
    levels: tuple[str, ...]
    hours: float
    label: str

    @property
    def key(self) -> tuple:
        """Sets have no order."""
        return (frozenset(self.given), self.levels, self.hours)


def read(config: ScreenConfig, source: Source, say: Callable[[Repair], None]) -> Groups:
    """The conditions of a table whose keys are all filled in. Raises BadInput naming cell and column."""
    assert config.control is not None
    assert config.actions is not None
    assert config.time is not None
    obs = source.annotations.obs
    table = _Obs(obs, source.file, say)
    if obs.index.has_duplicates:
        twice = np.flatnonzero(obs.index.duplicated())
        say(Repair("obs_names used more than once (cells are told apart by their rows)", len(twice), source.file,
                   obs.index[twice[0]]))  # fmt: skip
    rows = table.where(config.where)
    context = {name: column for name, column in (config.context or {}).items() if name != BATCH}
    combos, kinds = _kinds(config, table, rows, context)
    first: dict[tuple, int] = {}
    of = np.array([first.setdefault(kind.key, len(first)) for kind in kinds])[combos]
    found = {first[kind.key]: kind for kind in reversed(kinds)}
    found = [found[i] for i in range(len(first))]
    keep = np.bincount(of, minlength=len(found)) >= _FEWEST
    if not keep.all():
        lone = [_plain(found[i]) for i in np.flatnonzero(~keep)]
        say(Repair(f"conditions of fewer than {_FEWEST} cells left out", len(lone), source.file,
                   column=config.actions.labels.obs, example=", ".join(lone[:5])))  # fmt: skip
    order = sorted(np.flatnonzero(keep), key=lambda i: (bool(found[i].given), found[i].levels, found[i].hours,
                                                        natural(_plain(found[i]))))  # fmt: skip
    place = np.full(len(found), -1)
    place[order] = np.arange(len(order))
    found = [found[i] for i in order]
    rows, of = rows[place[of] >= 0], place[of][place[of] >= 0]
    _controls(found, list(context), config, source)
    return _whole(config, source, table, rows, of, found, list(context))


def _whole(
    config: ScreenConfig, source: Source, table: _Obs, rows: np.ndarray, of: np.ndarray, found: list[_Kind],
    context: list[str],
) -> Groups:  # fmt: skip
    """The arrays of conditions that are known."""
    assert config.time is not None
    cards = _cards(found, source.file, config)
    place = {card.name: a for a, card in enumerate(cards)}
    dose = np.zeros((len(found), len(cards)), np.float32)
    for c, kind in enumerate(found):
        for member in kind.given:
            dose[c, place[member.target]] = screen_sets.in_unit(member, cards[place[member.target]].unit)
    levels = [tuple(sorted({kind.levels[t] for kind in found}, key=natural)) for t in range(len(context))]
    blocks = [
        np.array([[float(k.levels[t] == word) for word in words] for k in found]) for t, words in enumerate(levels)
    ]
    column = None if config.context is None else config.context.get(BATCH)
    batch, batches = (np.zeros(len(rows), int), ("",)) if column is None else table.levels(column, rows)
    return Groups(
        rows=rows,
        of=of,
        batch=batch,
        batches=batches,
        conditions=_names(found, cards, context, config),
        members=tuple("+".join(g.target for g in kind.given) for kind in found),
        labels=tuple(kind.label for kind in found),
        dose=dose,
        trait=np.concatenate([np.zeros((len(found), 0)), *blocks], axis=1).astype(np.float32),
        hours=np.array([kind.hours for kind in found], np.float32),
        control=np.array([not kind.given for kind in found], bool),
        actions=cards,
        traits=tuple(Trait(name, "", "category", words) for name, words in zip(context, levels, strict=True)),
        clock=config.time.unit,
        given_split=_given_split(config, table, rows, of, found),
    )


@dataclass(frozen=True, eq=False)
class _Obs:
    """The annotations of cells, read with the place of each."""

    frame: pd.DataFrame
    file: str
    say: Callable[[Repair], None]

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


def _kinds(
    config: ScreenConfig, table: _Obs, rows: np.ndarray, context: Mapping[str, str]
) -> tuple[Int[np.ndarray, " n"], list[_Kind]]:
    """Which combination of annotations each row has, and what each combination means."""
    assert config.control is not None
    assert config.actions is not None
    assert config.time is not None
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
    keyed |= {f"context.{name}": column for name, column in context.items()}
    columns = list(dict.fromkeys(keyed.values()))
    for key, column in keyed.items():
        table.column(column, key)
    frame = table.frame[columns].iloc[rows]
    codes = np.stack([pd.factorize(frame[c], use_na_sentinel=True)[0] for c in columns], axis=1)
    _, at, combos = np.unique(codes, axis=0, return_index=True, return_inverse=True)
    same = config.control.obs == labels.obs
    grammar = Grammar(labels.split, config.control.value if same else (), table.file, labels.obs, table.say)
    kinds = []
    seen = {str(word) for word in frame[config.control.obs].dropna().unique()}
    if not any(set(grammar.parts(word)) <= set(config.control.value) for word in seen):
        raise _no_control(config, seen, table.file)
    for i in at:
        kinds.append(_kind(config, grammar, frame.iloc[int(i)], context))
    return combos.reshape(-1), kinds


def _no_control(config: ScreenConfig, seen: set[str], file: str) -> BadInput:
    assert config.control is not None
    like = sorted(word for word in seen if word.casefold() in screen_sets.CONTROLS)
    guess = f" (did you mean {like[0]!r}?)" if like else closest(config.control.value[0], sorted(seen, key=natural))
    found = f"no cell with {' or '.join(map(repr, config.control.value))}{guess}"
    return fault(found, "control cells (key control)", file=file, column=config.control.obs)


def _kind(config: ScreenConfig, grammar: Grammar, cell: pd.Series, context: Mapping[str, str]) -> _Kind:
    """What the annotations of one cell mean."""
    assert config.control is not None
    assert config.actions is not None
    assert config.time is not None
    row = cell.name

    def word(column: str) -> str:
        if pd.isna(cell[column]) or not str(cell[column]).strip():
            raise grammar.bad(row, "no value", "a word for every cell", column)
        return str(cell[column]).strip()

    levels = tuple(word(column) for column in context.values())
    hours = float(config.time.at) if config.time.at is not None else _time(config, grammar, cell)
    label = word(config.actions.labels.obs)
    if config.control.obs != config.actions.labels.obs and word(config.control.obs) in config.control.value:
        return _Kind((), levels, hours, label)
    targets = grammar.members(label, row)
    if not targets:
        return _Kind((), levels, hours, label)
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
    return _Kind(given, levels, hours, label)


def _unit(config: ScreenConfig, grammar: Grammar, cell: pd.Series) -> str:
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


def _time(config: ScreenConfig, grammar: Grammar, cell: pd.Series) -> float:
    assert config.time is not None
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


def _controls(found: list[_Kind], context: list[str], config: ScreenConfig, source: Source) -> None:
    """Refuse a context without control cells."""
    assert config.control is not None
    have = {kind.levels for kind in found if not kind.given}
    without = sorted({kind.levels for kind in found} - have)
    if without:
        where = ", ".join(f"{name}={word}" for name, word in zip(context, without[0], strict=True)) or "the screen"
        more = f" (and {len(without) - 1} more contexts)" if len(without) > 1 else ""
        raise fault(
            f"no control cells of {where}{more}",
            f"at least {_FEWEST} cells with {' or '.join(map(repr, config.control.value))} in every context (key where leaves cells out)",
            file=source.file, column=config.control.obs,
        )  # fmt: skip


def _cards(found: list[_Kind], file: str, config: ScreenConfig) -> tuple[ActionCard, ...]:
    """One action for each target, in natural order, its doses in the unit they were first seen in."""
    assert config.actions is not None
    by: dict[str, list[Given]] = {}
    for kind in found:
        for member in kind.given:
            by.setdefault(member.target, []).append(member)
    cards = []
    for name in sorted(by, key=natural):
        mine = by[name]
        unit = mine[0].unit
        column = config.actions.labels.obs
        if len({bool(g.unit) for g in mine}) > 1:
            raise fault(
                f"{name} with a dose in some cells and none in others", "one or the other", file=file, column=column
            )
        try:
            doses = [screen_sets.in_unit(g, unit) for g in mine]
        except units.UnitError as error:
            raise fault(f"{name}: {error}", "doses of one kind", file=file, column=column) from None
        effects = {g.effect for g in mine}
        effect = effects.pop() if len(effects) == 1 else None
        genetic = not unit
        cards.append(
            ActionCard(
                name, unit, "set-member", min(0.0, *doses), max(0.0, *doses), name if genetic else None, None, effect
            )
        )
    return tuple(cards)


def _plain(kind: _Kind) -> str:
    return "+".join(g.target for g in kind.given) or "control"


def _names(
    found: list[_Kind], cards: Sequence[ActionCard], context: list[str], config: ScreenConfig
) -> tuple[str, ...]:
    """Readable names of conditions, each its own: the set, its context, its time where times vary."""
    assert config.time is not None
    by = {card.name: card for card in cards}
    timed = len({kind.hours for kind in found}) > 1
    for signed in (False, True):  # up and down only where names would not be told apart without
        names = []
        for kind in found:
            parts = ["+".join(_member(g, by[g.target], signed) for g in kind.given) or "control"]
            parts += [f"{name}={word}" for name, word in zip(context, kind.levels, strict=True)]
            parts += [f"{kind.hours:g} {config.time.unit}"] if timed else []
            names.append(", ".join(parts))
        if len(set(names)) == len(names):
            break
    return tuple(names)


def _member(member: Given, card: ActionCard, signed: bool) -> str:
    if card.unit:
        return f"{member.target}={screen_sets.in_unit(member, card.unit):g} {card.unit}"
    return f"{member.target} {'up' if member.dose > 0 else 'down'}" if signed else member.target


def _given_split(
    config: ScreenConfig, table: _Obs, rows: np.ndarray, of: np.ndarray, found: list[_Kind]
) -> tuple[str, ...]:
    """The part of each condition where the table has them; control cells of several parts are trained on."""
    if config.split.column is None:
        return ()
    codes, words = table.levels(config.split.column, rows)
    wrong = [word for word in words if word not in _PARTS]
    if wrong:
        at = int(np.flatnonzero(codes == words.index(wrong[0]))[0])
        raise fault(repr(wrong[0]), f"one of {', '.join(_PARTS)}", file=table.file, row=table.frame.index[rows[at]],
                    column=config.split.column)  # fmt: skip
    parts = []
    for c, kind in enumerate(found):
        mine = sorted({words[code] for code in np.unique(codes[of == c])})
        if len(mine) > 1 and kind.given:
            raise fault(f"{' and '.join(mine)} for cells of {_plain(kind)}", "one part for each condition",
                        file=table.file, column=config.split.column)  # fmt: skip
        parts.append(mine[0] if len(mine) == 1 else "train")
    return tuple(parts)
