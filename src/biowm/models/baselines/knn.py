"""k nearest past situations, followed forward: the subjects most like this one, reweighted by their treatment."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from biowm.core.buckets import bucket, filled
from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Observation, State

from ..candidate import Candidate
from ..tracker import Frame, Tracker, advance
from .pairs import Pairs, evenly
from .remember import History, Remembering, at_origin

_K, _LIBRARY, _DOSE_WIDTH, _FAR = 16, 3000, 0.15, 1e6


class KnnState(State):
    """The neighbours, which of them this draw follows (a rank in [0, 1]), and where it is."""

    t: Float[Array, ""]
    start: Float[Array, " d"]
    tracker: Tracker
    lead: Float[Array, ""]
    donors: Int[Array, " k"]
    rank: Float[Array, ""]
    z: Float[Array, " d"]


@register("models", "Knn")
class Knn(Remembering):
    """Library of past situations: what they looked like, what followed at each node and under what doses."""

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    frame: Frame
    nodes: Float[Array, " h"]
    look: Float[Array, "n f"]
    look_scale: Float[Array, " f"]
    rise: Float[Array, "n h d"]
    known: Float[Array, "n h d"]
    dose: Float[Array, "n h a"]

    def draw(self, belief: History, *, key: PRNGKeyArray) -> KnnState:
        tracker = belief.tracker
        away = (self.look - look_of(tracker)[None, :]) / self.look_scale[None, :]
        _, donors = jax.lax.top_k(-jnp.sum(away * away, axis=1), min(_K, self.look.shape[0]))
        rank = jax.random.uniform(key)
        start = at_origin(tracker)
        return KnnState(belief.t, tracker.z, start, jnp.zeros(()), donors.astype(jnp.int32), rank, tracker.z)

    def step(self, state: KnnState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray) -> KnnState:
        tracker = advance(state.tracker, self.frame, action, dt)
        lead = state.lead + dt / self.spacing
        dose = tracker.given[0] / jnp.maximum(lead, 1e-3)
        nodes = jnp.concatenate([jnp.zeros(1), self.nodes])
        place = jnp.interp(lead, nodes, jnp.arange(nodes.shape[0], dtype=jnp.float32))
        below = jnp.minimum(jnp.floor(place).astype(jnp.int32), nodes.shape[0] - 2)
        share = place - below.astype(jnp.float32)

        def mix(table: Array) -> Array:
            """Donor values between nodes; before the first node, between it and `now` (zero)."""
            rows = table[state.donors]
            left = jnp.where(below > 0, rows[:, jnp.maximum(below - 1, 0)], 0.0)
            return left * (1 - share) + rows[:, below] * share

        later = self.dose[state.donors, below]
        unlike = jnp.sum(((later - dose[None, :]) / _DOSE_WIDTH) ** 2, axis=1)
        known = jnp.mean(self.known[state.donors, below], axis=1)
        log_w = -0.5 * unlike - 6.0 * (1 - known)
        w = jax.nn.softmax(log_w)
        pick = jnp.argmax(jnp.cumsum(w) >= state.rank * 0.999999)
        z = jnp.clip(state.start + mix(self.rise)[pick], self.frame.scale.lowest, self.frame.scale.highest)
        return KnnState(state.t + dt, state.start, tracker, lead, state.donors, state.rank, z)

    def observe(self, state: KnnState) -> Observation:
        value = self.frame.scale.to_x(state.z)
        return Observation(value, jnp.zeros_like(value))


def look_of(tracker: Tracker) -> Float[Array, " f"]:
    """What a situation looks like: last values, pace, distance from the recent mean, exposures, traits."""
    rate = jnp.where(tracker.lag > 0, (tracker.z - tracker.prev) / jnp.maximum(tracker.lag, 1e-3), 0.0)
    away = tracker.z - tracker.mean[:, -1]
    return jnp.concatenate([tracker.z, jnp.clip(rate, -3.0, 3.0), away, tracker.e[:, 1], tracker.traits])


def looks_of(start: Tracker) -> Float[np.ndarray, "n f"]:
    """Looks of many situations (stacked trackers)."""
    return np.asarray(_looks(filled(start)), np.float64)[: len(start.clock)]


_looks = eqx.filter_jit(jax.vmap(look_of))


def fit_knn(spec: WorldSpec, frame: Frame, pairs: Pairs) -> Knn:
    """Keep at most 3,000 situations, evenly over the origins; channels not read later repeat their last rise.

    The library is padded to a bucket with situations too far away to be anybody's neighbour.
    """
    n = len(pairs.subject)
    keep = evenly(n, _LIBRARY)
    start = jax.tree.map(lambda a: a[keep], pairs.start)
    look = looks_of(start)
    valid = pairs.valid[keep]
    rise = np.where(valid, pairs.z[keep] - np.asarray(start.z)[:, None, :], 0.0)
    for i in range(1, rise.shape[1]):
        rise[:, i] = np.where(valid[:, i], rise[:, i], rise[:, i - 1])
    sd = look.std(0)
    arrays = (
        pairs.nodes, look, np.where(sd > 1e-6, sd, 1.0), rise, valid, pairs.dose[keep].mean(2),
    )  # fmt: skip
    more = max(bucket(len(keep)), _K) - len(keep)

    def pad(table: np.ndarray, fill: float) -> np.ndarray:
        return np.concatenate([table, np.full((more, *table.shape[1:]), fill)])

    padded = (arrays[0], pad(look, _FAR), arrays[2], pad(rise, 0.0), pad(valid.astype(float), 0.0), pad(arrays[5], 0.0))
    return Knn(spec, frame.spacing, frame, *(jnp.asarray(a, jnp.float32) for a in padded))


@register("candidates", "knn")
def candidates() -> tuple[Candidate, ...]:
    """The rule as it is."""
    return (Candidate("knn", True, lambda m: fit_knn(m.spec, m.frame, m.pairs)),)
