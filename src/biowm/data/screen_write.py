"""Cells written as AnnData: predictions that other tools score as they are, and a screen as it was read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from biowm.core.record import Record

from .conditions import Conditions
from .faults import fault
from .screen_config import Filled
from .screen_file import need_anndata
from .screens import Screen

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

SIMULATED = "biowm_simulated"  # the column of obs that tells simulated cells from real ones
UNS = "biowm"  # the entry of uns that says what the file is
_PIECE = 1 << 22  # numbers of a screen in memory at a time, dense


def asked_obs(asked: Conditions) -> pd.DataFrame:
    """The annotations of every cell that is asked for, condition by condition, in the words of the screen's table."""
    row = np.repeat(np.arange(len(asked.counts)), asked.counts)
    number = np.concatenate([np.arange(n) for n in asked.counts])
    obs = asked.obs.iloc[row].copy()
    obs.index = pd.Index([f"simulated-{c}-{i}" for c, i in zip(row, number, strict=True)])
    return obs.assign(**{SIMULATED: True})


def beside_controls(
    X: Float[np.ndarray, "n g"], obs: pd.DataFrame, screen: Screen
) -> tuple[Float[np.ndarray, "m g"], pd.DataFrame]:
    """Simulated cells with the screen's real control cells of the same contexts after them, and every column of obs.

    Responses are then measured from real controls on both sides: a score that takes the predicted ones for one side
    can be gamed (cell-eval issue 196). Raises BadInput where control cells were simulated: nobody could tell them from
    the real ones.
    """
    labels = obs[screen.config.actions.labels.obs]
    words = {word for word, bare in zip(screen.labels, screen.control, strict=True) if bare}
    if labels.isin(words).any():
        raise fault("simulated control cells", "conditions given something: control cells are the screen's own")
    contexts = list(screen.config.traits.values())
    mine = screen.notes.obs
    kept = screen.control[screen.of]
    if contexts:
        asked = set(map(tuple, obs[contexts].astype(str).to_numpy()))
        kept &= np.array([row in asked for row in map(tuple, mine[contexts].astype(str).to_numpy())])
    at = np.flatnonzero(kept)
    real = mine.iloc[at].assign(**{SIMULATED: False})
    return np.concatenate([X, screen.cells.rows(at)]), _joined(obs, real)


def write_cells(
    out: str | Path, X: Float[np.ndarray, "n g"] | csr_matrix, obs: pd.DataFrame, var: pd.DataFrame, config: Filled,
    record: Record, *, kind: Literal["counts", "log1p"], uns: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Write simulated cells as h5ad; `uns["biowm"]` says that they are simulated, of what kind, and by which record.

    `var` are the annotations of the genes, as in the screen (`screen.genes_var`), so that other tools find the same
    genes in the same order. Raises BadInput where nothing can be written there.
    """
    note = {
        "simulated": True,
        "kind": kind,
        "record": record.id,
        "record_json": json.dumps(record.to_json(), sort_keys=True, default=str),
        "study": config.study,
        "control": config.control.value[0],
        "version": metadata.version("biowm"),
    }
    _write(Path(out), X, obs, var, {**(uns or {}), UNS: note}, kind)


def write_screen(screen: Screen, out: str | Path) -> None:
    """Write the cells of a screen as they were read: every column of obs and var and all of uns, readings as X.

    Cells and genes that were not read are left out; readings are single precision. Raises BadInput as `write_cells`.
    """
    from scipy import sparse

    size = max(1, _PIECE // max(screen.cells.shape[1], 1))
    X = sparse.vstack([sparse.csr_matrix(x) for _, x in screen.cells.chunks(size)], format="csr")
    _write(Path(out), X, screen.notes.obs, screen.genes_var, screen.notes.uns, screen.kind)


def _write(out: Path, X: Any, obs: pd.DataFrame, var: pd.DataFrame, uns: Mapping[str, Any], kind: str) -> None:
    need_anndata()
    import anndata
    from scipy import sparse

    obs, var = obs.copy(), var.copy()
    obs.index = anndata.utils.make_index_unique(pd.Index([str(name) for name in obs.index]))
    for frame in (obs, var):
        for column in frame.columns:
            if frame[column].dtype == object:
                words = frame[column].map(lambda value: None if pd.isna(value) else str(value))
                frame[column] = pd.Categorical(words)
    uns = dict(uns)
    if kind == "log1p":
        uns.setdefault("log1p", {})  # as scanpy tells logarithms from counts
    table = anndata.AnnData(sparse.csr_matrix(X, dtype=np.float32), obs, var, uns)
    beside = out.with_name(f".{out.name}.part")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        table.write_h5ad(beside, compression="gzip")
        beside.replace(out)
    except OSError as error:
        raise fault(str(error), "a place for an h5ad file", file=out) from None
    finally:
        beside.unlink(missing_ok=True)


def _joined(simulated: pd.DataFrame, real: pd.DataFrame) -> pd.DataFrame:
    """Two tables of cells, one below the other, with every column of both; what is not known is missing."""
    columns = {}
    for name in dict.fromkeys((*real.columns, *simulated.columns)):
        upper, lower = (
            frame[name].astype(object) if name in frame else pd.Series([None] * len(frame), dtype=object)
            for frame in (simulated, real)
        )
        kind = real[name].dtype if name in real else simulated[name].dtype
        values = [None if pd.isna(value) else value for value in (*upper, *lower)]
        columns[name] = _of_kind(values, kind)
    index = pd.Index([*map(str, simulated.index), *map(str, real.index)])
    return pd.DataFrame({name: pd.Series(values, index=index) for name, values in columns.items()}, index=index)


def _of_kind(values: list, kind: Any) -> Any:
    """Values of the type of a column; whole numbers and truths that may be missing stay what they are."""
    missing = any(value is None for value in values)
    if pd.api.types.is_bool_dtype(kind):
        return pd.array(values, dtype="boolean") if missing else np.array(values, bool)
    if pd.api.types.is_integer_dtype(kind):
        return pd.array(values, dtype="Int64") if missing else np.array(values, np.int64)
    if pd.api.types.is_float_dtype(kind):
        return np.array([np.nan if value is None else float(value) for value in values])
    return pd.Categorical([None if value is None else str(value) for value in values])
