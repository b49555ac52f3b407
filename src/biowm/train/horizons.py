"""Horizons: how far ahead a study asks, as times or as counts of readings, and the questions that follow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from biowm.core.path import Path, take
from biowm.core.queries import Origins, Queries

from .followed import stand_for, staying

READINGS = (1, 3, 6, 12)
_MOST_TIMES, _MOST_LEADS = 24, 4


@dataclass(frozen=True)
class Horizons:
    """Leads at which a world is raced, calibrated and promised: clock times, or the k-th reading ahead.

    `origins` says what it is asked from: readings spread over each subject, the first reading alone, or the start of
    the path, of what is read later.
    """

    kind: Literal["clock", "readings"]
    values: tuple[float, ...]
    clock: str
    origins: Origins = "spread"

    def __post_init__(self) -> None:
        if not self.values or min(self.values) <= 0 or list(self.values) != sorted(set(self.values)):
            raise ValueError(f"horizons must be positive and increasing, found {self.values}")

    def labels(self) -> tuple[str, ...]:
        """Names of the horizons as splits of a report."""
        if self.kind == "readings":
            return tuple("next" if v == 1 else f"h{v:g}" for v in self.values)
        return tuple(f"{v:g} {self.clock}" for v in self.values)

    def longest(self, spacing: float) -> float:
        """The longest lead in the world's clock."""
        return self.values[-1] * (spacing if self.kind == "readings" else 1.0)


@dataclass(frozen=True)
class Asked:
    """Questions with their answers: truth (NaN where not read), and which horizon each time belongs to (-1: none).

    `stands`: of how many questions each answer is, those of subjects who were lost included (None: nobody was lost).
    """

    queries: Queries
    truth: Float[np.ndarray, "q h d"]
    horizon: Int[np.ndarray, "q h"]
    start: Float[np.ndarray, " q"]
    stands: Float[np.ndarray, "q h"] | None = None

    @property
    def leads(self) -> Float[np.ndarray, "q h"]:
        """Time from each origin (at `start`) to its targets."""
        return self.queries.times - self.start[:, None]


def ask(
    paths: Path, subjects: Int[np.ndarray, " n"], horizons: Horizons, *, origins: int, targets: tuple[int, ...]
) -> Asked:
    """Up to `origins` questions a subject, spread evenly from its second reading to its last but one.

    Where the horizons are asked from the first reading alone, that is the one question; where they are asked from the
    start, a path's first time is, whether or not something was read then.

    Targets are the subject's own later readings up to the longest horizon (at most 24, thinned evenly); a
    subject with a single reading is asked nothing. Only readings of the channels in `targets` make a time.
    """
    t, x = np.asarray(paths.t, np.float64), np.asarray(paths.x)
    seen = np.asarray(np.isfinite(x[..., list(targets)]).any(-1))
    rows: list[tuple] = []
    stays = staying(take(paths, np.asarray(subjects)), seen[np.asarray(subjects)], targets)
    if horizons.origins == "start":
        seen[:, 0] = True
    for place, s in enumerate(np.asarray(subjects)):
        index = np.flatnonzero(seen[s])
        if len(index) < 2:
            continue
        firsts = np.arange(min(1, len(index) - 2), len(index) - 1) if horizons.origins == "spread" else np.zeros(1, int)
        for k in np.unique(np.linspace(firsts[0], firsts[-1], min(origins, len(firsts))).round().astype(int)):
            later = index[k + 1 :]
            lead = t[s, later] - t[s, index[k]]
            rank = np.arange(1, len(later) + 1)
            reach = rank <= horizons.values[-1] if horizons.kind == "readings" else lead <= 1.15 * horizons.values[-1]
            reach[0] = True
            later, lead, rank = later[reach], lead[reach], rank[reach]
            if len(later) > _MOST_TIMES:
                thin = np.unique(np.linspace(0, len(later) - 1, _MOST_TIMES).round().astype(int))
                later, lead, rank = later[thin], lead[thin], rank[thin]
            stands = np.ones(len(later)) if stays is None else stand_for(stays, place, int(index[k]), later)
            rows.append((s, index[k], later, _nearest(horizons, lead, rank), stands))
    if not rows:
        what = "a reading after its start" if horizons.origins == "start" else "two readings"
        raise ValueError(f"no subject has {what}: there is nothing to forecast")
    width = max(len(r[2]) for r in rows)
    times = np.zeros((len(rows), width), np.float32)
    truth = np.full((len(rows), width, x.shape[2]), np.nan, np.float32)
    horizon = np.full((len(rows), width), -1)
    stands = np.ones((len(rows), width))
    for i, (s, _, later, which, share) in enumerate(rows):
        n = len(later)
        times[i] = t[s, later[-1]]
        times[i, :n], truth[i, :n], horizon[i, :n] = t[s, later], x[s, later], which
        stands[i, :n] = share
    subject, origin = np.array([r[0] for r in rows]), np.array([r[1] for r in rows])
    return Asked(Queries(subject, origin, times), truth, horizon, t[subject, origin], None if stays is None else stands)


def _nearest(horizons: Horizons, lead: np.ndarray, rank: np.ndarray) -> Int[np.ndarray, " h"]:
    """The horizon nearest each target on a log scale."""
    at = rank if horizons.kind == "readings" else np.maximum(lead, 1e-6)
    gaps = np.abs(np.log(at)[:, None] - np.log(np.array(horizons.values))[None, :])
    return gaps.argmin(1)


def declared(
    values: tuple[float, ...], paths: Path, clock: str, targets: tuple[int, ...], origins: Origins = "spread"
) -> Horizons:
    """The study's horizons; where it declares none, 1, 3, 6 and 12 readings as far as a third of the subjects reach.

    Of what is asked from the start: at most four of the times between the start and a reading.
    """
    if values:
        return Horizons("clock", tuple(sorted(set(values))), clock, origins)
    if origins == "start":
        t, seen = np.asarray(paths.t, float), np.isfinite(np.asarray(paths.x)[..., list(targets)]).any(-1)
        leads = np.unique((t - t[:, :1])[seen])
        leads = leads[leads > 0]
        some = np.unique(np.linspace(0, len(leads) - 1, min(len(leads), _MOST_LEADS)).round().astype(int))
        return Horizons("clock", tuple(leads[some].tolist()), clock, origins)
    count = np.isfinite(np.asarray(paths.x)[..., list(targets)]).any(-1).sum(1)
    reach = [k for k in READINGS if (count >= k + 2).mean() >= 1 / 3]
    return Horizons("readings", tuple(float(k) for k in (reach or [1])), clock, origins)
