"""Nearest dose: what followed, on average over everybody, where the mean doses so far were most like the planned ones.

A reference that no race runs: it knows nothing of a subject but its last reading. Each draw adds the rise of one of the
situations that were dosed most alike up to here (all that are equally alike), wherever in their course they were.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Observation, State

from ..candidate import Candidate
from ..tracker import Frame, Tracker, advance
from .pairs import Pairs, evenly
from .remember import History, Remembering, at_origin

_K, _LIBRARY = 16, 1000
_NEVER = 1e9  # further than any dose: whoever was not read so far ahead


class NearestState(State):
    """Which of the nearest this draw follows (a rank in [0, 1]), and where it is."""

    t: Float[Array, ""]
    start: Float[Array, " d"]
    tracker: Tracker
    lead: Float[Array, ""]
    rank: Float[Array, ""]
    z: Float[Array, " d"]


class NearestDose(Remembering):
    """At each of the `nodes` (spacings): mean doses up to there over their spread, and the rise (NaN: not read)."""

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    frame: Frame
    nodes: Float[Array, " h"]
    dose: Float[Array, "h n a"]
    sd: Float[Array, "h a"]
    rise: Float[Array, "h n d"]

    def draw(self, belief: History, *, key: PRNGKeyArray) -> NearestState:
        tracker = belief.tracker
        rank = jax.random.uniform(key)
        return NearestState(belief.t, tracker.z, at_origin(tracker), jnp.zeros(()), rank, tracker.z)

    def step(
        self, state: NearestState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> NearestState:
        tracker = advance(state.tracker, self.frame, action, dt)
        lead = state.lead + dt / self.spacing
        dose = tracker.given[0] / jnp.maximum(lead, 1e-3)
        place = jnp.interp(lead, jnp.concatenate([jnp.zeros(1), self.nodes]), jnp.arange(len(self.nodes) + 1.0))
        node = jnp.maximum(jnp.ceil(place).astype(jnp.int32) - 1, 0)  # the one that a lead comes to or has come to
        share = place - node.astype(jnp.float32)
        pick, channel = self._pick(node, dose, state.rank), jnp.arange(state.z.shape[0])
        later = self.rise[node, pick, channel]
        last = jnp.maximum(node - 1, 0)
        before = self.rise[last, pick, channel]
        even = jnp.where(node > 0, later * self.nodes[last] / self.nodes[node], 0.0)
        before = jnp.where((node > 0) & ~jnp.isnan(before), before, even)  # where it was not read then
        z = state.start + jnp.nan_to_num(before * (1 - share) + later * share)
        z = jnp.clip(z, self.frame.scale.lowest, self.frame.scale.highest)
        return NearestState(state.t + dt, state.start, tracker, lead, state.rank, z)

    def observe(self, state: NearestState) -> Observation:
        value = self.frame.scale.to_x(state.z)
        return Observation(value, jnp.zeros_like(value))

    def _pick(self, node: Array, dose: Float[Array, " a"], rank: Float[Array, ""]) -> Int[Array, " d"]:
        """Of each channel, the situation at this rank among those read at the node that were dosed most alike."""
        away = jnp.sum((self.dose[node] - dose[None, :] / self.sd[node][None, :]) ** 2, axis=1)
        unlike = jnp.where(jnp.isnan(self.rise[node]), _NEVER, away[:, None])
        # The smallest of them, not the last: of what is sliced the compiler makes a full sort, nine times as slow.
        kth = -jnp.min(jax.lax.top_k(-unlike.T, min(_K, away.shape[0]))[0], axis=1)
        near = unlike <= jnp.minimum(kth, _NEVER / 2)[None, :] * (1 + 1e-5) + 1e-6
        total = jnp.cumsum(near.astype(jnp.float32), axis=0)
        return jnp.argmax(total > rank * 0.999999 * total[-1][None, :], axis=0)


def fit_nearest_dose(spec: WorldSpec, frame: Frame, pairs: Pairs) -> NearestDose:
    """Keep at most 1,000 situations, evenly over the origins."""
    keep = evenly(len(pairs.subject), _LIBRARY)
    rise = np.where(pairs.valid, pairs.z - np.asarray(pairs.start.z)[:, None, :], np.nan)[keep]
    valid = pairs.valid[keep]
    dose = np.where(valid[..., None], pairs.dose[keep], 0.0).sum(2) / np.maximum(valid.sum(2), 1)[..., None]
    sd = dose.std(0)
    sd = np.where(sd > 1e-6, sd, 1.0)
    arrays = (pairs.nodes, (dose / sd).swapaxes(0, 1), sd, rise.swapaxes(0, 1))
    return NearestDose(spec, frame.spacing, frame, *(jnp.asarray(a, jnp.float32) for a in arrays))


@register("references", "nearest-dose")
def references() -> tuple[Candidate, ...]:
    """The one there is."""
    return (Candidate("nearest-dose", True, lambda m: fit_nearest_dose(m.spec, m.frame, m.pairs)),)
