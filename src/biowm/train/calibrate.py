"""Bands that keep their promise: conformal calibration of draws, by subject, per horizon and for the whole path."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from biowm.core.admissible import admissible
from biowm.core.scores import conformal_radius, rank_quantile
from biowm.core.spec import WorldSpec
from biowm.models.scale import Scale

from .horizons import Asked

LEVEL = 0.9
LEAST_SUBJECTS = 9
_LEAST_WIDTH = 0.02  # of a channel's spread, where the study declares no resolution


@dataclass(frozen=True)
class Calibration:
    """Factors on the half-widths of the draws' own 90 % band, at the median lead of each horizon.

    `pointwise` (horizon, channel) for each time by itself; `joint` (horizon) for the whole path up to it.
    `reach` counts the subjects asked at each horizon. `level` is None, and the factors are 1, where fewer than
    nine subjects could be asked at all; `level_at` says what is promised at a lead.
    """

    level: float | None
    subjects: int
    reach: tuple[int, ...]
    leads: tuple[float, ...]
    pointwise: Float[np.ndarray, "h d"]
    joint: Float[np.ndarray, " h"]
    scale: Scale


def _raw(spec: WorldSpec, scale: Scale, z: Float[np.ndarray, "... n t d"]) -> tuple[np.ndarray, ...]:
    """Median and the distances to the 5 % and 95 % ranks, never below half the resolution."""
    axis = z.ndim - 3
    median = rank_quantile(z, 0.5, axis)
    low, high = rank_quantile(z, 0.05, axis), rank_quantile(z, 0.95, axis)
    least = np.full(len(spec.channels), _LEAST_WIDTH)
    for j, c in enumerate(spec.channels):
        if c.resolution > 0 and c.link in ("real", "ordinal"):
            least[j] = max(0.5 * c.resolution / float(scale.sd[j]), 1e-6)
    return median, np.maximum(median - low, least), np.maximum(high - median, least)


def unpromised(like: Calibration) -> Calibration:
    """The calibration of what nobody calibrated: no level, and the draws' own bands at the same leads."""
    ones = np.ones_like(like.pointwise), np.ones_like(like.joint)
    return Calibration(None, 0, like.reach, like.leads, *ones, like.scale)


def calibrate(
    spec: WorldSpec, scale: Scale, asked: Asked, z: Float[np.ndarray, "q n h d"], n_horizons: int,
    units: Int[np.ndarray, " q"] | None = None,
) -> Calibration:  # fmt: skip
    """Conformal factors from out-of-sample draws `z` (standardised link space) of calibration subjects.

    Scores count by subject, however many questions it was asked (repeated measures, arXiv:2306.06342); where there are
    nine `units` of subjects (one a question), by these: what is held out together is one piece of evidence. The joint
    score is the largest over the path and the target channels (max-score).
    """
    targets = list(spec.targets)
    truth = scale.to_z(asked.truth)
    median, down, up = _raw(spec, scale, z)
    score = np.maximum((truth - median) / up, (median - truth) / down)
    if units is None or len(np.unique(units)) < LEAST_SUBJECTS:
        units = asked.queries.subject
    subjects = len(np.unique(units))
    leads, reach, pointwise, joint = [], [], np.ones((n_horizons, len(spec.channels))), np.ones(n_horizons)
    for h in range(n_horizons):
        here = asked.horizon == h
        leads.append(float(np.median(asked.leads[here])) if here.any() else (leads[-1] if leads else 1.0))
        reach.append(len(np.unique(units[here.any(1)])))
        for j in range(len(spec.channels)):
            ok = here & np.isfinite(score[..., j])
            q, _ = np.nonzero(ok)
            pointwise[h, j] = _radius(score[..., j][ok], units[q], pointwise[h - 1, j] if h else 1.0)
        upto = (asked.horizon >= 0) & (asked.horizon <= h)
        within = np.where(upto[:, :, None] & np.isfinite(score), score, -np.inf)[..., targets].max((1, 2))
        whole = np.isfinite(within) & (asked.horizon >= h).any(1)
        joint[h] = _radius(within[whole], units[whole], 1.0)  # never below the horizon before: see the last line
    if subjects < LEAST_SUBJECTS:
        return Calibration(
            None, subjects, tuple(reach), tuple(leads), np.ones_like(pointwise), np.ones_like(joint), scale
        )
    return Calibration(LEVEL, subjects, tuple(reach), tuple(leads), pointwise, np.maximum.accumulate(joint), scale)


def level_at(calibration: Calibration, lead: float) -> float | None:
    """The level promised at `lead`: None where fewer than nine calibration subjects reach its horizon."""
    if calibration.level is None:
        return None
    nearest = int(_nearest(calibration, np.asarray(lead, float)))
    return calibration.level if calibration.reach[nearest] >= LEAST_SUBJECTS else None


def _radius(scores: np.ndarray, units: np.ndarray, fallback: float) -> float:
    radius = conformal_radius(scores, units, LEVEL) if len(scores) else math.inf
    return radius if math.isfinite(radius) else max(float(scores.max(initial=fallback)), fallback)


def band(
    calibration: Calibration,
    spec: WorldSpec,
    draws: Float[np.ndarray, "*q n t d"],
    leads: Float[np.ndarray, "*q t"],
    kind: Literal["joint", "pointwise"] = "joint",
) -> tuple[Float[np.ndarray, "*q t d"], Float[np.ndarray, "*q t d"], Float[np.ndarray, "*q t d"]]:
    """Median, low and high of draws (channels' units) at `leads` (time since the origin); questions may be stacked."""
    z = calibration.scale.to_z(draws)
    median, down, up = _raw(spec, calibration.scale, z)
    factor = factors(calibration, np.asarray(leads, float), kind)
    edges = np.stack([median, median - factor * down, median + factor * up])
    edges = np.clip(edges, np.asarray(calibration.scale.lowest) - 1.0, np.asarray(calibration.scale.highest) + 1.0)
    x = np.asarray(admissible(spec, jnp.asarray(calibration.scale.to_x(edges.astype(np.float32)))))
    return x[0], x[1], x[2]


def factors(calibration: Calibration, leads: Float[np.ndarray, "*q t"], kind: str) -> Float[np.ndarray, "*q t d"]:
    """The factor of every lead and channel: that of the nearest horizon, as calibrated.

    A joint band has one factor, that of its longest lead. Nothing is interpolated: a path that ends a little
    before a horizon was calibrated with that horizon, and half-way factors would break its promise.
    """
    if kind == "joint":
        one = calibration.joint[_nearest(calibration, np.asarray(leads.max(-1)))]
        return np.broadcast_to(one[..., None, None], (*leads.shape, calibration.pointwise.shape[1]))
    return calibration.pointwise[_nearest(calibration, leads)]


def _nearest(calibration: Calibration, leads: Float[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """The horizon nearest each lead on a log scale."""
    at = np.log(np.maximum(leads, 1e-6))
    return np.asarray(np.abs(at[..., None] - np.log(np.array(calibration.leads))).argmin(-1))
