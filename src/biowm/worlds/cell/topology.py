"""Who acts on whom in a cell: tables of (source, target, sign), given or drawn at random."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from biowm.core.errors import BadInput, place


@dataclass(frozen=True)
class Edge:
    """`source` raises (`sign` 1) or lowers (-1) the activity of `target`."""

    source: str
    target: str
    sign: int


def edges_of(rows: Iterable[Sequence[str]], *, file: str | None = None) -> tuple[Edge, ...]:
    """Edges of a table: rows of source, target and sign (`1`, `+1`, `+`, `-1`, `-`).

    Raises: BadInput naming file and row for a row of other than three cells, a name that is blank, a sign that is none
    of these, and an edge that is there twice.
    """
    signs = {"1": 1, "+1": 1, "+": 1, "-1": -1, "-": -1}
    found: dict[tuple[str, str], Edge] = {}
    for number, row in enumerate(rows, start=1):
        cells = [str(cell).strip() for cell in row]
        if len(cells) != 3 or not cells[0] or not cells[1]:
            raise BadInput(place(file=file, row=number, found=", ".join(cells), expected="source, target, sign"))
        source, target, sign = cells
        if sign not in signs:
            raise BadInput(place(file=file, row=number, column="sign", found=sign, expected="1 or -1"))
        if (source, target) in found:
            raise BadInput(place(file=file, row=number, found=f"{source} on {target} again", expected="it once"))
        found[source, target] = Edge(source, target, signs[sign])
    return tuple(found.values())


def nodes_of(edges: Iterable[Edge]) -> tuple[str, ...]:
    """The names in a table, in the order in which they come."""
    return tuple(dict.fromkeys(name for e in edges for name in (e.source, e.target)))


def random_edges(
    n: int, *, regulators: float = 1.5, repressing: float = 0.3, seed: int = 0, prefix: str = "N"
) -> tuple[Edge, ...]:
    """A random network without loops of `n` nodes: every node but the first has one regulator before it, or more.

    `regulators` is the mean number of regulators of a node (at least 1), `repressing` the share of edges of sign -1.
    Early nodes act on many, so that there are hubs. Raises: ValueError with fewer than two nodes.
    """
    if n < 2 or regulators < 1:
        raise ValueError(f"found {n} nodes and {regulators:g} regulators each, expected at least 2 and 1")
    rng = np.random.default_rng(seed)
    width = len(str(n - 1))
    edges = []
    for j in range(1, n):
        weight = 1.0 / (1.0 + np.arange(j))
        count = min(j, 1 + rng.poisson(regulators - 1))
        for i in sorted(rng.choice(j, count, replace=False, p=weight / weight.sum())):
            sign = -1 if rng.random() < repressing else 1
            edges.append(Edge(f"{prefix}{i:0{width}d}", f"{prefix}{j:0{width}d}", sign))
    return tuple(edges)


# Growth factor signalling as textbooks draw it, cut down to eight nodes: two receptors, the MAPK and PI3K arms, cross
# talk, and the two best known feedbacks (ERK on RAF, S6K on PI3K; Lake et al. 2016, doi:10.1007/s00018-016-2297-8).
GROWTH = edges_of(
    [
        ("EGFR", "RAF", "1"), ("MET", "RAF", "1"), ("RAF", "MEK", "1"), ("MEK", "ERK", "1"), ("ERK", "RAF", "-1"),
        ("EGFR", "PI3K", "1"), ("MET", "PI3K", "1"), ("PI3K", "AKT", "1"), ("AKT", "S6K", "1"), ("ERK", "S6K", "1"),
        ("S6K", "PI3K", "-1"), ("AKT", "RAF", "-1"),
    ]
)  # fmt: skip
