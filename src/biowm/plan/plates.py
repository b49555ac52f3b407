"""A plate map: which well takes which set, replicate or control, at random within blocks.

The replicates of a set go to different plates where there are several, and on one plate to different blocks: runs of
neighbouring columns, each of which takes an equal share of the controls. Within a block wells are drawn at random and
swapped until no two replicates share a row or a column, where that can be done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd

from biowm.core.errors import BadInput, place

from .proposal import Proposal

Role = Literal["sample", "control", "empty"]
FORMATS = {96: (8, 12), 384: (16, 24)}
_SWEEPS = 40


@dataclass(frozen=True)
class Well:
    """One well: `plate` from 1 on, `row` a letter, `column` from 1 on; `replicate` from 1 on (0: an empty well).

    `rank` is that of its set in the proposal (0: no sample).
    """

    plate: int
    row: str
    column: int
    set: str = ""
    doses: str = ""
    role: Role = "empty"
    replicate: int = 0
    context: str = ""
    rank: int = 0

    @property
    def name(self) -> str:
        """Such as B7."""
        return f"{self.row}{self.column}"


@dataclass(frozen=True)
class PlateMap:
    """All wells of all plates, row by row; `shared` counts replicates that share a row or column of one plate."""

    size: int
    wells: tuple[Well, ...]
    shared: int

    @property
    def plates(self) -> int:
        """How many plates it takes."""
        return max(well.plate for well in self.wells)

    def table(self) -> pd.DataFrame:
        """One row a well."""
        columns = ["plate", "well", "row", "column", "set", "doses", "role", "replicate", "context", "rank"]
        cells = [
            {**asdict(w), "well": w.name, "replicate": w.replicate or "", "rank": w.rank or ""} for w in self.wells
        ]
        return pd.DataFrame(cells)[columns]


@dataclass(frozen=True)
class _Filling:
    """What a well is filled with; `rank` is 0 where it is no sample."""

    role: Role
    replicate: int = 0
    context: str = ""
    rank: int = 0
    set: str = ""
    doses: str = ""


_NOTHING = _Filling("empty")


def plates(
    proposal: Proposal, *, size: int = 96, replicates: int = 3, controls: int = 16, edge: bool = True, seed: int = 0
) -> PlateMap:
    """Lay a batch of sets out on plates of 96 or 384 wells, `controls` on every plate.

    Args: `edge` False leaves the outermost wells empty; `controls` are shared among the contexts of the batch.
    Raises: BadInput for another size, or plates with no room for a sample beside the controls.
    """
    if size not in FORMATS:
        raise BadInput(place(column="--plate", found=size, expected="96 or 384"))
    for name, value, least in (("--replicates", replicates, 1), ("--controls", controls, 0)):
        if value < least:
            raise BadInput(place(column=name, found=value, expected=f"at least {least}"))
    rows, columns = FORMATS[size]
    margin = 0 if edge else 1
    usable = [(r, c) for c in range(margin, columns - margin) for r in range(margin, rows - margin)]
    room = len(usable) - controls
    if room < 1:
        where = "wells" if edge else "wells that are not at the edge"
        expected = f"fewer than the {len(usable)} {where} of a plate of {size}: no well is left for a sample"
        raise BadInput(place(column="--controls", found=controls, expected=expected))
    rng = np.random.default_rng(seed)
    filled, shared = [], 0
    for number, samples in enumerate(_dealt(proposal, replicates, room, rng), start=1):
        plan, clashes = _laid(samples, _controls(proposal, controls), usable, rng)
        shared += clashes
        for r in range(rows):
            for c in range(columns):
                one = plan.get((r, c), _NOTHING)
                name = chr(ord("A") + r)
                filled.append(
                    Well(number, name, c + 1, one.set, one.doses, one.role, one.replicate, one.context, one.rank)
                )
    return PlateMap(size, tuple(filled), shared)


def _dealt(proposal: Proposal, replicates: int, room: int, rng: np.random.Generator) -> list[list[_Filling]]:
    """The samples of every plate: one after the other goes round the plates, so that replicates part."""
    samples = [
        _Filling("sample", m + 1, row.context, row.rank, row.set, " + ".join(row.doses))
        for k in rng.permutation(len(proposal.rows))
        for row in [proposal.rows[k]]
        for m in range(replicates)
    ]
    number = -(-len(samples) // room)
    return [samples[first::number] for first in range(number)]


def _controls(proposal: Proposal, controls: int) -> list[_Filling]:
    contexts = list(dict.fromkeys(row.context for row in proposal.rows))
    given = Counter[str]()
    found = []
    for k in range(controls):
        context = contexts[k % len(contexts)]
        given[context] += 1
        found.append(_Filling("control", given[context], context))
    return found


def _laid(
    samples: Sequence[_Filling], controls: Sequence[_Filling], usable: Sequence[tuple[int, int]],
    rng: np.random.Generator,
) -> tuple[dict[tuple[int, int], _Filling], int]:  # fmt: skip
    """One plate: what each well takes, and how many replicates share a row or a column with another of their set."""
    most = max(Counter(s.rank for s in samples).values())
    blocks = np.array_split(np.arange(len(usable)), most)  # wells in order of columns: each block a run of them
    takes: list[list[_Filling]] = [[] for _ in blocks]
    for k, one in enumerate(controls):
        takes[k % most].append(one)
    had = Counter[int]()
    for one in samples:  # the m-th of a set on this plate goes to the m-th block, where it has room
        first = had[one.rank] if most > 1 else 0
        had[one.rank] += 1
        order = sorted(range(most), key=lambda b: (len(takes[b]) >= len(blocks[b]), (b - first) % most))
        takes[order[0]].append(one)
    content: list[_Filling | None] = [None] * len(usable)
    for block, these in zip(blocks, takes, strict=True):
        for well, one in zip(rng.permutation(block), these, strict=False):
            content[well] = one
    clashes = _parted(content, blocks, usable, rng)
    return {w: one for w, one in zip(usable, content, strict=True) if one is not None}, clashes


def _parted(
    content: list[_Filling | None], blocks: Sequence[np.ndarray], usable: Sequence[tuple[int, int]],
    rng: np.random.Generator,
) -> int:  # fmt: skip
    """Swap wells within blocks, in place, until no two replicates share a row or column; returns how many still do."""
    lines: Counter[tuple[int, str, int]] = Counter()

    def mine(well: int, what: _Filling | None) -> list[tuple[int, str, int]]:
        if what is None or what.role != "sample":
            return []
        r, c = usable[well]
        return [(what.rank, "row", r), (what.rank, "column", c)]

    def move(well: int, what: _Filling | None) -> int:
        """Put something into a well; returns how many others of its set it meets there."""
        met = 0
        for line in mine(well, what):
            met += lines[line]
            lines[line] += 1
        return met

    def leave(well: int, what: _Filling | None) -> int:
        for line in mine(well, what):
            lines[line] -= 1
        return sum(lines[line] for line in mine(well, what))

    for well, what in enumerate(content):
        move(well, what)
    for _ in range(_SWEEPS):
        clashing = [w for w, what in enumerate(content) if any(lines[line] > 1 for line in mine(w, what))]
        if not clashing:
            return 0
        for a in clashing:
            block = next(b for b in blocks if b[0] <= a <= b[-1])
            for b in rng.permutation(block).tolist():
                if a == b:
                    continue
                before = leave(a, content[a]) + leave(b, content[b])
                after = move(a, content[b]) + move(b, content[a])
                if after < before:
                    content[a], content[b] = content[b], content[a]
                    break
                leave(a, content[b])
                leave(b, content[a])
                move(a, content[a])
                move(b, content[b])
    return sum(any(lines[line] > 1 for line in mine(w, what)) for w, what in enumerate(content))
