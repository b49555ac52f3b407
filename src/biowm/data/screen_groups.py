"""The conditions of a screen: cells given the same set, in the same context, read at the same time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core import units
from biowm.core.spec import ActionCard, Trait

from . import screen_sets
from .faults import fault
from .locate import natural
from .screen_config import BATCH, Filled
from .screen_file import Source
from .screen_names import condition_names, plain
from .screen_obs import Kind, Obs, combinations
from .screen_sets import Given
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


def read(config: Filled, source: Source, say: Callable[[Repair], None]) -> Groups:
    """The conditions of a table whose keys are all filled in. Raises BadInput naming cell and column."""
    obs = source.annotations.obs
    table = Obs(obs, source.file)
    if obs.index.has_duplicates:
        twice = np.flatnonzero(obs.index.duplicated())
        say(Repair("obs_names used more than once (cells are told apart by their rows)", len(twice), source.file,
                   obs.index[twice[0]]))  # fmt: skip
    rows = table.where(config.where)
    combos, kinds = combinations(config, table, rows)
    kinds = _one_unit(kinds, source.file, config)
    first: dict[tuple, int] = {}
    of = np.array([first.setdefault(kind.key, len(first)) for kind in kinds])[combos]
    found = [kinds[i] for i in np.unique([first[kind.key] for kind in kinds], return_index=True)[1]]
    _spellings(kinds, config, source, say)
    keep = np.bincount(of, minlength=len(found)) >= _FEWEST
    if not keep.all():
        lone = [plain(found[i]) for i in np.flatnonzero(~keep)]
        say(Repair(f"conditions of fewer than {_FEWEST} cells left out", len(lone), source.file,
                   column=config.actions.labels.obs, example=", ".join(lone[:5])))  # fmt: skip
    order = sorted(np.flatnonzero(keep), key=lambda i: (bool(found[i].given), found[i].levels, found[i].hours,
                                                        natural(plain(found[i]))))  # fmt: skip
    place = np.full(len(found), -1)
    place[order] = np.arange(len(order))
    found = [found[i] for i in order]
    rows, of = rows[place[of] >= 0], place[of][place[of] >= 0]
    _controls(found, config, source)
    return _whole(config, source, table, rows, of, found)


def _spellings(kinds: Sequence[Kind], config: Filled, source: Source, say: Callable[[Repair], None]) -> None:
    """Say which labels are one set: 'A' and 'A+ctrl', 'A+B' and 'B+A'."""
    spelt: dict[frozenset, set[str]] = {}
    for kind in kinds:
        spelt.setdefault(frozenset(g.target for g in kind.given), set()).add(kind.label)
    several = [sorted(words) for words in spelt.values() if len(words) > 1]
    if several:
        say(
            Repair("sets written in several ways, read as one each", len(several), source.file,
                   column=config.actions.labels.obs, example=" = ".join(several[0]))
        )  # fmt: skip


def _whole(config: Filled, source: Source, table: Obs, rows: np.ndarray, of: np.ndarray, found: list[Kind]) -> Groups:
    """The arrays of conditions that are known."""
    context = list(config.traits)
    cards = _cards(found)
    place = {card.name: a for a, card in enumerate(cards)}
    dose = np.zeros((len(found), len(cards)), np.float32)
    for c, kind in enumerate(found):
        for member in kind.given:
            dose[c, place[member.target]] = member.dose
    levels = [tuple(sorted({kind.levels[t] for kind in found}, key=natural)) for t in range(len(context))]
    blocks = [
        np.array([[float(k.levels[t] == word) for word in words] for k in found]) for t, words in enumerate(levels)
    ]
    column = config.context.get(BATCH)
    batch, batches = (np.zeros(len(rows), int), ("",)) if column is None else table.levels(column, rows)
    return Groups(
        rows=rows,
        of=of,
        batch=batch,
        batches=batches,
        conditions=condition_names(found, config),
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


def _controls(found: list[Kind], config: Filled, source: Source) -> None:
    """Refuse a context without control cells."""
    have = {kind.levels for kind in found if not kind.given}
    without = sorted({kind.levels for kind in found} - have)
    if without:
        where = (
            ", ".join(f"{name}={word}" for name, word in zip(config.traits, without[0], strict=True)) or "the screen"
        )
        words = " or ".join(map(repr, config.control.value))
        more = f" (and {len(without) - 1} more contexts)" if len(without) > 1 else ""
        raise fault(
            f"no control cells of {where}{more}",
            f"at least {_FEWEST} cells with {words} in every context (key where leaves cells out)",
            file=source.file, column=config.control.obs,
        )  # fmt: skip


def _one_unit(kinds: Sequence[Kind], file: str, config: Filled) -> list[Kind]:
    """The same, the doses of each target in the unit it was first given in; no target both knocked out and down."""
    unit: dict[str, str] = {}
    less: dict[str, set[str | None]] = {}
    for member in (member for kind in kinds for member in kind.given):
        first, column = unit.setdefault(member.target, member.unit), config.actions.labels.obs
        if bool(first) != bool(member.unit):
            found = f"{member.target} with a dose in some cells and without in others"
            raise fault(found, "one or the other", file=file, column=column)
        less.setdefault(member.target, set()).update({member.effect} & {"down", "knock-out"})
        if len(less[member.target]) > 1:
            found = f"{member.target} both turned down and knocked out"
            raise fault(found, "one of the two in a screen (key where leaves cells out)", file=file, column=column)
        try:
            units.factor(member.unit, first)
        except units.UnitError as error:
            raise fault(f"{member.target}: {error}", "doses of one kind", file=file, column=column) from None
    return [replace(kind, given=tuple(screen_sets.in_unit(g, unit[g.target]) for g in kind.given)) for kind in kinds]


def _cards(found: list[Kind]) -> tuple[ActionCard, ...]:
    """One action for each target, in natural order."""
    by: dict[str, list[Given]] = {}
    for member in (member for kind in found for member in kind.given):
        by.setdefault(member.target, []).append(member)
    cards = []
    for name in sorted(by, key=natural):
        doses, effects = [g.dose for g in by[name]], {g.effect for g in by[name]}
        effect = effects.pop() if len(effects) == 1 else None
        unit = by[name][0].unit
        target = None if unit else name  # a drug's is not known from its name
        cards.append(ActionCard(name, unit, "set-member", min(0.0, *doses), max(0.0, *doses), target, None, effect))
    return tuple(cards)


def _given_split(config: Filled, table: Obs, rows: np.ndarray, of: np.ndarray, found: list[Kind]) -> tuple[str, ...]:
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
            raise fault(f"{' and '.join(mine)} for cells of {plain(kind)}", "one part for each condition",
                        file=table.file, column=config.split.column)  # fmt: skip
        parts.append(mine[0] if len(mine) == 1 else "train")
    return tuple(parts)
