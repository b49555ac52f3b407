"""Overlap: how many training subjects were treated as a question asks, and how likely they were to be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from biowm.core.path import Path, take
from biowm.core.schedule import Schedule
from biowm.core.spec import WorldSpec
from biowm.models.scale import Scale

from .dosepath import dose_paths, windows

ENOUGH = 10.0  # subjects: their mean has a standard error below a third of their spread
_WINDOWS, _PIECES = 4, 8
_RIDGE = 1.0  # prior precision of the logistic slopes, per training SD of a reading


@dataclass(frozen=True)
class Likeness:
    """How far each question's dose path is from every training subject's, and how likely its first actions were.

    A distance is infinite where a subject was not followed as long, a propensity NaN where nobody was.
    """

    distance: Float[np.ndarray, "*q u"]
    propensity: Float[np.ndarray, "*q a"]


def alike(distance: Float[np.ndarray, "*q u"]) -> Float[np.ndarray, "*q"]:
    """How many subjects that amounts to: each counts as exp(-distance^2 / 2) of one."""
    return np.asarray(np.exp(-0.5 * distance**2).sum(-1))


def likeness(
    spec: WorldSpec, scale: Scale, paths: Path, plan: Schedule, start: float, length: float,
    reading: Float[np.ndarray, " d"],
) -> Likeness:  # fmt: skip
    """Compare one schedule (stacked, B = 1) from `start` over `length` with stretches of training of that length.

    A dose path is what each action gives in eight pieces, in training SDs of that action; the distance of two is their
    root mean square difference. Propensities are ridge logistic regressions of what was first given on the last
    readings, here `reading` (units of the channels; NaN = not read).
    """
    subject, origin = windows(paths, length, _WINDOWS)
    own = dose_paths(spec, plan, np.array([start]), length, _PIECES)
    near = np.full(len(np.asarray(paths.t)), np.inf)
    if not len(subject):
        return Likeness(near, np.full(own.shape[-1], np.nan))
    there = _stretches(spec, paths, subject, origin, length)
    sd = there.std((0, 1))
    gap = np.abs(there - own) / np.where(sd > 0, sd, 1.0)
    gap = np.where((sd > 0) | (gap == 0), gap, np.inf)  # never varied in training: alike or not at all
    np.minimum.at(near, subject, np.sqrt((gap**2).mean((1, 2))))
    z = scale.to_z(np.asarray(paths.x)[subject, origin])
    now = scale.to_z(np.asarray(reading)[None])
    return Likeness(near, _likely(z, there[:, 0] != 0, now, own[0, 0] != 0))


def _stretches(
    spec: WorldSpec, paths: Path, subject: Int[np.ndarray, " w"], origin: Int[np.ndarray, " w"], length: float
) -> Float[np.ndarray, "w p a"]:
    """The dose paths of stretches of training, padded so that one compiled program serves all questions."""
    most = len(np.asarray(paths.t)) * _WINDOWS
    room = np.arange(most).clip(max=len(subject) - 1)
    start = np.asarray(paths.t, np.float64)[subject, origin]
    plans = take(paths, subject[room]).plan
    return dose_paths(spec, plans, start[room], length, _PIECES)[: len(subject)]


def _likely(
    z: Float[np.ndarray, "w d"], given: np.ndarray, now: Float[np.ndarray, "1 d"], asked: np.ndarray
) -> Float[np.ndarray, " a"]:
    """The propensity of what is asked of each action in the first piece, by ridge logistic regressions (Newton)."""
    design, here = (np.concatenate([np.ones((len(x), 1)), np.nan_to_num(x)], axis=1) for x in (z, now))
    prior = _RIDGE * np.diag([1e-3] + [1.0] * z.shape[1])
    found = []
    for a in range(given.shape[1]):
        slope = np.zeros(design.shape[1])
        for _ in range(12):
            p = 1 / (1 + np.exp(-(design @ slope).clip(-30, 30)))
            hessian = (design * (p * (1 - p))[:, None]).T @ design + prior
            slope += np.linalg.solve(hessian, design.T @ (given[:, a] - p) - prior @ slope)
        p = 1 / (1 + np.exp(-(here @ slope).clip(-30, 30)[0]))
        found.append(p if asked[a] else 1 - p)
    return np.array(found)
