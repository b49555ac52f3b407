"""Which share of cells does not answer, by the energy distance between clouds of latent cells.

The mean of every condition is taken as it was seen, so that the share is about the shape of the cloud alone. It is kept
only if it brings clouds nearer of conditions it was not fitted to.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from biowm.core.interval import Interval
from biowm.core.populations import energy_distance
from biowm.models.cells.pool import Escape
from biowm.models.residuals.descent import descended

_STEPS, _RATE, _RIDGE, _START = 150, 0.1, 0.05, -2.0
_AT_ONCE = 32


def fit_escape(
    base: Float[np.ndarray, "c p k"], cells: Float[np.ndarray, "c n k"], weight: Float[np.ndarray, "c n"],
    dose: Float[np.ndarray, "c a"], seed: int,
) -> tuple[Escape, Interval | None]:  # fmt: skip
    """The share by set, and what it takes off the energy distance of held-out conditions (paired; None: not tried).

    Args: latent control cells `base` of the context of each condition, its own `cells` (rows of weight 0 are padding).
    """
    n = len(cells)
    none = Escape(jnp.zeros(()), jnp.asarray(_START), jnp.zeros(dose.shape[1]))
    if n < 4:
        return none, None
    order = np.random.default_rng([seed, 6]).permutation(n)
    gains = np.empty(n)
    for held in (order[::2], order[1::2]):
        rest = np.setdiff1d(order, held)
        learned = _fit(none, base[rest], cells[rest], weight[rest], dose[rest], seed)
        parts = (base[held], cells[held], weight[held], dose[held])
        gains[held] = np.asarray(_energies(none, *parts)) - np.asarray(_energies(learned, *parts))
    mean, error = float(gains.mean()), float(gains.std(ddof=1) / np.sqrt(n))
    gain = Interval(mean, mean - 1.96 * error, mean + 1.96 * error, n)
    return (_fit(none, base, cells, weight, dose, seed) if gain.low > 0 else none), gain


def _fit(start: Escape, base: np.ndarray, cells: np.ndarray, weight: np.ndarray, dose: np.ndarray, seed: int) -> Escape:
    rng, at_once = np.random.default_rng([seed, 7]), min(_AT_ONCE, len(cells))
    rows = np.stack([rng.choice(len(cells), at_once, replace=False) for _ in range(_STEPS)]).astype(np.int32)
    common, members = _learned(start, jnp.asarray(rows), *(jnp.asarray(a) for a in (base, cells, weight, dose)))
    return Escape(jnp.ones(()), common, members)


@jax.jit
def _learned(
    start: Escape, rows: Int[Array, "s b"], base: Array, cells: Array, weight: Array, dose: Array
) -> tuple[Array, Array]:
    def loss(weights: tuple[Array, Array], now: Array) -> Array:
        escape = Escape(jnp.ones(()), *weights)
        far = _energies(escape, base[now], cells[now], weight[now], dose[now])
        return jnp.mean(far) + _RIDGE * jnp.mean(weights[1] ** 2)

    return descended(loss, (start.common, start.members), rows, rate=_RATE, decay=0.0)[0]


@jax.jit
def _energies(
    escape: Escape, base: Float[Array, "c p k"], cells: Float[Array, "c n k"], weight: Float[Array, "c n"],
    dose: Float[Array, "c a"],
) -> Float[Array, " c"]:  # fmt: skip
    """The energy distance of every condition's cells to the controls moved by its own mean response."""

    def one(now: tuple[Array, Array, Array, Array]) -> Array:
        start, seen, w, share = now
        response = (w @ seen) / w.sum() - start.mean(0)
        cloud = jnp.concatenate([start + response[None] / (1 - share), start])
        p = jnp.ones(start.shape[0])
        return energy_distance(cloud, seen, x_weights=jnp.concatenate([p * (1 - share), p * share]), y_weights=w)

    parts = (base, cells, weight, jax.vmap(escape.share)(dose))
    return jax.lax.map(one, parts, batch_size=_AT_ONCE)  # not all at once: there may be thousands
