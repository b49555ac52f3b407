"""What `perturbseq-mini` asks: held-out conditions of a context, what may be known of them, and the simple rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.populations import median_distance
from biowm.data.screens import Screen

from ..populations import halves
from ..signal import Context

COMPONENTS, _SAMPLE = 20, 500  # principal components of the cells that are learned from; cells of the bandwidth


@dataclass(frozen=True)
class Cloud:
    """What is foretold of a condition: its mean, and cells (valid readings: log1p expression is not below 0)."""

    mean: Float[np.ndarray, " g"]
    cells: Float[np.ndarray, "n g"]


@dataclass(frozen=True, eq=False)
class Fold:
    """Conditions `asked` of one context, all held out; all else is `known` but the control cells of the truth.

    `cells` are those of the whole screen, `context` the context of each condition; `ours` and `theirs` are rows of
    control cells of the context that prediction and truth are compared with. `basis` and `bandwidth`: of known cells.
    """

    split: str
    screen: Screen
    cells: Float[np.ndarray, "n g"]
    context: Int[np.ndarray, " c"]
    asked: tuple[int, ...]
    known: Bool[np.ndarray, " n"]
    ours: Int[np.ndarray, " m"]
    theirs: Int[np.ndarray, " k"]
    basis: Float[np.ndarray, "g p"]
    bandwidth: float

    def rows(self, condition: int) -> Int[np.ndarray, " m"]:
        """The cells of a condition."""
        return np.flatnonzero(self.screen.of == condition)

    def mean(self, rows: Int[np.ndarray, " m"]) -> Float[np.ndarray, " g"]:
        """The mean of some cells."""
        return self.cells[rows].mean(0, dtype=np.float64)


def fold_of(split: str, screen: Screen, cells: Float[np.ndarray, "n g"], asked: Sequence[int], seed: int) -> Fold:
    """The fold that holds out some conditions of one context and, at random, half of its control cells.

    Raises: ValueError where the conditions are of several contexts.
    """
    context = screen.contexts[1]
    here = {int(context[c]) for c in asked}
    if len(here) != 1:
        raise ValueError(f"found conditions of {len(here)} contexts, expected those of one")
    there = np.flatnonzero((screen.control & np.isin(context, list(here)))[screen.of])
    draw = np.random.default_rng([seed, *asked])
    first = halves(np.zeros(len(there), int), draw)
    known = ~np.isin(screen.of, asked)
    known[there[~first]] = False
    sample = draw.permutation(np.flatnonzero(known))[:_SAMPLE]
    about = cells[known] - cells[known].mean(0)
    basis = np.linalg.svd(about, full_matrices=False)[2][:COMPONENTS].T
    return Fold(
        split, screen, cells, context, tuple(asked), known, there[first], there[~first], basis,
        median_distance(cells[np.sort(sample)]),
    )  # fmt: skip


def shared(fold: Fold) -> Fold:
    """The same with all control cells known, and on both sides: the protocol whose figures are quoted elsewhere."""
    every = np.sort(np.concatenate([fold.ours, fold.theirs]))
    known = fold.known.copy()
    known[every] = True
    return replace(fold, known=known, ours=every, theirs=every)


def unseen(fold: Fold) -> Context:
    """The cells that no prediction knows: control cells of the truth, and those of every condition that is asked."""
    parts = [fold.theirs, *(fold.rows(c) for c in fold.asked)]
    rows = np.concatenate(parts)
    return Context(fold.cells[rows], np.repeat(np.arange(len(parts)), [len(p) for p in parts]))


def replicated(fold: Fold) -> Context:
    """The conditions that are asked with all control cells of their context: what replicates are made of."""
    return unseen(shared(fold))


def learned_from(fold: Fold) -> Screen:
    """The screen that a world may see: the cells that are known; the conditions that are asked are test conditions."""
    kept, screen = np.flatnonzero(fold.known), fold.screen
    part = ["test" if c in fold.asked else "train" for c in range(len(screen.conditions))]
    return replace(
        screen, of=screen.of[kept], batch=screen.batch[kept], cells=screen.cells.only(kept),
        notes=replace(screen.notes, obs=screen.notes.obs.iloc[kept]), given_split=tuple(part),
    )  # fmt: skip


def rules(fold: Fold) -> dict[str, dict[int, Cloud]]:
    """What each simple rule foretells of the conditions it can answer, from the cells that are known.

    `no change`: the control cells of the context. `mean shift`: those cells, moved by the mean change of all known
    conditions from the controls of their own context. `mean`: the cells of all single perturbations of the context.
    `singles`: the cells of those singles that are in the set. `additive`: the control cells, moved by the sum of the
    changes of its singles (each a mean over the contexts where it is known). Moved cells are cut off at 0; the
    mean of a rule is the rule's own.
    """
    controls = _controls(fold)
    given = [c for c in range(len(fold.context)) if not fold.screen.control[c] and fold.known[fold.rows(c)].any()]
    change = {c: fold.mean(_known(fold, c)) - fold.mean(controls[fold.context[c]]) for c in given}
    alone: dict[int, list[int]] = {}
    for c in given:
        members = np.flatnonzero(fold.screen.dose[c])
        if len(members) == 1:
            alone.setdefault(int(members[0]), []).append(c)

    def pooled(conditions: Sequence[int]) -> Cloud | None:
        near = [_known(fold, c) for c in conditions if fold.context[c] == fold.context[fold.asked[0]]]
        return _cloud(fold, np.concatenate(near)) if near else None

    def moved(shift: Float[np.ndarray, " g"]) -> Cloud:
        cells = fold.cells[fold.ours]
        return Cloud(fold.mean(fold.ours) + shift, np.maximum(cells + shift, 0.0).astype(np.float32))

    def singles(c: int) -> list[list[int]]:
        return [alone.get(int(a), []) for a in np.flatnonzero(fold.screen.dose[c])]

    def additive(c: int) -> Cloud | None:
        parts = [np.mean([change[s] for s in known], 0) for known in singles(c) if known]
        return moved(np.sum(parts, 0)) if len(parts) == len(singles(c)) else None

    everyone = [c for known in alone.values() for c in known]
    answers: Mapping[str, Callable[[int], Cloud | None]] = {
        "no change": lambda c: _cloud(fold, fold.ours),
        "mean shift": lambda c: moved(np.mean([change[k] for k in given], 0)),
        "mean": lambda c: pooled(everyone),
        "singles": lambda c: pooled([s for known in singles(c) for s in known]),
        "additive": additive,
    }
    found = {name: {c: answer(c) for c in fold.asked} for name, answer in answers.items()}
    return {name: {c: a for c, a in by.items() if a is not None} for name, by in found.items()}


def others(fold: Fold) -> dict[int, Cloud]:
    """The trap: the mean cell of the other held-out conditions of the context, which no honest rule may look at."""
    return {c: _cloud(fold, np.concatenate([fold.rows(o) for o in fold.asked if o != c])) for c in fold.asked}


def _cloud(fold: Fold, rows: Int[np.ndarray, " m"]) -> Cloud:
    return Cloud(fold.mean(rows), fold.cells[rows])


def _known(fold: Fold, condition: int) -> Int[np.ndarray, " m"]:
    rows = fold.rows(condition)
    return rows[fold.known[rows]]


def _controls(fold: Fold) -> dict[int, Int[np.ndarray, " m"]]:
    """The known control cells of every context."""
    control = fold.known & fold.screen.control[fold.screen.of]
    where = fold.context[fold.screen.of]
    return {int(k): np.flatnonzero(control & (where == k)) for k in np.unique(fold.context)}
