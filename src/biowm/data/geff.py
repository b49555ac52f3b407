"""GEFF folders (zarr graphs of objects linked over time): nodes with their properties, and edges.

Source: https://github.com/live-image-tracking-tools/geff, docs/specification.md (zarr formats 2 and 3).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from biowm.core import units

from .config import StudyConfig
from .faults import fault
from .keys import closest
from .layouts import Tracks
from .tables import Repair
from .tracks import linked

if TYPE_CHECKING:
    import zarr


def read(
    path: Path, study: StudyConfig, repairs: list[Repair]
) -> tuple[pd.DataFrame, Shaped[np.ndarray, " rows"], str]:
    """A row a node (its properties, node, track, parent, lineage and fate), where each is, and a hash of all files.

    Properties with several numbers a node are left out (noted); those that a node lacks are blank. Raises BadInput for
    a folder that is none, an edge to a node that is not there, times in another unit than the study's, and a track that
    splits where that is not declared.
    """
    group = _group(path)
    said: Any = group.attrs["geff"]
    _same_clock(path, said, study)
    ids = _array(path, group, "nodes/ids")
    edges = _array(path, group, "edges/ids").reshape(-1, 2)
    node = [str(i) for i in ids]
    rows = np.array([f"of node {n}" for n in node], dtype=object)
    at = pd.Index(ids)
    if at.has_duplicates:
        raise fault(f"node {at[at.duplicated()][0]} again", "each node once", file=path, row="nodes/ids")
    links = np.stack([at.get_indexer(pd.Index(edges[:, k])) for k in (0, 1)], axis=1)
    wrong = np.flatnonzero((links < 0).any(1))
    if len(wrong):
        raise fault(
            f"the edge {edges[wrong[0]].tolist()}", "nodes of nodes/ids", file=path, row=f"{wrong[0]} of edges/ids"
        )
    columns = _properties(path, group, len(ids), repairs)
    if study.time.column not in columns:
        found = f"no property {study.time.column!r}{closest(study.time.column, columns)}"
        raise fault(found, "the times", file=path, column="time.column")
    t = pd.to_numeric(pd.Series(columns[study.time.column]), errors="coerce").to_numpy(float)
    if np.isnan(t).any():
        i = int(np.flatnonzero(np.isnan(t))[0])
        raise fault("no time", "one of every node", file=path, row=rows[i], column=study.time.column)

    def refuse(i: int, found: str, expected: str) -> Exception:
        return fault(found, expected, file=path, row=rows[i], column="nodes/ids")

    found = linked(node, t, links, study.tracks or Tracks(), [""] * len(node), refuse)
    frame = pd.DataFrame(columns).assign(node=node, file=path.name.split(".")[0], **found.columns())
    return frame, rows, digest_of(path)


def digest_of(path: Path) -> str:
    """The sha256 over the names and contents of all files of a folder, in order."""
    running = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        running.update(str(file.relative_to(path)).encode())
        running.update(file.read_bytes())
    return running.hexdigest()


def _group(path: Path) -> zarr.Group:
    """The graph at `path`, or the only one in it."""
    try:
        import zarr
    except ImportError:
        raise fault("no package zarr", "pip install 'biowm[fields]'", file=path) from None
    try:
        root = zarr.open_group(str(path), mode="r")
    except (OSError, ValueError, KeyError) as error:
        raise fault(f"{type(error).__name__}: {error}", "a GEFF folder (zarr)", file=path) from None
    graphs = [root] if "geff" in root.attrs else [g for _, g in root.groups() if "geff" in g.attrs]
    if len(graphs) != 1:
        names = ", ".join(g.name for g in graphs) or "none"
        raise fault(f"{len(graphs)} groups with the attribute geff ({names})", "one (name its folder)", file=path)
    return graphs[0]


def _array(path: Path, group: zarr.Group, name: str) -> np.ndarray:
    import zarr

    found = group.get(name)
    if not isinstance(found, zarr.Array):
        raise fault(f"no {name}", "it: a graph has nodes/ids and edges/ids", file=path)
    return np.asarray(found[...])


def _properties(path: Path, group: zarr.Group, n: int, repairs: list[Repair]) -> dict[str, np.ndarray]:
    import zarr

    props = group.get("nodes/props")
    found: dict[str, np.ndarray] = {}
    wide = []
    for name in sorted(props.group_keys()) if isinstance(props, zarr.Group) else ():
        values = _array(path, group, f"nodes/props/{name}/values")
        if len(values) != n:
            raise fault(f"{len(values)} values of {n} nodes", "one a node", file=path, row=f"nodes/props/{name}/values")
        if values.ndim > 1:
            wide.append(name)
            continue
        if f"nodes/props/{name}/missing" in group:
            values = values.astype(object)
            values[_array(path, group, f"nodes/props/{name}/missing").astype(bool)] = None
        found[name] = values
    if wide:
        repairs.append(
            Repair("properties with several numbers a node, not read", len(wide), str(path), example=wide[0])
        )
    return found


def _same_clock(path: Path, said: Any, study: StudyConfig) -> None:
    """Raise BadInput where times are read in another unit than the graph says."""
    for axis in said.get("axes") or ():
        if axis.get("name") == study.time.column and axis.get("unit"):
            try:
                same = units.factor(axis["unit"], study.time.unit) == 1
            except units.UnitError:
                same = False
            if not same:
                expected = f"{study.time.unit}, as the study says of {study.time.column} (key time.unit)"
                raise fault(f"times in {axis['unit']!r}", expected, file=path, row="axes", column=axis["name"])
