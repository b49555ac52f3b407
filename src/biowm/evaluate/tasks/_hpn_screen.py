"""The table of task `hpn`: arrays of four cell lines under inhibitors and ligands, each array once, as paths.

The files hold an array read before any ligand once for every ligand; here each is one reading. Arrays of one line and
inhibitor before any ligand are dealt to the eight ligands in the order of the file: they were meant for any of them.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path as File

import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.condition import condition
from biowm.core.errors import BadInput
from biowm.core.path import Path, stack
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec

CELLS = ("BT20", "BT549", "MCF7", "UACC812")
STIMULI = ("PBS", "EGF", "FGF1", "HGF", "IGF1", "Insulin", "NRG1", "Serum")
MINUTES = (0, 5, 15, 30, 60, 120, 240)
LEAD = 1.0  # min before the ligand at which paths start: so the state just before it is foretold, too
ARMS = {"DMSO": "DMSO", "AKTi": "GSK690693", "AKTi+MEKi": "GSK690693_GSK1120212", "FGFRi": "PD173074"}
NAMES = tuple(ARMS)
MEMBERS = ("GSK690693", "GSK1120212", "PD173074")
_SET = ((), (0,), (0, 1), (2,))  # members of each arm
UNSCORED = {  # those that the second and last board of the challenge leaves out, by the names in these files
    "BT20": ("mTOR_pS2448", "c-Met_pY1235", "4EBP1_pS65", "4EBP1_pT37_pT46"),
    "BT549": ("mTOR_pS2448", "BAD_pS112", "HER3_pY1298"),
    "MCF7": ("mTOR_pS2448", "c-Met_pY1235", "YB-1_PS102", "PDK1_pS241"),
    "UACC812": (
        "mTOR_pS2448", "4EBP1_pS65", "4EBP1_pT37_pT46", "CHK1_pS345", "NDRG1_pT346", "PDK1_pS241", "PKC-alpha_pS657",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Screen:
    """Readings (log2) of every array with its line, arm, ligand, time and number among its likes, and their means.

    `mean` [line, arm, ligand, time, antibody] is NaN where nothing was read; its time 0 is one for all ligands.
    """

    antibodies: tuple[str, ...]
    key: Int[np.ndarray, "n 5"]
    y: Float[np.ndarray, "n d"]
    mean: Float[np.ndarray, "4 4 8 7 d"]

    def arms(self) -> tuple[tuple[int, int], ...]:
        """The (line, inhibitor) there are."""
        there = np.isfinite(self.mean).any((2, 3, 4))
        return tuple((int(c), int(a)) for c, a in np.argwhere(there) if a)


def read(folder: File) -> Screen:
    """The four tables, every array once; antibodies that are not scored in a line are not read there.

    Raises: BadInput where a table names another inhibitor, ligand or time.
    """
    tables = {cell: list(csv.reader((folder / f"{cell}_main.csv").read_text().splitlines())) for cell in CELLS}
    kept = {cell: [a for a in table[0][4:] if a not in UNSCORED[cell]] for cell, table in tables.items()}
    antibodies = tuple(sorted(set().union(*kept.values())))
    keys, values = [], []
    for c, cell in enumerate(CELLS):
        place = [(tables[cell][0].index(a), antibodies.index(a)) for a in kept[cell]]
        seen: dict[tuple, int] = {}
        met: set[tuple] = set()
        for line, fields in enumerate(tables[cell][1:], 2):
            arm, ligand, minute = _where(fields, folder / f"{cell}_main.csv", line)
            array = (arm, minute, *fields[4:]) if minute == 0 else (line,)
            if array in met:
                continue
            met.add(array)
            group = (arm, -1 if minute == 0 else ligand, minute)
            number = seen.get(group, 0)
            seen[group] = number + 1
            if minute == 0:
                ligand, number = number % len(STIMULI), number // len(STIMULI)
            y = np.full(len(antibodies), np.nan)
            for source, target in place:
                y[target] = np.log2(float(fields[source]))
            keys.append((c, arm, ligand, minute, number))
            values.append(y)
    key, y = np.array(keys), np.array(values)
    return Screen(antibodies, key, y, _means(key, y))


def _where(fields: list[str], file: File, line: int) -> tuple[int, int, int]:
    """Numbers of the arm, ligand and time of a line."""
    known: tuple[list[str], ...] = (list(ARMS.values()), list(STIMULI), [str(m) for m in MINUTES])
    found = []
    for column, text, among in zip(("Inhibitor", "Stimulus", "Timepoint"), fields[1:4], known, strict=True):
        if text not in among:
            raise BadInput(f"{file}, row {line}, column {column}: found {text!r}, expected one of {', '.join(among)}")
        found.append(among.index(text))
    return found[0], found[1], found[2]


def _means(key: Int[np.ndarray, "n 5"], y: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "4 4 8 7 d"]:
    shape = (len(CELLS), len(ARMS), len(STIMULI), len(MINUTES))
    total, count = np.zeros((*shape, y.shape[1])), np.zeros(shape)
    np.add.at(total, tuple(key[:, :4].T), y)
    np.add.at(count, tuple(key[:, :4].T), 1)
    total[:, :, :, 0], count[:, :, :, 0] = total[:, :, :, 0].sum(2)[:, :, None], count[:, :, :, 0].sum(2)[:, :, None]
    return np.where(count[..., None] > 0, total / np.maximum(count, 1)[..., None], np.nan)


def spec_of(screen: Screen) -> WorldSpec:
    """Antibodies (log2) under sets of inhibitors, in a cell line and under a ligand."""
    return WorldSpec(
        "hpn", "min", tuple(Channel(name, "") for name in screen.antibodies),
        tuple(ActionCard(name, "", "set-member", effect="down") for name in MEMBERS),
        (Trait("cell line", kind="category", levels=CELLS), Trait("ligand", kind="category", levels=STIMULI)),
    )  # fmt: skip


@dataclass(frozen=True)
class Wells:
    """Paths with the line, arm and ligand of each, and whether it holds nothing but readings before the ligand."""

    paths: Path
    cell: Int[np.ndarray, " n"]
    arm: Int[np.ndarray, " n"]
    ligand: Int[np.ndarray, " n"]
    before: Bool[np.ndarray, " n"]


def wells_of(screen: Screen, apart: bool) -> Wells:
    """Every array in one path: repeated arrays of a condition in paths of their own, those before the ligand averaged.

    `apart`: what was read before the ligand is a path by itself.
    """
    found: dict[tuple[int, ...], list[tuple[float, np.ndarray]]] = {}
    for c, arm, ligand in {tuple(k) for k in screen.key[:, :3].tolist()}:
        here = (screen.key[:, :3] == (c, arm, ligand)).all(1)
        start = here & (screen.key[:, 3] == 0)
        if start.any():
            found[c, arm, ligand, 0, int(apart)] = [(0.0, screen.y[start].mean(0))]
        for i in np.flatnonzero(here & ~start):
            where = (c, arm, ligand, int(screen.key[i, 4]), 0)
            found.setdefault(where, []).append((float(MINUTES[screen.key[i, 3]]), screen.y[i]))
    keys = sorted(found)
    paths = [_path(c, arm, ligand, found[c, arm, ligand, number, b]) for c, arm, ligand, number, b in keys]
    c, arm, ligand, _, before = np.array(keys).T
    return Wells(stack(paths), c, arm, ligand, before.astype(bool))


def asked_of(
    screen: Screen, cells: Int[np.ndarray, " m"], arms: Int[np.ndarray, " m"], ligands: Int[np.ndarray, " m"]
) -> Path:
    """Paths of conditions in which nothing was read: what is asked about (stacked), at all seven times."""
    nothing = [(float(m), np.full(len(screen.antibodies), np.nan)) for m in MINUTES]
    return stack([_path(int(c), int(a), int(s), nothing) for c, a, s in zip(cells, arms, ligands, strict=True)])


def _path(cell: int, arm: int, ligand: int, readings: list[tuple[float, np.ndarray]]) -> Path:
    """One path, whose clock starts before the ligand: its inhibitors are held from its start."""
    readings = sorted(readings, key=lambda r: r[0])
    traits = np.concatenate([np.eye(len(CELLS))[cell], np.eye(len(STIMULI))[ligand]])
    given, times = dict.fromkeys(_SET[arm], 1.0), [LEAD + r[0] for r in readings]
    return condition(given, times, np.stack([r[1] for r in readings]), traits, until=LEAD + MINUTES[-1])
