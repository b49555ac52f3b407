"""A small screen of single cells with known effects: negative binomial counts of pairs of genes switched on."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

GENES, MEMBERS, CELLS, CONTROLS = 40, 6, 60, 240
CONFIG = {
    "study": "planted",
    "control": {"obs": "perturbation", "value": "control"},
    "context": {"cell_line": "cell_line", "batch": "gemgroup"},
    "layer": {"name": "X", "kind": "counts"},
    "actions": {"from": {"obs": "perturbation", "split": "+"}, "kind": "set-member", "effect": "up"},
}


def effects(size: float = 1.0) -> np.ndarray:
    """Log fold changes [member, gene]: eight genes each, both ways."""
    rng = np.random.default_rng(7)
    found = np.zeros((MEMBERS, GENES))
    for row in found:
        row[rng.permutation(GENES)[:8]] = size * rng.choice([-1.5, 1.2], 8)
    return found


def sets() -> list[tuple[int, ...]]:
    """All singles, and the pairs of neighbours."""
    return [*((a,) for a in range(MEMBERS)), *((a, a + 1) for a in range(MEMBERS - 1))]


def screen_of_cells(size: float = 1.0, seed: int = 0, lines: tuple[str, ...] = ("K562",)):
    """AnnData of counts: two batches that read genes differently, cells of different depth."""
    import anndata

    rng = np.random.default_rng(seed)
    level = np.random.default_rng(3).uniform(-0.5, 2.0, GENES)
    batch = np.random.default_rng(4).normal(0, 0.3, (2, GENES))
    shift = {line: np.random.default_rng(5 + i).normal(0, 0.5, GENES) for i, line in enumerate(lines)}
    effect, rows, obs = effects(size), [], []
    for line, members in itertools.product(lines, [(), *sets()]):
        n = CELLS if members else CONTROLS
        b = rng.integers(0, 2, n)
        log_rate = level + shift[line] + effect[list(members)].sum(0) + batch[b]
        rate = np.exp(log_rate) * rng.lognormal(0, 0.3, (n, 1)) * rng.gamma(5, 0.2, (n, GENES))
        rows.append(rng.poisson(rate))
        name = "+".join(f"M{a}" for a in members) or "control"
        obs += [{"perturbation": name, "cell_line": line, "gemgroup": f"batch {k}"} for k in b]
    frame = pd.DataFrame(obs, index=[f"cell {i}" for i in range(len(obs))])
    var = pd.DataFrame(index=[f"gene {j}" for j in range(GENES)])
    return anndata.AnnData(np.concatenate(rows).astype(np.float32), frame, var)
