"""Rules that jump straight to a horizon: persistence, mean, the subject's own trend, and direct ridge.

All four are one world. The point forecast at lead h depends on the tracker at the origin (and, for direct
ridge, on what is given up to h); residuals follow the empirical quantiles of the training residuals at h,
carried by a Brownian copula, so that every path is coherent and every margin is the empirical one.
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.spec import WorldSpec
from biowm.core.world import Belief, Observation, State, World

from ..tracker import Frame, Tracker, advance, fresh, give, read
from .pairs import Pairs

Rule = Literal["persistence", "mean", "trend", "direct"]
_PROBS = np.linspace(0.005, 0.995, 67)
_PENALTY = 1.0


class DirectBelief(Belief):
    """The tracker of the history."""

    t: Float[Array, ""]
    tracker: Tracker


class DirectState(State):
    """The tracker at the origin (`start`), the tracker now, and the Brownian path of the residual."""

    t: Float[Array, ""]
    start: Tracker
    tracker: Tracker
    lead: Float[Array, ""]
    walk: Float[Array, " d"]
    z: Float[Array, " d"]


class Direct(World):
    """A direct rule: coefficients and residual quantiles at the lead times `nodes` (spacings)."""

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    rule: Rule = eqx.field(static=True)
    frame: Frame
    nodes: Float[Array, " h"]
    weights: Float[Array, "h d q"]
    quantiles: Float[Array, "h d n"]

    def begin(self, traits: Float[Array, " s"]) -> DirectBelief:
        return DirectBelief(jnp.zeros(()), fresh(self.frame, traits))

    def predict(self, belief: DirectBelief, action: Float[Array, " a"], dt: Float[Array, ""]) -> DirectBelief:
        return DirectBelief(belief.t + dt, advance(belief.tracker, self.frame, action, dt))

    def impulse(self, state, dose: Float[Array, " a"]):
        return eqx.tree_at(lambda s: s.tracker, state, give(state.tracker, self.frame, dose))

    def update(self, belief: DirectBelief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> DirectBelief:
        z = self.frame.scale.to_z(jnp.where(mask, reading, 1.0))
        return DirectBelief(belief.t, read(belief.tracker, z, mask))

    def draw(self, belief: DirectBelief, *, key: PRNGKeyArray) -> DirectState:
        tracker = belief.tracker
        zero = jnp.zeros_like(tracker.given)
        start = eqx.tree_at(lambda s: (s.given, s.felt), tracker, (zero, jnp.zeros_like(tracker.felt)))
        return DirectState(belief.t, tracker, start, jnp.zeros(()), jnp.zeros_like(tracker.z), tracker.z)

    def step(
        self, state: DirectState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> DirectState:
        tracker = advance(state.tracker, self.frame, action, dt)
        step = dt / self.spacing
        lead = state.lead + step
        walk = state.walk + jnp.sqrt(step) * jax.random.normal(key, state.walk.shape)
        rank = jax.scipy.stats.norm.cdf(walk / jnp.sqrt(jnp.maximum(lead, 1e-6)))
        weights, quantiles = self._at(state.start.age + lead)
        point = _point(self.rule, state.start, tracker, lead, weights)
        noise = jax.vmap(lambda q, r: jnp.interp(r, jnp.asarray(_PROBS, jnp.float32), q))(quantiles, rank)
        z = jnp.clip(point + noise, self.frame.scale.lowest, self.frame.scale.highest)
        return DirectState(state.t + dt, state.start, tracker, lead, walk, z)

    def observe(self, state: DirectState) -> Observation:
        value = self.frame.scale.to_x(state.z)
        return Observation(value, jnp.zeros_like(value))

    def _at(self, lead: Float[Array, " d"]) -> tuple[Float[Array, "d q"], Float[Array, "d n"]]:
        """Weights and residual quantiles of each channel at its own lead, between the nodes on a log scale."""
        log = jnp.log(self.nodes)
        place = jnp.interp(jnp.log(jnp.maximum(lead, 1e-6)), log, jnp.arange(len(log), dtype=jnp.float32))
        below = jnp.floor(place).astype(jnp.int32)
        above = jnp.minimum(below + 1, len(log) - 1)
        share = (place - below.astype(jnp.float32))[:, None]
        d = jnp.arange(lead.shape[0])

        def mix(table: Array) -> Array:
            return table[below, d] * (1 - share) + table[above, d] * share

        return mix(self.weights), mix(self.quantiles)


def _inputs(start: Tracker) -> Float[Array, "d f"]:
    """What direct ridge knows at the origin, one row a channel."""
    d = start.z.shape[0]
    rate = jnp.where(start.lag > 0, (start.z - start.prev) / jnp.maximum(start.lag, 1e-3), 0.0)
    away = (start.z[:, None] - start.mean).reshape(-1)
    shared = jnp.concatenate([jnp.ones(1), start.z, jnp.clip(rate, -3.0, 3.0), away, start.e[:, 1], start.traits])
    return jnp.broadcast_to(shared[None, :], (d, shared.shape[0]))


def _given(start: Tracker, given: Float[Array, "d a"], lead: Float[Array, " d"]) -> Float[Array, "d g"]:
    """Mean doses from the origin to the target, alone and times the channel's own last value."""
    dose = given / jnp.maximum(lead, 1e-3)[:, None]
    return jnp.concatenate([dose, start.z[:, None] * dose], axis=1)


