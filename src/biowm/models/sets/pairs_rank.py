"""What is left over between members, of low rank: soft-thresholded completion, its strength found on pairs left out.

Soft-impute (Mazumder et al., 2010, https://jmlr.org/papers/v11/mazumder10a.html) for a symmetric matrix.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

_FOLDS, _STEPS, _DOWN = 5, 15, 0.8
_STRENGTHS = 10


def complete(
    seen: Float[np.ndarray, "g g"], known: Bool[np.ndarray, "g g"], unit: Int[np.ndarray, "g g"], *, seed: int = 0
) -> Float[np.ndarray, "g g"]:
    """The symmetric matrix of low rank behind the `known` entries of `seen`; zero where none foretells those left out.

    Entries of one `unit` are left out together.
    """
    a, b = np.nonzero(np.triu(known))
    names, place = np.unique(unit[a, b], return_inverse=True)
    if len(names) < _FOLDS:
        return np.zeros_like(seen)
    top = np.abs(np.linalg.eigvalsh(np.where(known, seen, 0.0))).max()
    strengths = top * _DOWN ** np.arange(_STRENGTHS)  # at the first nothing is left
    fold = (np.random.default_rng(seed).permutation(len(names)) % _FOLDS)[place]
    miss = np.zeros(_STRENGTHS)
    for f in range(_FOLDS):
        i, j = a[fold == f], b[fold == f]
        rest = known.copy()
        rest[i, j] = rest[j, i] = False
        miss += [((seen[i, j] - x[i, j]) ** 2).sum() for x in _descend(seen, rest, strengths)]
    best = int(miss.argmin())
    return _descend(seen, known, strengths[: best + 1])[-1] if best else np.zeros_like(seen)


def _descend(
    seen: Float[np.ndarray, "g g"], known: Bool[np.ndarray, "g g"], strengths: Float[np.ndarray, " k"]
) -> list[Float[np.ndarray, "g g"]]:
    """The completion at each strength, each from the one before."""
    found, now = [], np.zeros_like(seen)
    for strength in strengths:
        for _ in range(_STEPS):
            value, vector = np.linalg.eigh(np.where(known, seen, now))
            now = (vector * np.sign(value) * np.maximum(np.abs(value) - strength, 0.0)) @ vector.T
        found.append(now)
    return found
