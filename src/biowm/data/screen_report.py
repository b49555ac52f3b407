"""What `biowm data check` prints of a screen: cells, conditions, their controls, repairs, and what confounds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Int

from .screens import Screen

_MOST = 4  # names shown of many
_HELD = {"up": "up", "down": "down", "knock-out": "knocked out", None: "given"}


def describe_screen(screen: Screen) -> str:
    """Cells, conditions, contexts and their controls, batches, times, splits and repairs, as text."""
    parts = {
        "": _overview(screen),
        "Perturbations": _perturbations(screen),
        "Context": _contexts(screen),
        "Batches": _batches(screen),
        "Split": _split(screen),
        "Repairs": [str(repair) for repair in screen.repairs] or ["none: the table was read as it is"],
    }
    blocks = [(title, lines) for title, lines in parts.items() if lines]
    return "\n\n".join(
        "\n".join([title, *(f"  {line}" for line in lines)] if title else lines) for title, lines in blocks
    )


def table(screen: Screen) -> Int[np.ndarray, "b c"]:
    """How many cells of each condition each batch holds."""
    counts = np.zeros((len(screen.batches), len(screen.conditions)), int)
    np.add.at(counts, (screen.batch, screen.of), 1)
    return counts


def _overview(screen: Screen) -> list[str]:
    n, g = screen.cells.shape
    counts = np.bincount(screen.of, minlength=len(screen.conditions))
    left = screen.cells.matrix.shape[1] - g
    sizes = np.array([len(m.split("+")) if m else 0 for m in screen.members])
    bare, singles, sets = (int(np.sum(k)) for k in (sizes == 0, sizes == 1, sizes > 1))
    use = screen.config.use
    hours = sorted({float(h) for h in screen.hours})
    when = ", ".join(f"{h:g}" for h in hours[:_MOST]) + (", ..." if len(hours) > _MOST else "")
    return [
        f"Screen {screen.config.study}: {n} cells, {g} genes ({_some(screen.genes)})"
        + (f"; {left} more genes in the table are not read" if left else ""),
        f"readings: {screen.kind}, {screen.sparsity:.1%} zeros",
        f"conditions: {len(screen.conditions)} ({bare} control, {singles} single, {sets} sets of several)",
        f"cells a condition: median {np.median(counts):g}, from {counts.min()} to {counts.max()}",
        f"read {when} {screen.spec.clock} after the sets were given",
        f"use: {use.purpose}, licence {use.licence or 'not stated'}, cite {use.cite or 'not stated'}",
        f"sha256 {screen.sha256}",
    ]


def _perturbations(screen: Screen) -> list[str]:
    lines = []
    for words in dict.fromkeys((card.effect, card.unit) for card in screen.spec.actions):
        cards = [card for card in screen.spec.actions if (card.effect, card.unit) == words]
        how = f"doses in {words[1]}" if words[1] else _HELD[words[0]]
        both = [card.name for card in cards if card.low < 0 < (card.high or 0)]
        lines.append(f"{how}: {len(cards)} ({_some(card.name for card in cards)})")
        lines += [f"  up in some conditions and down in others: {_some(both)}"] if both else []
    given = screen.dose != 0
    alone = given[given.sum(1) == 1].any(0)
    never = [card.name for card, seen in zip(screen.spec.actions, alone, strict=True) if not seen]
    if never:
        lines.append(f"never given alone: {len(never)} ({_some(never)})")
    lines.append(f"assignment: {screen.config.assignment.kind}")
    return lines


def _contexts(screen: Screen) -> list[str]:
    lines = []
    counts = np.bincount(screen.of, minlength=len(screen.conditions))
    for levels in dict.fromkeys(map(tuple, screen.traits.tolist())):
        mine = np.array([tuple(row) == levels for row in screen.traits.tolist()])
        words = [
            f"{trait.name}={trait.levels[int(np.argmax(levels[place]))]}"
            for trait, place in zip(screen.spec.traits, screen.spec.trait_places, strict=True)
        ]
        controls = int(counts[mine & screen.control].sum())
        line = f"{', '.join(words) or 'all cells'}: {int(counts[mine].sum())} cells, {controls} of them control, "
        line += f"{int((mine & ~screen.control).sum())} conditions given something"
        late = sorted({float(h) for h in screen.hours[mine]} - {float(h) for h in screen.hours[mine & screen.control]})
        if late:
            line += f"; no control cells read at {', '.join(f'{h:g}' for h in late)} {screen.spec.clock}"
        lines.append(line)
    return lines


def _batches(screen: Screen) -> list[str]:
    """How many batches there are, and where batch and condition cannot be told apart."""
    if screen.config.context.get("batch") is None:
        return ["not declared (key context: batch): what batches do cannot be told from what was given"]
    counts = table(screen)
    sizes = counts.sum(1)
    lines = [f"{len(screen.batches)} ({_some(screen.batches)}); cells a batch: {sizes.min()} to {sizes.max()}"]
    bare = [b for b, row in zip(screen.batches, counts, strict=True) if not row[screen.control].any()]
    if bare:
        lines.append(f"batches without control cells: {len(bare)} of {len(screen.batches)} ({_some(bare)})")
    if len(screen.batches) > 1:
        single = np.flatnonzero((counts > 0).sum(0) == 1)
        once = [screen.conditions[c] for c in single if not screen.control[c]]
        if once:
            lines.append(
                f"conditions in one batch only, confounded with it: {len(once)} of {int((~screen.control).sum())} "
                f"({_some(once)})"
            )
    return lines


def _split(screen: Screen) -> list[str]:
    share = screen.config.split
    if screen.given_split:
        sizes = ", ".join(f"{part} {screen.given_split.count(part)}" for part in ("train", "calibrate", "test"))
        return [f"by column {share.column}: {sizes} conditions"]
    within = f" (and {share.within:g} of the conditions of all others)" if share.within else ""
    said = (
        f"by {share.by}: test {share.test:g}{within}, calibrate {share.calibrate:g}; control cells are never held out"
    )
    return [said]


def _some(names: Iterable[str] | Sequence[str]) -> str:
    names = list(dict.fromkeys(names))
    return ", ".join(names[:_MOST]) + (", ..." if len(names) > _MOST else "")
