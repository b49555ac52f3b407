"""The envelope: where the training data were, in the terms in which support is judged."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from biowm.core.path import Path
from biowm.core.queries import Origins
from biowm.core.spec import WorldSpec
from biowm.models.scale import Scale

_LEAST = 8  # subjects


@dataclass(frozen=True)
class Envelope:
    """Ranges seen in training: readings (standardised), gaps between readings, doses, length of histories.

    `dose_top` is the largest dose of each action, `given` the share of subjects who ever received it, `gaps`
    the 0.5, 50 and 99.5 % quantiles of the time between readings (world clock), `longest` the longest lead at
    which the world was validated. `levels` are the lowest and highest median of a subject's first 1, 2, 4, ...
    readings of each channel (standardised; NaN where fewer than eight subjects have so many). `together` are the pairs
    of members that were ever in one set; `origins` is where questions were put from.
    """

    z_low: Float[np.ndarray, " d"]
    z_high: Float[np.ndarray, " d"]
    levels: Float[np.ndarray, "k 2 d"]
    gaps: Float[np.ndarray, " 3"]
    dose_top: Float[np.ndarray, " a"]
    given: Float[np.ndarray, " a"]
    readings: Float[np.ndarray, " 2"]
    longest: float
    together: Int[np.ndarray, "p 2"] = field(default_factory=lambda: np.zeros((0, 2), int))
    origins: Origins = "spread"


def envelope(spec: WorldSpec, scale: Scale, paths: Path, longest: float, origins: Origins = "spread") -> Envelope:
    """Measure the envelope of stacked training paths."""
    x, t = np.asarray(paths.x), np.asarray(paths.t)
    z = scale.to_z(np.asarray(x))
    seen = np.asarray(np.isfinite(x).any(-1))
    gaps = np.concatenate([np.diff(t[s, seen[s]]) for s in range(len(t))])
    gaps = gaps[gaps > 0] if (gaps > 0).any() else np.array([0.0])
    card, dose = np.asarray(paths.plan.card), np.asarray(paths.plan.dose)
    n = len(spec.actions)
    top = np.array([dose[card == a].max(initial=0.0) for a in range(n)])
    given = np.array([((card == a) & (dose != 0)).any(1).mean() for a in range(n)])
    return Envelope(
        z_low=np.nanmin(z, (0, 1)), z_high=np.nanmax(z, (0, 1)), levels=_levels(z),
        gaps=np.quantile(gaps, [0.005, 0.5, 0.995]),
        dose_top=top, given=given, readings=np.quantile(seen.sum(1), [0.0, 1.0]), longest=longest,
        together=_together(spec, card, dose), origins=origins,
    )  # fmt: skip


def medians(z: Float[np.ndarray, " t"]) -> Float[np.ndarray, " k"]:
    """Medians of the first 1, 2, 4, ... readings of one channel of one history (NaN = not read)."""
    read = z[np.isfinite(z)]
    return np.array([np.median(read[: 1 << k]) for k in range(len(read).bit_length())])


def _levels(z: Float[np.ndarray, "b t d"]) -> Float[np.ndarray, "k 2 d"]:
    """Ranges of the medians over the subjects; a range of fewer than eight says nothing and is left NaN."""
    order = np.argsort(np.isnan(z), axis=1, kind="stable")  # what was read, first
    z, count = np.take_along_axis(z, order, axis=1), np.isfinite(z).sum(1)
    sizes = [1 << k for k in range(int(count.max(initial=0)).bit_length())]
    own = np.stack([np.where(count >= n, np.median(z[:, :n], axis=1), np.nan) for n in sizes])
    enough = np.isfinite(own).sum(1) >= _LEAST
    ranges = np.stack([np.fmin.reduce(own, 1), np.fmax.reduce(own, 1)], axis=1)
    return np.where(enough[:, None, :], ranges, np.nan)


def _together(spec: WorldSpec, card: Int[np.ndarray, "b k"], dose: Float[np.ndarray, "b k"]) -> Int[np.ndarray, "p 2"]:
    """The pairs of set-members that one subject was given."""
    members = [a for a, c in enumerate(spec.actions) if c.kind == "set-member"]
    if not members:
        return np.zeros((0, 2), int)
    pairs = {
        (int(a), int(b))
        for row, amount in zip(card, dose, strict=True)
        for a, b in itertools.combinations(sorted(set(row[(amount != 0) & np.isin(row, members)])), 2)
    }
    return np.array(sorted(pairs), int).reshape(-1, 2)
