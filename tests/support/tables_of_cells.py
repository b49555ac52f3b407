"""Small tables of cells in the manner of the common tools, made from nothing but NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anndata
import numpy as np
import pandas as pd
from scipy import sparse


def cells(obs: Mapping[str, Sequence[Any]], genes: int = 4, kind: str = "counts", seed: int = 0) -> anndata.AnnData:
    """An AnnData table with these columns of obs; counts, or their log1p at 10,000 a cell, in rows (CSR)."""
    frame = pd.DataFrame({name: pd.Series(list(values)) for name, values in obs.items()})
    frame.index = pd.Index([f"cell{i}" for i in range(len(frame))])
    x = np.random.default_rng(seed).poisson(1.0, (len(frame), genes)).astype(np.float32)
    x[:, 0] += 1  # no cell is empty
    if kind == "log1p":
        x = np.log1p(x / x.sum(1, keepdims=True) * 100)
    var = pd.DataFrame({"mean": x.mean(0)}, index=pd.Index([f"g{j}" for j in range(genes)]))
    return anndata.AnnData(sparse.csr_matrix(x), frame, var, {"source": "made up"})


def repeat(words: Sequence[Any], times: int = 3) -> list[Any]:
    return [word for word in words for _ in range(times)]


SCPERTURB = {
    "perturbation": repeat(["control", "A", "B", "A_B"]),
    "nperts": repeat([0, 1, 1, 2]),
    "perturbation_type": repeat(["CRISPRi"] * 4),
    "cell_line": repeat(["K562"] * 4),
    "batch": ["x", "y", "x"] * 4,
    "ncounts": list(range(12)),
}
PERTURBENCH = {
    "condition": repeat(["control", "A", "B", "A+B"]),
    "perturbation_type": repeat(["CRISPRa"] * 4),
    "cell_type": repeat(["K562"] * 4),
    "dose": repeat(["1", "1", "1", "1+1"]),
    "treatment": repeat(["none"] * 4),
}
GEARS = {
    "condition": repeat(["ctrl", "A+ctrl", "ctrl+B", "A+B"]),
    "cell_type": repeat(["K562"] * 4),
    "dose_val": repeat(["1", "1+1", "1+1", "1+1"]),
}
VCC = {"target_gene": repeat(["non-targeting", "A", "B"]), "batch": ["x", "y", "x"] * 3}
DRUGS = {
    "perturbation": repeat(["control", "aspirin", "aspirin", "taxol"]),
    "dose_value": repeat([np.nan, 1.0, 1000.0, 5.0]),
    "dose_unit": repeat([np.nan, "uM", "nM", "uM"]),
    "time": repeat([24.0, 24.0, 24.0, 72.0]),
    "celltype": repeat(["A549"] * 4),
}
