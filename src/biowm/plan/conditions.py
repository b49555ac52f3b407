"""The conditions that an experiment could be: sets of members at a dose, in a context; which of them were measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from biowm.core.do import parse_do
from biowm.core.errors import BadInput, place
from biowm.core.path import Path, stack, take
from biowm.core.schedule import Entry, entries, schedule
from biowm.core.spec import WorldSpec
from biowm.models.sets.pairs_entry import targets

Sets = Literal["pairs", "singles", "all"]
_MOST_CONTEXTS = 12


@dataclass(frozen=True)
class Level:
    """A member at one dose (its card's unit), given at `onset` (world clock, from the start)."""

    card: int
    dose: float
    onset: float = 0.0


@dataclass(frozen=True)
class Condition:
    """A set of members, in the order of their cards, and the context they are given in."""

    levels: tuple[Level, ...]
    context: str
    traits: Float[np.ndarray, " s"]

    def entries(self, until: float) -> list[Entry]:
        """Its members as they are held until a time."""
        return [Entry(x.card, x.dose, x.onset, until, True) for x in self.levels]


@dataclass(frozen=True)
class Measured:
    """The conditions of a cohort: what each was given, and its traits; how often each member was given.

    `rows` are the conditions of every set of members with their doses.
    """

    levels: tuple[tuple[Level, ...], ...]
    traits: Float[np.ndarray, "n s"]
    times: Int[np.ndarray, " a"]
    rows: Mapping[frozenset[tuple[int, str]], list[int]]

    def has(self, condition: Condition) -> bool:
        """Whether the set was measured at these doses in this context, as far as the context is said."""
        said = np.isfinite(condition.traits)
        where = self.rows.get(_set(condition.levels), [])
        return bool(np.isclose(self.traits[where][:, said], condition.traits[said]).all(1).any())


def measured(spec: WorldSpec, paths: Path) -> Measured:
    """What stacked paths were given."""
    held, levels = set(members_of(spec)), []
    for i in range(len(paths.t)):
        given = [e for e in entries(take(paths.plan, i)) if e.card in held and e.dose != 0]
        levels.append(tuple(Level(e.card, e.dose, e.onset - float(paths.t[i, 0])) for e in given))
    times, rows = np.zeros(len(spec.actions), int), {}
    for i, given in enumerate(levels):
        times[list({x.card for x in given})] += 1
        rows.setdefault(_set(given), []).append(i)
    return Measured(tuple(levels), np.asarray(paths.traits, float), times, rows)


def members_of(spec: WorldSpec) -> list[int]:
    """The action cards that are members of sets; BadInput where there are none."""
    found = [a for a, card in enumerate(spec.actions) if card.kind == "set-member"]
    if not found:
        there = ", ".join(f"{a.name} ({a.kind})" for a in spec.actions) or "none"
        raise BadInput(
            f"world {spec.name} is no screen, so there is no next set to propose: found actions {there}, expected some "
            "of kind: set-member"
        )
    return found


def usual_levels(spec: WorldSpec, seen: Measured) -> list[Level]:
    """Every member at the dose and onset it was given most often (of equals the largest dose).

    One that was never given is there or not, where it has no unit, and is left out where it has one.
    """
    found = []
    for a in members_of(spec):
        given = Counter(x for levels in seen.levels for x in levels if x.card == a)
        if given:
            found.append(max(given, key=lambda x: (given[x], x.dose, -x.onset)))
        elif not spec.actions[a].unit:
            found.append(Level(a, 1.0))
    return found


def named_levels(texts: Sequence[str], spec: WorldSpec, seen: Measured, until: float) -> list[Level]:
    """The members that texts name ("KLF1", "meki=500 nM"), at their usual dose where none is said.

    Raises: BadInput for what is no member, or one that was never given and of which no dose is said.
    """
    option, known = "--pairs-of", {spec.actions[a].name: a for a in members_of(spec)}
    usual = {x.card: x for x in usual_levels(spec, seen)}
    found = []
    for text in texts:
        name = text.split("=")[0].strip()
        if name not in known:
            some = ", ".join(list(known)[:12]) + (f" ... ({len(known)} in all)" if len(known) > 12 else "")
            raise BadInput(place(column=option, found=name, expected=f"members that this world has: {some}"))
        if "=" in text:
            entry = parse_do([text], spec, until, option=option)[0]
            found.append(Level(entry.card, entry.dose, entry.onset))
        elif known[name] in usual:
            found.append(usual[known[name]])
        else:
            unit = spec.actions[known[name]].unit
            raise BadInput(
                place(column=option, found=name, expected=f"its dose, such as '{name}=1 {unit}': it was never given")
            )
    return list(dict.fromkeys(found))


def contexts_of(spec: WorldSpec, paths: Path) -> list[tuple[str, Float[np.ndarray, " s"]]]:
    """The contexts that stacked paths were in, each with its traits in words.

    Raises: BadInput for more than twelve: one must be named then.
    """
    traits = np.asarray(paths.traits, np.float32)
    rows = np.unique(traits, axis=0) if traits.shape[1] else traits[:1]
    if len(rows) > _MOST_CONTEXTS:
        names = ", ".join(t.name for t in spec.traits)
        raise BadInput(f"found {len(rows)} contexts ({names}), expected --context TRAIT=VALUE to say which is meant")
    return [(in_words(spec, row), row) for row in rows]


def in_words(spec: WorldSpec, traits: Float[np.ndarray, " s"]) -> str:
    """Traits as `--context` is written; what is not known is not said."""
    said = []
    for trait, where in zip(spec.traits, spec.trait_places, strict=True):
        own = traits[where]
        if trait.kind == "category":
            said += [f"{trait.name}={level}" for level, x in zip(trait.levels, own, strict=True) if x == 1]
        elif np.isfinite(own[0]):
            said.append(f"{trait.name}={own[0]:g} {trait.unit}".strip())
    return "; ".join(said)


def conditions(
    spec: WorldSpec,
    seen: Measured,
    levels: Sequence[Level],
    contexts: Sequence[tuple[str, Float[np.ndarray, " s"]]],
    sets: Sets,
) -> list[Condition]:
    """All singles, pairs of different members, or both, in every context.

    Two members that aim at one target (two guides of a gene) make a pair only where such a pair was ever measured.
    """
    kin = targets(spec)
    alike = any(len({int(kin[x.card]) for x in given}) < len({x.card for x in given}) for given in seen.levels)
    found: list[tuple[Level, ...]] = []
    if sets in ("singles", "all"):
        found += [(x,) for x in levels]
    if sets in ("pairs", "all"):
        pairs = combinations(sorted(levels, key=lambda x: (x.card, x.dose, x.onset)), 2)
        found += [(a, b) for a, b in pairs if a.card != b.card and (alike or kin[a.card] != kin[b.card])]
    return [Condition(one, text, traits) for text, traits in contexts for one in found]


def as_paths(
    spec: WorldSpec, wanted: Sequence[Condition], times: Sequence[float]
) -> tuple[Path, Int[np.ndarray, "n h"]]:
    """Conditions of which nothing was read as stacked paths, and where in their times the `times` asked for are.

    A path has a time wherever a member is given.
    """
    paths, at = [], []
    for one in wanted:
        t = np.unique([0.0, *(x.onset for x in one.levels if x.onset < times[-1]), *times]).astype(np.float32)
        nothing = np.full((len(t), len(spec.channels)), np.nan, np.float32)
        plan = schedule(one.entries(times[-1]))
        paths.append(Path(t, nothing, plan, one.traits.astype(np.float32), np.asarray(0, np.int32)))
        at.append(np.searchsorted(t, np.asarray(times, np.float32)))
    return stack(paths), np.array(at)


def _set(levels: Sequence[Level]) -> frozenset[tuple[int, str]]:
    return frozenset((x.card, f"{x.dose:.5g}") for x in levels)
