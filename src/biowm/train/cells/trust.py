"""What bands of genes' means promise: the race's out-of-sample draws, decoded, and calibrated as any channel is."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from biowm.core.spec import WorldSpec
from biowm.models.scale import fit_scale

from ..calibrate import Calibration, calibrate
from ..fit import Answers

_MOST, _FOLDS = 6e7, 4  # numbers in memory at once; parts the conditions are dealt to


def trust_of_genes(
    spec: WorldSpec, answers: Answers, condition: Int[np.ndarray, " n"], mean: Float[np.ndarray, "c g"],
    start: Float[np.ndarray, "c g"], loadings: Float[np.ndarray, "g k"],
) -> tuple[Float[np.ndarray, " g"], Calibration]:  # fmt: skip
    """The spread of conditions' means around directions they were not used to find, and the calibration of genes.

    Every condition is foretold along directions that a quarter of the conditions, its own among them, has no part in:
    those that all were used to find flatter each. Args: `condition` of each path that was raced; the `mean` of every
    condition and of its controls, `start`.
    """
    known = np.unique(condition)
    response = (mean - start)[known]
    fold = np.random.default_rng(0).permutation(len(known)) % _FOLDS
    k = loadings.shape[1]
    axes = [np.linalg.svd(response[fold != f], full_matrices=False)[2][:k].T for f in range(_FOLDS)]
    rest = np.concatenate([_off(response[fold == f], axes[f]) for f in range(_FOLDS)])
    left = np.sqrt(np.maximum((rest**2).mean(0), 1e-10))
    scale = fit_scale(spec, mean[known][:, None].astype(np.float32))
    asked, draws = answers.asked, answers.draws
    q, n, h, _ = draws.shape
    rng = np.random.default_rng(0)
    rows = np.sort(rng.permutation(q)[: max(1, int(_MOST / (n * h * len(left))))])
    who = condition[asked.queries.subject[rows]]  # replicates count once
    of = fold[np.searchsorted(known, who)]
    seen = np.empty((len(rows), n, h, len(left)), np.float32)
    for i, (row, f) in enumerate(zip(rows, of, strict=True)):
        along = (draws[row] @ (loadings.T @ axes[f])) @ axes[f].T
        seen[i] = np.maximum(start[who[i]] + along + left * rng.standard_normal((n, h, len(left)), np.float32), 0.0)
    truth = np.where(np.isfinite(asked.truth[rows]).all(-1, keepdims=True), mean[who][:, None], np.nan)
    queries = dataclasses.replace(
        asked.queries, subject=who, origin=asked.queries.origin[rows], times=asked.queries.times[rows]
    )
    part = dataclasses.replace(
        asked, queries=queries, truth=truth, horizon=asked.horizon[rows], start=asked.start[rows]
    )
    return left.astype(np.float32), calibrate(spec, scale, part, scale.to_z(seen), answers.horizons)


def _off(response: Float[np.ndarray, "n g"], axes: Float[np.ndarray, "g k"]) -> Float[np.ndarray, "n g"]:
    """What of a response is not along the axes."""
    return response - (response @ axes) @ axes.T
