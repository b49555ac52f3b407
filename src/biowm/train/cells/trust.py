"""What bands of genes' means promise: the race's out-of-sample draws, decoded, and calibrated as any channel is."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from biowm.core.spec import WorldSpec
from biowm.models.scale import fit_scale

from ..calibrate import Calibration, calibrate
from ..fit import Answers

_MOST = 6e7  # numbers in memory at once


def trust_of_genes(
    spec: WorldSpec, answers: Answers, condition: Int[np.ndarray, " n"], mean: Float[np.ndarray, "c g"],
    start: Float[np.ndarray, "c g"], loadings: Float[np.ndarray, "g k"],
) -> tuple[Float[np.ndarray, " g"], Calibration]:  # fmt: skip
    """The spread of conditions' means around the loadings, and the calibration of draws that hold it.

    Args: `condition` of each path that was raced; the `mean` of every condition and of its controls, `start`.
    """
    response = (mean - start)[np.unique(condition)]
    left = np.sqrt(np.maximum(((response - response @ loadings @ loadings.T) ** 2).mean(0), 1e-10))
    scale = fit_scale(spec, mean[np.unique(condition)][:, None].astype(np.float32))
    asked, draws = answers.asked, answers.draws
    q, n, h, _ = draws.shape
    rng = np.random.default_rng(0)
    most = max(1, int(_MOST / (n * h * len(left))))
    rows = np.sort(rng.permutation(q)[:most])
    who = condition[asked.queries.subject[rows]]  # replicates count once
    seen = start[who][:, None, None] + draws[rows] @ loadings.T.astype(np.float32)
    seen = np.maximum(seen + left * rng.standard_normal(seen.shape, np.float32), 0.0)
    truth = np.where(np.isfinite(asked.truth[rows]).all(-1, keepdims=True), mean[who][:, None], np.nan)
    queries = dataclasses.replace(
        asked.queries, subject=who, origin=asked.queries.origin[rows], times=asked.queries.times[rows]
    )
    part = dataclasses.replace(
        asked, queries=queries, truth=truth, horizon=asked.horizon[rows], start=asked.start[rows]
    )
    return left.astype(np.float32), calibrate(spec, scale, part, scale.to_z(seen.astype(np.float32)), answers.horizons)
