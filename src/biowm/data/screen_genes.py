"""Which genes of a screen are read, and what they are called."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from .faults import fault
from .keys import closest
from .screen_check import Seen
from .screen_config import Filled
from .screen_file import Source
from .tables import Repair

_HVG = "highly_variable"


def gene_names(config: Filled, source: Source, say: Callable[[Repair], None]) -> list[str]:
    """The name of every gene. Raises BadInput naming those used twice."""
    var, column = source.annotations.var, config.genes.name
    if column is not None and column not in var:
        raise fault(f"no column {column!r}{closest(column, var.columns)}", "names", file=source.file, column="var")
    names = [str(name) for name in (var.index if column is None else var[column])]
    seen: set[str] = set()
    twice = sorted({name for name in names if name in seen or seen.add(name)})
    if twice:
        where = "var_names" if column is None else f"var, {column}"
        shown = ", ".join(twice[:10]) + (f" and {len(twice) - 10} more" if len(twice) > 10 else "")
        expected = "each gene once (adata.var_names_make_unique(), or the key genes: name: a column of var)"
        raise fault(f"genes named more than once: {shown}", expected, file=source.file, column=where)
    return names


def read_genes(config: Filled, source: Source, seen: Seen) -> Int[np.ndarray, " g"]:
    """The columns that are read, in the order of the table: all, the highly variable ones, or the `top` by variance.

    The variance is that of log1p expression over control cells, so that nothing is chosen by what will be asked.
    """
    var = source.annotations.var
    kept = np.ones(len(var), bool)
    if config.genes.highly_variable:
        if _HVG not in var:
            raise fault(f"no column {_HVG!r}{closest(_HVG, var.columns)}", "it", file=source.file, column="var")
        kept = var[_HVG].to_numpy().astype(bool)
    if config.genes.top is not None and config.genes.top < kept.sum():
        order = np.argsort(-np.where(kept, seen.variance, -1.0), kind="stable")
        kept = np.isin(np.arange(len(var)), order[: config.genes.top])
    if not kept.any():
        raise fault("no gene", "at least one", file=source.file, column=f"var, {_HVG}")
    return np.flatnonzero(kept)
