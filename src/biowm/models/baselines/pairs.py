"""Pairs of origin and later reading in the training paths: what the horizon-by-horizon rules learn from."""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.path import Path, take

from ..tracker import Frame, Trace, Tracker, trace

_NODES, _MOST, _CHUNK = 8, 20_000, 64


@dataclass(frozen=True)
class Pairs:
    """N origins (trackers just after a reading) and, for each node and channel, the reading nearest that lead.

    `lead` counts from the channel's own last reading, `dose` is the mean from the origin on; `valid` marks
    the pairs there are. Times in spacings, z in standardised link space.
    """

    nodes: Float[np.ndarray, " h"]
    subject: Int[np.ndarray, " n"]
    start: Tracker
    z: Float[np.ndarray, "n h d"]
    lead: Float[np.ndarray, "n h d"]
    dose: Float[np.ndarray, "n h d a"]
    valid: Bool[np.ndarray, "n h d"]


@eqx.filter_jit
def _trace(frame: Frame, paths: Path, n_actions: int) -> Trace:
    return jax.vmap(lambda path: trace(frame, path, n_actions))(paths)


def traces(frame: Frame, paths: Path, n_actions: int) -> Trace:
    """Traces of all paths, a chunk at a time so that one compiled program serves any number."""
    n = paths.t.shape[0]
    parts = []
    for start in range(0, n, _CHUNK):
        index = np.arange(start, start + _CHUNK).clip(max=n - 1)
        part = _trace(frame, take(paths, index), n_actions)
        parts.append(jax.tree.map(lambda leaf: np.asarray(leaf)[: n - start], part))  # noqa: B023
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def pairs_of(frame: Frame, paths: Path, n_actions: int, longest: float, count: int = _NODES) -> Pairs:
    """Pairs up to a lead of `longest` (world clock), at about `count` nodes.

    At most 20,000 origins, drawn at random (always the same).
    """
    seen = np.isfinite(np.asarray(paths.x))
    subject, time = np.nonzero(seen.any(-1))
    if len(subject) > _MOST:
        keep = np.sort(np.random.default_rng(0).choice(len(subject), _MOST, replace=False))
        subject, time = subject[keep], time[keep]
    who, place = np.unique(subject, return_inverse=True)
    group = take(paths, who)
    found = traces(frame, group, n_actions)
    t = np.asarray(group.t, np.float64) / frame.spacing
    z = frame.scale.to_z(np.asarray(group.x))
    total = np.asarray(found.after.total[..., 0], np.float64)
    start = jax.tree.map(lambda leaf: np.asarray(leaf)[place, time], found.after)
    nodes = _nodes(longest / frame.spacing, count)
    shape = (len(subject), len(nodes), z.shape[2])
    out_z, lead, valid = np.zeros(shape), np.ones(shape), np.zeros(shape, bool)
    dose = np.zeros((*shape, n_actions))
    now, width = t[place, time], _width(nodes)
    for j in range(z.shape[2]):
        times = np.where(np.isfinite(z[..., j]), t, np.inf)
        for i, node in enumerate(nodes):
            index = _nearest(times, place, now + node)
            gap = times[place, index] - now
            origin_age = start.age[:, j]
            ok = np.isfinite(gap) & (gap > 1e-3) & (gap < node * width) & (gap > node / width) & (start.seen[:, j] > 0)
            safe = np.where(ok, gap, 1.0)
            valid[:, i, j] = ok
            out_z[:, i, j] = np.where(ok, z[place, index, j], 0.0)
            lead[:, i, j] = np.where(ok, gap + origin_age, 1.0)
            dose[:, i, j] = (total[place, index] - total[place, time]) / safe[:, None]
    return Pairs(nodes, subject, start, out_z, lead, dose, valid)


def evenly(n: int, most: int) -> Int[np.ndarray, " k"]:
    """At most `most` of n places, spread evenly from the first to the last."""
    return np.linspace(0, n - 1, min(n, most)).astype(int)


def _nodes(longest: float, count: int) -> Float[np.ndarray, " h"]:
    """Leads from one spacing to `longest`, evenly on a log scale, whole spacings where they are few."""
    top = max(longest, 1.0)
    nodes = np.geomspace(1.0, top, count) if top > 1 else np.ones(1)
    return np.unique(np.concatenate([np.round(nodes[nodes < count]), nodes[nodes >= count]]).clip(1.0, top))


def _width(nodes: Float[np.ndarray, " h"]) -> float:
    """How far (as a factor) a reading may lie from its node: half the way to the next."""
    return float(np.sqrt(max(nodes[1:] / nodes[:-1]))) if len(nodes) > 1 else 1.5


def _nearest(times: Float[np.ndarray, "n t"], row: Int[np.ndarray, " q"], when: Float[np.ndarray, " q"]):
    """Index of the reading of path `row` nearest to `when`, rows streamed to bound memory."""
    out = np.empty(len(row), np.int64)
    for start in range(0, len(row), 4096):
        part = slice(start, start + 4096)
        out[part] = np.argmin(np.abs(times[row[part]] - when[part, None]), axis=1)
    return out