def _slope(start: Tracker) -> Float[Array, " d"]:
    """The subject's own least-squares slope, per spacing; 0 before a second reading."""
    _, _, _, s_tt, s_tz = start.moments
    return jnp.where(s_tt > 1e-6, s_tz / jnp.maximum(s_tt, 1e-6), 0.0)


def _point(rule: Rule, start: Tracker, now: Tracker, lead: Array, weights: Float[Array, "d q"]) -> Float[Array, " d"]:
    ahead = start.age + lead
    if rule == "persistence":
        return start.z
    if rule == "mean":
        return weights[:, 0]
    if rule == "trend":
        return start.z + _slope(start) * ahead
    row = jnp.concatenate([_inputs(start), _given(start, now.given, jnp.broadcast_to(lead, ahead.shape))], axis=1)
    return start.z + jnp.sum(row * weights, axis=1)


def fit_direct(spec: WorldSpec, frame: Frame, pairs: Pairs, rule: Rule) -> Direct:
    """Fit one rule at every node: weights by ridge (penalty 1 on standardised columns), residual quantiles."""
    d, h = len(spec.channels), len(pairs.nodes)
    n_inputs = jax.eval_shape(_inputs, jax.tree.map(lambda a: a[0], pairs.start)).shape[1]
    width = n_inputs + 2 * len(spec.actions) if rule == "direct" else 1
    weights, quantiles = np.zeros((h, d, width)), np.zeros((h, d, len(_PROBS)))
    inputs = np.asarray(jax.vmap(_inputs)(pairs.start), np.float64)
    z0 = np.asarray(pairs.start.z, np.float64)
    slope = np.asarray(jax.vmap(_slope)(pairs.start), np.float64)
    for i in range(h):
        for j in range(d):
            ok = pairs.valid[:, i, j]
            if not ok.any():
                weights[i, j], quantiles[i, j] = weights[i - 1, j], quantiles[i - 1, j]
                continue
            z, lead = pairs.z[ok, i, j], pairs.lead[ok, i, j]
            if rule == "direct":
                given = pairs.dose[ok, i, j]
                X = np.concatenate([inputs[ok, j], given, z0[ok, j, None] * given], axis=1)
                weights[i, j] = _ridge(X, z - z0[ok, j])
                point = z0[ok, j] + X @ weights[i, j]
            elif rule == "mean":
                weights[i, j] = z.mean()
                point = np.full(len(z), z.mean())
            else:
                point = z0[ok, j] + (slope[ok, j] * lead if rule == "trend" else 0.0)
            quantiles[i, j] = np.quantile(z - point, _PROBS)
    arrays = (jnp.asarray(a, jnp.float32) for a in (pairs.nodes, weights, quantiles))
    return Direct(spec, frame.spacing, rule, frame, *arrays)


def _ridge(X: Float[np.ndarray, "n q"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " q"]:
    """Least squares with a unit penalty on every standardised column but the constant."""
    mean, sd = X.mean(0), X.std(0)
    flat = sd < 1e-8
    sd = np.where(flat, 1.0, sd)
    Z = np.where(flat, 0.0, (X - mean) / sd)
    beta = np.linalg.solve(Z.T @ Z + np.eye(X.shape[1]), Z.T @ (y - y.mean())) / sd
    beta[0] = y.mean() - beta[1:] @ mean[1:]
    return beta
