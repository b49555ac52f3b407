"""Anchors of a residual: training subjects at some of their readings, and what a trunk missed from there on."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from biowm.core.forecast import forecast
from biowm.core.path import take
from biowm.core.queries import Queries
from biowm.core.world import World

from ..baselines.pairs import traces
from ..candidate import Material

_SUBJECTS, _ANCHORS, _FEWEST, _MOST = 256, 512, 2, 6
_NODES, _DRAWS = 16, 16


@dataclass(frozen=True)
class Anchors:
    """N anchors: whose they are, last readings (standardised), clock and traits there, and by lead what followed.

    At the leads `nodes` (spacings, the first 0): `total`, the doses given since the start (how much of each action, and
    when), and `missed`, truth minus mean forecast (standardised link space). A channel that is read no more keeps its
    last miss.
    """

    nodes: Float[np.ndarray, " h"]
    subject: Int[np.ndarray, " n"]
    z: Float[np.ndarray, "n d"]
    clock: Float[np.ndarray, " n"]
    traits: Float[np.ndarray, "n s"]
    total: Float[np.ndarray, "n h a"]
    missed: Float[np.ndarray, "n h d"]


def anchors_of(trunk: World, m: Material) -> Anchors:
    """Ask the trunk what it would have said: at most 256 training subjects, each from some of its readings."""
    n = m.paths.t.shape[0]
    chosen = np.sort(np.random.default_rng(0).permutation(n)[:_SUBJECTS])
    paths = take(m.paths, chosen)
    seen = np.isfinite(np.asarray(paths.x)).any(-1)
    t = np.asarray(paths.t)
    rows = [
        (s, index[k], index[k + 1 :][t[s, index[k + 1 :]] - t[s, index[k]] <= 1.15 * m.longest])
        for s, index in enumerate(map(np.flatnonzero, np.atleast_2d(seen)))
        for k in _origins(len(index), len(chosen))
    ]
    rows = [row for row in rows if len(row[2])]
    width = max(len(later) for *_, later in rows)
    subject, origin = np.array([s for s, *_ in rows]), np.array([o for _, o, _ in rows])
    later = np.stack([np.concatenate([k, np.repeat(k[-1:], width - len(k))]) for *_, k in rows])
    queries = Queries(subject, origin, t[subject[:, None], later])
    draws = forecast(trunk, paths, queries, key=jax.random.key(0), draws=_DRAWS)
    scale = m.frame.scale
    truth = np.asarray(scale.to_z(jnp.asarray(np.asarray(paths.x)[subject[:, None], later])))
    missed = truth - np.asarray(scale.to_z(jnp.asarray(draws))).mean(1)
    trace = traces(m.frame, paths, len(m.spec.actions))
    there = jax.tree.map(lambda leaf: leaf[subject, origin], trace.after)
    lead = (queries.times - t[subject, origin][:, None]) / m.frame.spacing
    top = max(m.longest / m.frame.spacing, 1.0)
    nodes = np.concatenate([[0.0], np.unique(np.linspace(1.0, np.sqrt(top), _NODES) ** 2)])
    lead, missed = np.insert(lead, 0, 0.0, axis=1), np.insert(missed, 0, 0.0, axis=1)
    total = np.insert(trace.after.total[subject[:, None], later], 0, there.total, axis=1)
    total = total.reshape(*total.shape[:2], -1)
    return Anchors(
        nodes=nodes, subject=subject, z=there.z, clock=there.clock, traits=there.traits,
        total=_at(nodes, lead, total), missed=_at(nodes, lead, missed),
    )  # fmt: skip


def _origins(readings: int, subjects: int) -> Int[np.ndarray, " k"]:
    """The first reading, and others evenly to the last but one."""
    count = int(np.clip(_ANCHORS // subjects, _FEWEST, _MOST))
    return np.unique(np.linspace(0, readings - 2, count).round().astype(int)) if readings > 1 else np.empty(0, int)


def _at(nodes: Float[np.ndarray, " h"], lead: Float[np.ndarray, "n t"], values: Float[np.ndarray, "n t c"]):
    """Each row's values (NaN: none) at the nodes, linear between its leads and held after the last."""
    out = np.zeros((len(values), len(nodes), values.shape[2]))
    for i, j in np.ndindex(len(values), values.shape[2]):
        ok = np.isfinite(values[i, :, j])
        out[i, :, j] = np.interp(nodes, lead[i, ok], values[i, ok, j])
    return out
