"""The decoder's fit: stochastic gradient ascent of the likelihood, cells streamed from disk in shuffled blocks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from biowm.data.screens import Screen
from biowm.models.cells.decoder import CellDecoder, CellEncoder, CountDecoder, NormalDecoder, encoded
from biowm.models.cells.reading import pooled, read_cells

from .sums import CHUNK, CellSums

_BATCH, _STEPS, _EPOCHS, _RATE = 256, 400, 50, 0.02
_SHRUNK = 1e-3  # weights of the latent cell and of batches, as if each had a normal prior (per cell seen)


def fit_decoder(
    screen: Screen, chosen: Bool[np.ndarray, " n"], sums: CellSums, encoder: CellEncoder, seed: int,
    tell: Callable[[float], None] = lambda share: None,
) -> CellDecoder:  # fmt: skip
    """The likeliest decoder of the `chosen` cells: an epoch, or as many as make 400 steps (at most fifty)."""
    start = _start(sums, encoder)
    cells = screen.cells.only(np.flatnonzero(chosen))
    batch = screen.batch[chosen]
    n = cells.shape[0]
    at_once = int(np.clip(n // 8, 1, _BATCH))
    epochs = int(np.clip(-(-_STEPS * at_once // n), 1, _EPOCHS))
    total = epochs * -(-n // at_once)
    optimiser = optax.chain(
        optax.clip_by_global_norm(10.0), optax.adam(optax.cosine_decay_schedule(_RATE, total, 0.05))
    )
    decoder, memory = start, optimiser.init(eqx.filter(start, eqx.is_array))
    step = eqx.filter_jit(partial(_step, optimiser))
    rng, left, done = np.random.default_rng([seed, 5]), None, 0
    for epoch in range(epochs):
        for where, x in cells.chunks(CHUNK, cells.shuffled(CHUNK, seed + epoch)):
            read = read_cells(x, screen.kind)
            y, size = pooled(read, sums.counted)
            z = encoded(encoder, read.log1p, batch[where])
            rows = [y, z, size, batch[where].astype(np.int32)]
            rows = rows if left is None else [np.concatenate(pair) for pair in zip(left, rows, strict=True)]
            order = rng.permutation(len(rows[0]))
            whole = len(order) // at_once * at_once
            for part in order[:whole].reshape(-1, at_once):
                decoder, memory = step(decoder, memory, *(jnp.asarray(a[part]) for a in rows))
            left = [a[order[whole:]] for a in rows]
            done += len(where)
            tell(done / (epochs * n))
    return decoder


def _start(sums: CellSums, encoder: CellEncoder) -> CellDecoder:
    mean = np.maximum(np.expm1(sums.total.sum((0, 1)) / max(sums.cells.sum(), 1.0)), 1e-4)
    (g, k), b = encoder.basis.shape, encoder.offset.shape[0]
    flat, none = jnp.zeros((g, k)), jnp.zeros((b, g))
    if sums.counted:
        return CountDecoder(weights=flat, batch=none, level=jnp.asarray(np.log(mean), jnp.float32), spread=jnp.zeros(g))
    noise = np.sqrt(np.maximum(np.diag(sums.gram) / max(sums.sampled, 1), 1e-4))
    spread = jnp.asarray(np.log(noise), jnp.float32)
    return NormalDecoder(weights=encoder.basis, batch=encoder.offset, level=encoder.centre, spread=spread)


def _step(
    optimiser: optax.GradientTransformation,
    decoder: CellDecoder,
    memory: optax.OptState,
    x: Float[Array, "n g"],
    z: Float[Array, "n k"],
    size: Float[Array, " n"],
    batch: Int[Array, " n"],
) -> tuple[CellDecoder, optax.OptState]:
    def loss(d: CellDecoder) -> Array:
        small = jnp.sum(d.weights**2) + jnp.sum(d.batch**2)
        return -jnp.mean(jnp.sum(jax.vmap(d.log_prob)(x, z, size, batch), -1)) + _SHRUNK * small

    slope = jax.grad(loss)(decoder)
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to the power of integers
        change, memory = optimiser.update(slope, memory)
    return eqx.apply_updates(decoder, change), memory
