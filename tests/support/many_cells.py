"""A large sparse table of cells, written a piece at a time, and what it costs to read it (in a process of its own)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np

_READ = """
import json, sys
from pathlib import Path
import numpy as np
from biowm.data.screens import load_screen

def peak():  # in kB; what getrusage says is the parent's, where that was larger
    return next(int(w.split()[1]) for w in Path("/proc/self/status").read_text().splitlines() if w.startswith("VmHWM"))

warm = load_screen(sys.argv[1], {"regime": "cloud"})
before = peak()
screen = load_screen(sys.argv[2], {"regime": "cloud"})
total = np.zeros(screen.cells.shape[1])
seen = 0
for index, x in screen.cells.chunks(256, screen.cells.shuffled(256, 0)):
    total += x.sum(0)
    seen += len(index)
after = peak()
print(json.dumps({"grown_mb": (after - before) / 1024, "cells": seen, "total": float(total.sum())}))
"""


def write_cells_of(file: Path, cells: int, genes: int, density: float = 0.1) -> float:
    """Counts in rows on disk, every fourth cell a control; returns their sum."""
    import anndata
    import pandas as pd
    from scipy import sparse

    random = np.random.default_rng(0)
    words = np.array(["non-targeting", "A", "B", "C"])[np.arange(cells) % 4]
    x = sparse.random(cells, genes, density, "csr", np.float32, random, lambda n: random.integers(1, 9, n))
    obs = pd.DataFrame({"target_gene": words}, index=pd.Index([f"c{i}" for i in range(cells)]))
    var = pd.DataFrame(index=pd.Index([f"g{j}" for j in range(genes)]))
    anndata.AnnData(x, obs, var).write_h5ad(file)
    return float(x.sum())


def cost_of_reading(small: Path, large: Path) -> dict[str, float]:
    """By how much the peak of memory grows while the large table is read, after the small one was."""
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(small), str(large)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])
