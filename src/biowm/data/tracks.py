"""Objects of single frames linked into tracks: one path each, and what a track that splits or merges is.

Links say which object goes on as which. A chain of objects is a track; where one object goes on as two (a division), or
two as one, the study's rule decides (`tracks: {divisions: refuse | cut}`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Shaped

from . import cells
from .config import StudyConfig
from .faults import fault
from .layouts import Tracks
from .tables import Table

TRACK, PARENT, LINEAGE, FATE = "track", "parent", "lineage", "fate"
DIVIDED, MERGED = "divided", "merged"


@dataclass(frozen=True, eq=False)
class Linked:
    """For each object its track, the tracks that this one came from, its lineage, and the fate of its track."""

    track: Shaped[np.ndarray, " n"]
    parent: Shaped[np.ndarray, " n"]
    lineage: Shaped[np.ndarray, " n"]
    fate: Shaped[np.ndarray, " n"]

    def columns(self) -> dict[str, Shaped[np.ndarray, " n"]]:
        """These as columns of a table."""
        return {TRACK: self.track, PARENT: self.parent, LINEAGE: self.lineage, FATE: self.fate}


def linked(
    node: Sequence[str],
    t: Float[np.ndarray, " n"],
    links: Int[np.ndarray, "m 2"],
    rule: Tracks,
    lineage: Sequence[str],
    refuse: Callable[[int, str, str], Exception],
) -> Linked:
    """Tracks of n objects at times `t`; `links` are pairs of positions, in whichever order.

    A track is named as its lineage (of those given, else by number), with .1, .2, ... in order of time where a lineage
    has several. `refuse(i, found, expected)` makes the error at object i. Raises it for a link within one frame and,
    under `refuse`, at the first object that goes on as several, or that several go on as.
    """
    order = np.sign(t[links[:, 1]] - t[links[:, 0]]) if len(links) else np.empty(0)
    flat = np.flatnonzero(order == 0)
    if len(flat):
        a, b = links[flat[0]]
        raise refuse(int(a), f"a link between {node[a]} and {node[b]}, which are of one time", "links to another time")
    edges = np.where(order[:, None] < 0, links[:, ::-1], links) if len(links) else np.empty((0, 2), int)
    edges = np.unique(edges, axis=0)
    out, into = (np.bincount(edges[:, k], minlength=len(t)) for k in (0, 1))
    for many, how in ((out, "splits: {} goes on as {}"), (into, "merges: {} comes from {}")):
        wrong = np.flatnonzero(many > 1)
        if rule.divisions == "refuse" and len(wrong):
            i = int(wrong[np.argmin(t[wrong])])
            mine, other = (0, 1) if many is out else (1, 0)
            others = " and ".join(str(node[j]) for j in edges[edges[:, mine] == i, other])
            expected = (
                "tracks that do not (or say tracks: {divisions: cut}: the path ends there and each goes on alone)"
            )
            raise refuse(i, f"a track that {how.format(node[i], others)}", expected)
    broken = (out[edges[:, 0]] > 1) | (into[edges[:, 1]] > 1)
    component, piece = _components(len(t), edges), _components(len(t), edges[~broken])
    called = {int(c): name for c, name in zip(component[::-1], reversed(lineage), strict=True)}  # of its first object
    whole = [called[int(c)] or str(c + 1) for c in component]
    names = _names(whole, piece, t)
    parents: dict[int, set[str]] = {}
    for a, b in edges[broken]:
        parents.setdefault(int(piece[b]), set()).add(names[a])
    divided = {int(piece[a]) for a in np.flatnonzero(out > 1)}
    merged = {int(piece[a]) for a, b in edges if into[b] > 1}
    parent = ["+".join(sorted(parents.get(int(p), ()))) for p in piece]
    fate = [DIVIDED if int(p) in divided else MERGED if int(p) in merged else "" for p in piece]
    return Linked(*(np.array(x, dtype=object) for x in (names, parent, whole, fate)))


def of_table(table: Table, study: StudyConfig) -> Table:
    """The table with the columns track, parent, lineage and fate, from its columns `tracks.node` and `tracks.parent`.

    Raises BadInput for an object that comes twice, a parent that is no object, and what `linked` refuses.
    """
    rule = study.tracks
    if rule is None or rule.node is None or rule.parent is None:
        return table
    *within, own = rule.node
    node = cells.labels(table, rule.node, "the name of an object")
    said = np.array([w.removesuffix(".0") for w in cells.words(table, rule.parent, study.na)], dtype=object)
    if within:
        scope = cells.labels(table, within, "where the object is")
        said = np.where(said == "", "", scope + "/" + said)
    index = pd.Index(node)
    twice = np.flatnonzero(index.duplicated())
    if len(twice):
        raise table.bad(twice[0], own, f"{node[twice[0]]!r} again", "each object once")
    has = np.flatnonzero(said != "")
    at = index.get_indexer(pd.Index(said[has]))
    lost = np.flatnonzero(at < 0)
    if len(lost):
        i = int(has[lost[0]])
        raise table.bad(i, rule.parent, repr(said[i]), f"an object of the column {own}, or nothing")
    how = cells.Reading(study.na, cells.decimal_comma(table, [study.time.column]))
    t = cells.times(table, study.time, study.time.column, how)
    links = np.stack([at, has], axis=1).astype(int).reshape(-1, 2)

    def refuse(i: int, found: str, expected: str) -> Exception:
        return table.bad(i, own, found, expected)

    found = linked(node.tolist(), t, links, rule, [""] * len(t), refuse).columns()
    clash = next((c for c in found if c in table.frame.columns and c not in (rule.parent, own)), None)
    if clash is not None:
        raise fault("this column", "another name: links are written into it", file=table.files[0], column=clash)
    frame = table.frame.assign(**found)
    headers = tuple(h | set(found) for h in table.headers)
    return Table(frame, table.files, table.file, table.row, headers, table.repairs)


def _components(n: int, edges: Int[np.ndarray, "m 2"]) -> Int[np.ndarray, " n"]:
    """The number of the connected part of each object, in order of first appearance."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(n, n))
    label = connected_components(graph, directed=False)[1]
    return pd.factorize(label)[0]


def _names(whole: Sequence[str], piece: Int[np.ndarray, " n"], t: Float[np.ndarray, " n"]) -> list[str]:
    """The name of the track of each object: that of its lineage, numbered by time where it has several."""
    pieces = pd.DataFrame({"lineage": whole, "piece": piece, "t": t}).groupby("piece").agg("min")
    pieces = pieces.sort_values(["lineage", "t"], kind="stable")
    rank = pieces.groupby("lineage").cumcount() + 1
    size = pieces.groupby("lineage")["t"].transform("size")
    named = {
        p: f"{name}.{k}" if n > 1 else name
        for p, name, k, n in zip(pieces.index, pieces["lineage"], rank, size, strict=True)
    }
    return [str(named[p]) for p in piece]
