"""Screens as they come: an h5ad file, a zarr folder or an AnnData object in memory; annotations whole, readings not."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from biowm.core.errors import BadInput
from biowm.core.record import digest, digest_arrays

from .cell_matrix import Held, Matrix, Stored, open_store
from .faults import fault
from .keys import closest

if TYPE_CHECKING:
    from anndata import AnnData
    from typing_extensions import TypeIs

MEMORY = "the AnnData object"


@dataclass(frozen=True, eq=False)
class Annotations:
    """Everything a table says beside its readings: `obs` of cells, `var` of genes, `uns` of the whole."""

    obs: pd.DataFrame
    var: pd.DataFrame
    uns: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Source:
    """A table of cells, opened: its annotations, one of its matrices, and where it is, for messages."""

    file: str
    annotations: Annotations
    matrix: Matrix
    sha256: str


def is_anndata(source: object) -> TypeIs[AnnData]:
    """Whether this is an AnnData object; anndata is not imported to find out."""
    module = sys.modules.get("anndata")
    return module is not None and isinstance(source, module.AnnData)


def need_anndata() -> None:
    """Raises BadInput where the extra that reads AnnData is not installed."""
    try:
        import anndata  # noqa: F401
    except ImportError:
        raise BadInput("no package anndata; screens of cells need it: pip install 'biowm[cell]'") from None


def open_source(table: Path | AnnData, layer: str | None) -> Source:
    """A table of cells; `layer` None is X. Raises BadInput for what is no such table."""
    need_anndata()
    return _of_file(table, layer) if isinstance(table, Path) else _of_memory(table, layer)


def _of_memory(table: AnnData, layer: str | None) -> Source:
    from scipy import sparse

    if layer is not None and layer not in table.layers:
        raise fault(f"no layer {layer!r}{closest(layer, table.layers)}", "a layer that is there", file=MEMORY)
    obs, var = table.obs, table.var
    if not (isinstance(obs, pd.DataFrame) and isinstance(var, pd.DataFrame)):
        raise fault("annotations that are read lazily", "them in memory: .to_memory()", file=MEMORY)
    notes = Annotations(obs, var, table.uns)
    if table.isbacked and layer is None:
        if table.is_view:
            raise fault(
                "a view of a file", "the whole of it (key where keeps some cells), or .to_memory()", file=MEMORY
            )
        file = Path(str(table.filename))
        return Source(MEMORY, notes, _stored(file, "X"), digest([_digest_of(file), _digest_frame(obs)]))
    values: Any = table.X if layer is None else table.layers[layer]
    if values is None:
        raise fault("no X", "readings, or the key layer", file=MEMORY)
    if sparse.issparse(values):
        values = values.tocsr()
        content = [values.data, values.indices, values.indptr]
    else:
        values = np.asarray(values)
        content = [values]
    sha256 = digest([digest_arrays(content), _digest_frame(obs), _digest_frame(var)])
    return Source(MEMORY, notes, Held(values.shape, values), sha256)


def _of_file(file: Path, layer: str | None) -> Source:
    from anndata.io import read_elem

    try:
        with open_store(file) as handle:
            missing = [name for name in ("obs", "var") if name not in handle]
            if missing:
                raise fault(f"no {' and no '.join(missing)}", "an AnnData table: obs, var and X", file=file)
            obs, var = read_elem(handle["obs"]), read_elem(handle["var"])
            uns = read_elem(handle["uns"]) if "uns" in handle else {}
            layers = list(handle["layers"]) if "layers" in handle else []
            there = "X" in handle
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        if isinstance(error, BadInput):
            raise
        raise fault(f"{type(error).__name__}: {error}", "a whole h5ad file (or zarr folder)", file=file) from None
    if not (isinstance(obs, pd.DataFrame) and isinstance(var, pd.DataFrame) and isinstance(uns, Mapping)):
        raise fault("annotations of a form before anndata 0.7", "the file written again by a newer anndata", file=file)
    if layer is not None and layer not in layers:
        raise fault(f"no layer {layer!r}{closest(layer, ['X', *layers])}", "a layer that is there", file=file)
    if layer is None and not there:
        raise fault("no X", f"readings, or the key layer (name: one of {', '.join(layers) or 'none'})", file=file)
    matrix = _stored(file, "X" if layer is None else f"layers/{layer}")
    if matrix.shape != (len(obs), len(var)):
        found = f"{matrix.shape[0]} x {matrix.shape[1]} readings of {len(obs)} cells and {len(var)} genes"
        raise fault(found, "as many rows as obs and columns as var", file=file)
    return Source(str(file), Annotations(obs, var, uns), matrix, _digest_of(file))


def _stored(file: Path, key: str) -> Stored:
    with open_store(file) as handle:
        node = handle[key]
        form = str(node.attrs.get("encoding-type", node.attrs.get("h5sparse_format", "array")))
        if form.startswith("csc"):
            found = f"{key} in columns (CSC), of which no row can be read alone"
            fix = "rows (CSR): adata.X = adata.X.tocsr(); adata.write_h5ad(...)"
            raise fault(found, fix, file=file)
        if form.startswith("csr"):
            rows, columns = (int(n) for n in node.attrs.get("shape", node.attrs.get("h5sparse_shape")))
            return Stored((rows, columns), file, key, np.asarray(node["indptr"][:], np.int64))
        if form != "array" or len(node.shape) != 2:
            raise fault(f"{key} of the form {form!r}", "a dense matrix or a sparse one in rows (CSR)", file=file)
        return Stored((int(node.shape[0]), int(node.shape[1])), file, key, None)


def _digest_of(file: Path) -> str:
    running = hashlib.sha256()
    for part in sorted(p for p in file.rglob("*") if p.is_file()) if file.is_dir() else [file]:
        with part.open("rb") as handle:
            while block := handle.read(1 << 20):
                running.update(block)
    return running.hexdigest()


def _digest_frame(frame: pd.DataFrame) -> str:
    return digest(frame.to_csv().encode())
