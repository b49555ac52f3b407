"""Smooth neighbours: a Gaussian process on what follows a situation under the doses that are planned.

Situations are alike in their look (as `knn` sees it) and in the path of their doses: the mean doses up to each node so
far. The mean is the posterior under constant + linear + Gaussian kernel, one a node and channel. Each draw adds what
was missed, node by node, of one of the situations that look most like this one, its subject left out: so spread and
its correlation over time are those of real forecasts, wherever they are asked.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Observation, State

from ..tracker import Frame, Tracker, advance
from .knn import look_of
from .remember import History, Remembering, at_origin

DONORS = 32


@register("models", "Library")
class Library(eqx.Module):
    """Training situations, standardised: looks, mean doses up to each node (flat), running sums of their squares."""

    look: Float[Array, "n f"]
    dose: Float[Array, "n ha"]
    square: Float[Array, "h n"]


@register("models", "Scales")
class Scales(eqx.Module):
    """What standardises looks and doses, and the precisions of the Gaussian kernel in both."""

    look_mean: Float[Array, " f"]
    look_sd: Float[Array, " f"]
    dose_mean: Float[Array, "h a"]
    dose_sd: Float[Array, "h a"]
    precision: Float[Array, " 2"]


class SmoothState(State):
    """How it looked at the origin and how unlike the library, whose miss it follows, and its mean doses so far."""

    t: Float[Array, ""]
    start: Float[Array, " d"]
    look: Float[Array, " f"]
    apart: Float[Array, " n"]
    donor: Int[Array, ""]
    tracker: Tracker
    lead: Float[Array, ""]
    dose: Float[Array, "h a"]
    z: Float[Array, " d"]


@register("models", "Smooth")
class Smooth(Remembering):
    """The library, and at each of the `nodes` (spacings) the weights of both kernels and what was missed."""

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    frame: Frame
    nodes: Float[Array, " h"]
    library: Library
    scales: Scales
    linear: Float[Array, "h q d"]
    gaussian: Float[Array, "h n d"]
    missed: Float[Array, "n h d"]

    def draw(self, belief: History, *, key: PRNGKeyArray) -> SmoothState:
        tracker = belief.tracker
        look = (look_of(tracker) - self.scales.look_mean) / self.scales.look_sd
        apart = jnp.sum((self.library.look - look[None, :]) ** 2, axis=1)
        donors = jax.lax.top_k(-apart, min(DONORS, apart.shape[0]))[1].astype(jnp.int32)
        donor = jax.random.choice(key, donors)
        dose = jnp.zeros_like(self.scales.dose_mean)
        start = at_origin(tracker)
        return SmoothState(belief.t, tracker.z, look, apart, donor, start, jnp.zeros(()), dose, tracker.z)

    def step(
        self, state: SmoothState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> SmoothState:
        tracker = advance(state.tracker, self.frame, action, dt)
        lead = state.lead + dt / self.spacing
        dose = self._passed(state, tracker, lead)
        number = jnp.arange(self.nodes.shape[0] + 1, dtype=jnp.float32)
        place = jnp.interp(lead, jnp.concatenate([jnp.zeros(1), self.nodes]), number)
        above = jnp.minimum(jnp.floor(place).astype(jnp.int32), self.nodes.shape[0] - 1)
        below, share = jnp.maximum(above - 1, 0), place - above.astype(jnp.float32)
        ahead = dose.at[above].set(tracker.given[0] / jnp.maximum(lead, 1e-3))  # as if it went on like this
        left = jnp.where(above > 0, self._rise(state, dose, below), 0.0)
        z = state.start + left * (1 - share) + self._rise(state, ahead, above) * share
        z = jnp.clip(z, self.frame.scale.lowest, self.frame.scale.highest)
        return SmoothState(
            state.t + dt, state.start, state.look, state.apart, state.donor, tracker, lead, dose, z
        )  # fmt: skip

    def observe(self, state: SmoothState) -> Observation:
        value = self.frame.scale.to_x(state.z)
        return Observation(value, jnp.zeros_like(value))

    def _passed(self, state: SmoothState, tracker: Tracker, lead: Float[Array, ""]) -> Float[Array, "h a"]:
        """Mean doses up to the nodes, with those passed in this step (over which what it gives is spread)."""
        part = (self.nodes - state.lead) / jnp.maximum(lead - state.lead, 1e-6)
        before = state.tracker.given[0]
        given = before[None, :] + (tracker.given[0] - before)[None, :] * part[:, None]
        new = (self.nodes > state.lead) & (self.nodes <= lead)
        return jnp.where(new[:, None], given / self.nodes[:, None], state.dose)

    def _rise(self, state: SmoothState, dose: Float[Array, "h a"], node: Int[Array, ""]) -> Float[Array, " d"]:
        """The posterior mean at a node under mean doses, and what was missed of the donor there."""
        past = (jnp.arange(self.nodes.shape[0]) <= node)[:, None]
        scaled = jnp.where(past, (dose - self.scales.dose_mean) / self.scales.dose_sd, 0.0).reshape(-1)
        unlike = self.library.square[node] + jnp.sum(scaled * scaled) - 2 * self.library.dose @ scaled
        unlike = unlike / ((node + 1).astype(jnp.float32) * max(dose.shape[1], 1))
        near = jnp.exp(-0.5 * (state.apart * self.scales.precision[0] + unlike * self.scales.precision[1]))
        row = jnp.concatenate([jnp.ones(1), state.look, scaled])
        return row @ self.linear[node] + near @ self.gaussian[node] + self.missed[state.donor, node]
