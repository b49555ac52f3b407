"""What networks share in their training: where their windows begin, the score, and the steps of the optimiser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from biowm.core.path import Path

Learned = TypeVar("Learned", bound=PyTree)


def chosen(paths: Path, most: int, each: int) -> tuple[Int[np.ndarray, " s"], Int[np.ndarray, "s e"]]:
    """`most` subjects (again and again the same where there are fewer), and of each so many readings to start from."""
    rng = np.random.default_rng(0)
    seen = np.asarray(np.isfinite(np.asarray(paths.x)).any(-1))
    subjects = np.sort(np.resize(rng.permutation(np.flatnonzero(seen.sum(1) >= 2)), most))
    origins = [np.flatnonzero(seen[s])[:-1] for s in subjects]
    return subjects, np.stack([rng.choice(o, each, replace=len(o) < each) for o in origins])


def fair_crps(draws: Float[Array, "n ..."], truth: Float[Array, "..."]) -> Float[Array, "..."]:
    """CRPS of the distribution behind the draws, without bias and without sorting (doi:10.1002/qj.2270)."""
    n = draws.shape[0]
    apart = jnp.abs(draws[:, None] - draws[None]).sum((0, 1)) / (n * (n - 1))
    return jnp.abs(draws - truth[None]).mean(0) - 0.5 * apart


def averaged(score: Float[Array, "..."], counted: Bool[Array, "..."]) -> Float[Array, ""]:
    """The mean of the scores that count; 0 where none does."""
    return jnp.sum(jnp.where(counted, score, 0.0)) / jnp.maximum(jnp.sum(counted, dtype=jnp.float32), 1.0)


def descended(
    loss: Callable[[Learned, Any], Float[Array, ""]], start: Learned, inputs: PyTree, *, rate: float, decay: float
) -> tuple[Learned, Float[Array, " steps"]]:
    """Weights after AdamW with a cosine schedule, one step for each of the `inputs` (leading axis), and every loss.

    A step whose loss or gradient is not finite changes nothing.
    """
    steps = jax.tree.leaves(inputs)[0].shape[0]
    schedule = optax.cosine_decay_schedule(rate, steps)
    optimiser = optax.flatten(optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=decay)))

    def body(carry: tuple, now: Any) -> tuple[tuple, Float[Array, ""]]:
        weights, moments = carry
        value, slope = jax.value_and_grad(loss)(weights, now)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to the power of integers
            change, after = optimiser.update(slope, moments, weights)
        sound = jnp.isfinite(value) & jnp.all(jnp.isfinite(ravel_pytree(slope)[0]))
        moved = (optax.apply_updates(weights, change), after)
        return jax.tree.map(lambda a, b: jnp.where(sound, a, b), moved, carry), value

    (weights, _), losses = jax.lax.scan(body, (start, optimiser.init(start)), inputs)
    return weights, losses
