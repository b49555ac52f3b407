"""Rules that jump straight to a horizon: persistence, mean, the subject's own trend, and direct ridge.

All are one world: the point forecast at lead h is linear in what is known at the origin and in what is given up to h,
with weights fixed by the rule (persistence, mean, trend) or fitted (direct). Three references, which no race runs, say
what parts of it explain: `no-effect` knows nothing of what is given, `additive` nothing else (each action has an effect
of its own, the same for everybody), and `low-rank` has the two patterns of change that matter most. Residuals follow
the empirical quantiles of the training residuals at h, carried by a Brownian copula, so that every path is coherent and
every margin is the empirical one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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

Rule = Literal["persistence", "mean", "trend", "direct", "no-effect", "additive", "low-rank"]
RULES: tuple[Rule, ...] = ("persistence", "mean", "trend", "direct")
REFERENCES: tuple[Rule, ...] = ("no-effect", "additive", "low-rank")
_RANK = 2
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
    sizes = d, _ = len(spec.channels), len(spec.actions)
    weights = np.stack([_weights(rule, k % d, sizes, *told) for k, told in enumerate(_told(spec, pairs))])
    if rule == "low-rank":
        weights = _low_rank(weights, [(X.mean(0), X.std(0), rise.mean()) for X, rise in _told(spec, pairs)])
    left = (rise - X @ w for (X, rise), w in zip(_told(spec, pairs), weights, strict=True))
    quantiles = np.stack([np.quantile(missed, _PROBS) for missed in left])
    shape = (len(pairs.nodes), d, -1)
    arrays = (jnp.asarray(a, jnp.float32) for a in (pairs.nodes, weights.reshape(shape), quantiles.reshape(shape)))
    return Direct(spec, frame.spacing, frame, *arrays)


@register("candidates", "direct")
def candidates() -> tuple[Candidate, ...]:
    """The four rules."""
    return tuple(_candidate(rule) for rule in RULES)


@register("references", "direct")
def references() -> tuple[Candidate, ...]:
    """What parts of direct ridge explain."""
    return tuple(_candidate(rule) for rule in REFERENCES)


def _candidate(rule: Rule) -> Candidate:
    return Candidate(rule, True, lambda m: fit_direct(m.spec, m.frame, m.pairs, rule))


def _told(spec: WorldSpec, pairs: Pairs) -> Iterator[tuple[Float[np.ndarray, "n q"], Float[np.ndarray, " n"]]]:
    """At each node and for each channel: rows of the pairs there are, and by how much the channel rose.

    Where nobody was read so far ahead: those of the node before. Raises ValueError where no subject was read twice.
    """
    n, z0 = len(pairs.subject), np.asarray(pairs.start.z, np.float64)
    start, last = filled(pairs.start), {}
    for i in range(len(pairs.nodes)):
        rows = np.asarray(_rows(start, *filled((pairs.dose[:, i], pairs.lead[:, i]))), np.float64)[:n]
        for j, channel in enumerate(spec.channels):
            ok = pairs.valid[:, i, j]
            if not ok.any() and i == 0:
                raise ValueError(f"channel {channel.name!r} has no two readings of one subject")
            if ok.any():
                last[j] = rows[ok, j], pairs.z[ok, i, j] - z0[ok, j]
            yield last[j]


def _weights(
    rule: Rule, channel: int, sizes: tuple[int, int], X: Float[np.ndarray, "n q"], rise: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " q"]:
    """The weights of a rule on the columns of `_row`; `sizes` are the numbers of channels and of actions."""
    d, actions = sizes
    w, column = np.zeros(X.shape[1]), np.arange(X.shape[1])
    if rule == "mean":
        w[0], w[1 + channel] = (rise + X[:, 1 + channel]).mean(), -1.0
    elif rule == "trend":
        w[d + 1] = 1.0
    elif rule != "persistence":
        dose = column >= len(column) - 2 * actions
        kept = {"no-effect": ~dose, "additive": (column == 0) | dose & (column < len(column) - actions)}
        used = kept.get(rule, np.full(len(column), True)) & (column != d + 1)
        w[used] = _ridge(X[:, used], rise)
    return w


def _low_rank(
    weights: Float[np.ndarray, "k q"], moments: Sequence[tuple[np.ndarray, np.ndarray, float]]
) -> Float[np.ndarray, "k q"]:
    """Weights (a row a node and channel) by their leading singular vectors on standardised columns, means kept."""
    mean, sd, rise = (np.stack(v) for v in zip(*moments, strict=True))
    left, size, right = np.linalg.svd(weights[:, 1:] * sd[:, 1:], full_matrices=False)
    slopes = (left[:, :_RANK] * size[:_RANK]) @ right[:_RANK] / np.where(sd[:, 1:] < 1e-8, 1.0, sd[:, 1:])
    return np.column_stack([rise - np.sum(slopes * mean[:, 1:], axis=1), slopes])


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
