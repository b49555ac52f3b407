"""The map of pairwise growth phenotypes, and the simple rules of task gi-fewshot: what singles and guides explain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.errors import BadInput

_PENALTY, _STRENGTHS, _STEPS = (
    1.0,
    (1.0, 0.8, 0.6, 0.4),
    40,
)  # of guide effects; of the low-rank completion, its last kept
_FILE = "CRISPRa_K562_{}.txt"


@dataclass(frozen=True)
class Map:
    """Growth phenotypes of guides alone (replicate 1) and in pairs of different genes (both replicates)."""

    guides: tuple[str, ...]
    gene: Int[np.ndarray, " n"]
    genes: tuple[str, ...]
    single: Float[np.ndarray, " n"]
    pairs: Int[np.ndarray, "p 2"]
    first: Float[np.ndarray, " p"]
    second: Float[np.ndarray, " p"]

    @property
    def duo(self) -> Int[np.ndarray, " p"]:
        """Which pair of genes each pair of guides is of."""
        a, b = np.sort(self.gene[self.pairs], 1).T
        return a * len(self.genes) + b


def read(folder: Path) -> Map:
    """The map without its negative controls. Raises BadInput where the tables do not name the same guides."""
    named = _table(folder / _FILE.format("sgRNA_to_gene"))
    alone = _table(folder / _FILE.format("replicate1_singlePhenotypes_abbaAveraged"))
    whole = [_table(folder / _FILE.format(f"replicate{r}_phenotypeMatrix_abbaAveraged")) for r in (1, 2)]
    guides = [row[0] for row in named[1:]]
    for table in (alone, *whole):
        if [row[0] for row in table[1:]] != guides:
            raise BadInput(f"{folder}: found tables of different guides, expected those of sgRNA_to_gene in its order")
    of = np.array([row[1] for row in named[1:]])
    kept = np.flatnonzero(of != "negative")
    genes, gene = np.unique(of[kept], return_inverse=True)
    i, j = np.triu_indices(len(kept), 1)
    pairs = np.stack([i, j], 1)[gene[i] != gene[j]]
    single = np.array([float(alone[1 + g][1]) for g in kept])
    readings = (np.array([[float(v) for v in row[1:]] for row in table[1:]])[np.ix_(kept, kept)] for table in whole)
    first, second = (m[tuple(pairs.T)] for m in readings)
    return Map(tuple(guides[g] for g in kept), gene, tuple(map(str, genes)), single, pairs, first, second)


def some(whole: Map, share: float, seed: int) -> Bool[np.ndarray, " p"]:
    """Which pairs are learned from: all of a `share` of the pairs of genes."""
    names = np.unique(whole.duo)
    drawn = np.random.default_rng(seed).permutation(names)[: round(share * len(names))]
    return np.isin(whole.duo, drawn)


def rules(whole: Map, train: Bool[np.ndarray, " p"]) -> Iterator[tuple[str, Float[np.ndarray, " p"]]]:
    """Every simple rule's answer for all pairs, learned from the first replicate of `train`.

    The sum of singles; a quadratic in them; that with an effect of each guide (ridge); and a low-rank completion of
    what is left over, guide by guide (penalty and strength are those that land on the figures known of these rules).
    """
    a, b = whole.single[whole.pairs].T
    n, (i, j), y = len(whole.guides), whole.pairs.T, whole.first[train]
    yield "additive", a + b
    quadratic = np.stack([np.ones_like(a), a + b, a * b, a**2 + b**2], 1)
    yield "quadratic", quadratic @ np.linalg.lstsq(quadratic[train], y, rcond=None)[0]
    held = np.eye(n)[i] + np.eye(n)[j]
    both = np.concatenate([quadratic, held], 1)
    penalty = np.diag(np.repeat([1e-6, _PENALTY], [4, n]))
    effects = both @ np.linalg.solve(both[train].T @ both[train] + penalty, both[train].T @ y)
    yield "guide effects", effects
    seen, known = np.zeros((n, n)), np.zeros((n, n), bool)
    seen[i[train], j[train]] = seen[j[train], i[train]] = y - effects[train]
    known[i[train], j[train]] = known[j[train], i[train]] = True
    yield "guide effects + low rank", effects + _low_rank(seen, known)[i, j]


def _low_rank(seen: Float[np.ndarray, "n n"], known: Bool[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Soft-impute (https://jmlr.org/papers/v11/mazumder10a.html) at ever smaller strengths, the last one kept."""
    now = np.zeros_like(seen)
    for strength in np.repeat(_STRENGTHS, _STEPS):
        value, vector = np.linalg.eigh(np.where(known, seen, now))
        now = (vector * np.sign(value) * np.maximum(np.abs(value) - strength, 0)) @ vector.T
    return now


def _table(file: Path) -> list[list[str]]:
    return [line.split("\t") for line in file.read_text().splitlines()]
