"""Splits of task `hpn` and the simple rules that answer them, from readings of the same cell line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from ._hpn_screen import CELLS, NAMES, STIMULI, Screen, Wells

SPLITS = ("A", "A-strict", "A2", "C", "B", "line-out")
AKT = (NAMES.index("AKTi"), NAMES.index("AKTi+MEKi"))


@dataclass(frozen=True)
class Fold:
    """Conditions that are asked about (line, inhibitor, ligand), and those that are `hidden` from who answers.

    `apart`: what was read of them before the ligand is not hidden.
    """

    split: str
    asked: Int[np.ndarray, "m 3"]
    hidden: Bool[np.ndarray, "4 4 8"]
    apart: bool

    def learned(self, wells: Wells) -> Int[np.ndarray, " n"]:
        """The paths that are learned from."""
        hidden = self.hidden[wells.cell, wells.arm, wells.ligand]
        return np.flatnonzero(~hidden | (wells.before if self.apart else False))


def folds(screen: Screen, split: str, quick: bool) -> Iterator[Fold]:
    """The folds of a split: an inhibitor in all lines, in one line, one ligand's course of every inhibitor, or a line.

    A-strict hides both arms with the AKT inhibitor together. `quick`: the FGFR inhibitor, one arm, one course, or one
    line alone.
    """
    arms = screen.arms()
    if split == "A2":
        for c, a in arms[-1:] if quick else arms:
            yield _fold(split, [(c, a, s) for s in range(len(STIMULI))], {(c, a)}, False)
    elif split == "B":
        for k in range(1 if quick else len(STIMULI)):
            asked = [(c, a, (k + i) % len(STIMULI)) for i, (c, a) in enumerate(arms)]
            hidden = np.zeros((4, 4, 8), bool)
            hidden[tuple(np.array(asked).T)] = True
            yield Fold(split, np.array(asked), hidden, True)
    elif split == "line-out":
        for cell in range(len(CELLS) - 1, len(CELLS)) if quick else range(len(CELLS)):
            out = [(c, a) for c, a in arms if c == cell]
            yield _fold(split, [(c, a, s) for c, a in out for s in range(len(STIMULI))], set(out), False)
    else:
        for arm in range(len(NAMES) - 1, len(NAMES)) if quick else range(1, len(NAMES)):
            out = AKT if split == "A-strict" and arm in AKT else (arm,)
            asked = [(c, a, s) for c, a in arms if a == arm for s in range(len(STIMULI))]
            yield _fold(split, asked, {(c, a) for c, a in arms if a in out}, split == "C")


def _fold(split: str, asked: list[tuple[int, int, int]], out: set[tuple[int, int]], apart: bool) -> Fold:
    hidden = np.zeros((4, 4, 8), bool)
    hidden[tuple(np.array(sorted(out)).T)] = True
    return Fold(split, np.array(asked), hidden, apart)


def rules(screen: Screen, fold: Fold) -> Iterator[tuple[str, Float[np.ndarray, "m 7 d"]]]:
    """Courses of the asked conditions by rules that know what is not hidden.

    `DMSO`: the course without inhibitor. `mean`: of all arms of the line that are known, at the same time under the
    same ligand. `persistence`: the last reading before the ligand, without inhibitor (its own, where it is known).
    `t0-anchored`: DMSO, moved by how the inhibitor differed before the ligand. `additive`: DMSO, moved by the mean
    effect of the inhibitor at each time: under the other ligands (B), or under this one in the other lines (line-out).
    """
    known = np.where(fold.hidden[..., None, None], np.nan, screen.mean)
    if fold.apart:
        known[:, :, :, 0] = screen.mean[:, :, :, 0]
    cell, arm, ligand = fold.asked.T
    dmso = known[cell, 0, ligand]
    own = known[cell, arm, ligand][:, :1]
    yield "DMSO", dmso
    yield "mean", _mean(known[cell, :, ligand], 1)
    yield "persistence", np.broadcast_to(own if fold.split == "C" else dmso[:, :1], dmso.shape)
    if fold.split == "C":
        yield "t0-anchored", dmso + own - dmso[:, :1]
    if fold.split == "B":
        effect = known[cell, arm] - known[cell, 0]  # NaN where hidden
        yield "additive", dmso + _mean(effect, 1)
    if fold.split == "line-out":
        effect = known[:, arm, ligand] - known[:, 0, ligand]  # NaN in the line itself
        yield "additive", dmso + np.nan_to_num(_mean(effect, 0))  # 0 for what is read in no other line


def _mean(x: np.ndarray, axis: int) -> np.ndarray:
    """The mean of what there is."""
    there = np.isfinite(x)
    total = np.where(there, x, 0.0).sum(axis)
    return np.where(there.any(axis), total / np.maximum(there.sum(axis), 1), np.nan)
