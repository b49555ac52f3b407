"""Rules that jump straight to a horizon: persistence, mean, the subject's own trend, and direct ridge.

All four are one world: the point forecast at lead h is linear in what is known at the origin and in what is
given up to h, with weights fixed by the rule (persistence, mean, trend) or fitted (direct). Residuals follow
the empirical quantiles of the training residuals at h, carried by a Brownian copula, so that every path is
coherent and every margin is the empirical one.
"""

from __future__ import annotations

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from biowm.core.arrays import AnyArray
from biowm.core.buckets import filled
from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.core.world import Observation, State

from ..candidate import Candidate
from ..tracker import Frame, Tracker, advance
from .pairs import Pairs
from .remember import History, Remembering, at_origin

Rule = Literal["persistence", "mean", "trend", "direct"]
RULES: tuple[Rule, ...] = ("persistence", "mean", "trend", "direct")
_PROBS = np.linspace(0.005, 0.995, 67)


class DirectState(State):
    """The tracker at the origin (`start`), the tracker now, and the Brownian path of the residual."""

    t: Float[Array, ""]
    start: Tracker
    tracker: Tracker
    lead: Float[Array, ""]
    walk: Float[Array, " d"]
    z: Float[Array, " d"]


@register("models", "Direct")
class Direct(Remembering):
    """A direct rule: coefficients and residual quantiles at the lead times `nodes` (spacings)."""

    spec: WorldSpec = eqx.field(static=True)
    spacing: float = eqx.field(static=True)
    frame: Frame
    nodes: Float[Array, " h"]
    weights: Float[Array, "h d q"]
    quantiles: Float[Array, "h d n"]

    def draw(self, belief: History, *, key: PRNGKeyArray) -> DirectState:
        tracker = belief.tracker
        still = jnp.zeros_like(tracker.z)
        return DirectState(belief.t, tracker, at_origin(tracker), jnp.zeros(()), still, tracker.z)

    def step(
        self, state: DirectState, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> DirectState:
        tracker = advance(state.tracker, self.frame, action, dt)
        step = dt / self.spacing
        lead = state.lead + step
        walk = state.walk + jnp.sqrt(step) * jax.random.normal(key, state.walk.shape)
        rank = jax.scipy.stats.norm.cdf(walk / jnp.sqrt(jnp.maximum(lead, 1e-6)))
        weights, quantiles = self._at(state.start.age + lead)
        row = _row(state.start, tracker.given, state.start.age + lead, lead)
        point = state.start.z + jnp.sum(row * weights, axis=1)
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


def _row(
    start: Tracker, given: Float[Array, "d a"], ahead: Float[Array, " d"], lead: Float[Array, ""]
) -> Float[Array, "d q"]:
    """One row a channel: 1, last values, own trend, pace, recent means, exposures, traits, mean doses to come.

    `ahead` counts from the channel's last reading, `lead` from the origin, `given` are doses since the origin.
    """
    d = start.z.shape[0]
    _, _, _, s_tt, s_tz = start.moments
    trend = jnp.where(s_tt > 1e-6, s_tz / jnp.maximum(s_tt, 1e-6), 0.0) * ahead
    rate = jnp.where(start.lag > 0, (start.z - start.prev) / jnp.maximum(start.lag, 1e-3), 0.0)
    away = (start.z[:, None] - start.mean).reshape(-1)
    shared = jnp.concatenate([jnp.clip(rate, -3.0, 3.0), away, start.e[:, 1], start.traits])
    dose = given / jnp.maximum(lead, 1e-3)
    return jnp.concatenate(
        [
            jnp.ones((d, 1)),
            jnp.broadcast_to(start.z[None, :], (d, d)),
            trend[:, None],
            jnp.broadcast_to(shared[None, :], (d, shared.shape[0])),
            dose,
            start.z[:, None] * dose,
        ],
        axis=1,
    )


def fit_direct(spec: WorldSpec, frame: Frame, pairs: Pairs, rule: Rule) -> Direct:
    """Fit one rule at every node: weights by ridge (penalty 1 on standardised columns), residual quantiles."""
    d, h = len(spec.channels), len(pairs.nodes)
    n, z0 = len(pairs.subject), np.asarray(pairs.start.z, np.float64)
    start = filled(pairs.start)
    weights, quantiles = [], []
    for i in range(h):
        rows = np.asarray(_rows(start, *filled((pairs.dose[:, i], pairs.lead[:, i]))), np.float64)[:n]
        for j in range(d):
            ok = pairs.valid[:, i, j]
            if not ok.any() and i == 0:
                raise ValueError(f"channel {spec.channels[j].name!r} has no two readings of one subject")
            if not ok.any():  # nobody was read this far ahead: what holds at the node before
                weights.append(weights[-d])
                quantiles.append(quantiles[-d])
                continue
            X, rise = rows[ok, j], pairs.z[ok, i, j] - z0[ok, j]
            w = np.zeros(X.shape[1])
            if rule == "direct":
                w = _ridge(np.delete(X, d + 1, axis=1), rise)
                w = np.insert(w, d + 1, 0.0)
            elif rule == "mean":
                w[0], w[1 + j] = pairs.z[ok, i, j].mean(), -1.0
            elif rule == "trend":
                w[d + 1] = 1.0
            weights.append(w)
            quantiles.append(np.quantile(rise - X @ w, _PROBS))
    weights, quantiles = (np.stack(v).reshape(h, d, -1) for v in (weights, quantiles))
    arrays = (jnp.asarray(a, jnp.float32) for a in (pairs.nodes, weights, quantiles))
    return Direct(spec, frame.spacing, frame, *arrays)


@register("candidates", "direct")
def candidates() -> tuple[Candidate, ...]:
    """The four rules."""
    return tuple(_candidate(rule) for rule in RULES)


def _candidate(rule: Rule) -> Candidate:
    return Candidate(rule, True, lambda m: fit_direct(m.spec, m.frame, m.pairs, rule))


@eqx.filter_jit
def _rows(start: Tracker, dose: Float[AnyArray, "n d a"], lead: Float[AnyArray, "n d"]) -> Float[Array, "n d q"]:
    """Rows of the training pairs at one node; `dose` is already a mean, so that it is given over a lead of one."""
    row = jax.vmap(lambda start, dose, lead: _row(start, dose, lead, jnp.ones(())))
    return row(start, jnp.asarray(dose, jnp.float32), jnp.asarray(lead, jnp.float32))


def _ridge(X: Float[np.ndarray, "n q"], y: Float[np.ndarray, " n"]) -> Float[np.ndarray, " q"]:
    """Least squares with a unit penalty on every standardised column but the constant (column 0)."""
    mean, sd = X.mean(0), X.std(0)
    flat = sd < 1e-8
    sd = np.where(flat, 1.0, sd)
    Z = np.where(flat, 0.0, (X - mean) / sd)
    beta = np.linalg.solve(Z.T @ Z + np.eye(X.shape[1]), Z.T @ (y - y.mean())) / sd
    beta[0] = y.mean() - beta[1:] @ mean[1:]
    return beta
