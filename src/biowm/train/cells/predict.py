"""Populations that were never measured: their mean expression, and their cells."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from biowm.core.forecast import forecast, shares
from biowm.core.queries import Queries
from biowm.core.world import World
from biowm.models.cells.moved import fold_for, matched, moved_counts, read_again

from ..fitted import Fitted
from ..screens import condition_paths
from .part import CellPart

_DRAWS = 256


def predict_responses(
    world: World, dose: Float[np.ndarray, "c a"], traits: Float[np.ndarray, "c s"], hours: Float[np.ndarray, " c"],
    key: PRNGKeyArray, draws: int = _DRAWS, progress: Callable[[float], None] = lambda share: None,
) -> Float[np.ndarray, "c n k"]:  # fmt: skip
    """Draws of the latent mean response of every condition at its time, free-running from the start."""
    nothing = np.full((len(dose), len(world.spec.channels)), np.nan)
    paths = condition_paths(dose, traits, hours, nothing)
    when = np.asarray(hours, np.float32)[:, None]
    rows = np.arange(len(dose))
    asked = Queries(rows, np.zeros_like(rows), when)
    return forecast(world, paths, asked, key=key, draws=draws, progress=progress)[:, :, 0]


def predict_means(
    fitted: Fitted, dose: Float[np.ndarray, "c a"], traits: Float[np.ndarray, "c s"], hours: Float[np.ndarray, " c"],
    key: PRNGKeyArray, world: World | None = None,
) -> Float[np.ndarray, "c g"]:  # fmt: skip
    """Mean log1p expression of every gene in every condition, by the fitted world or another member of it."""
    cells = _cells(fitted)
    context = cells.context(traits)
    response = predict_responses(world or fitted.world, dose, traits, hours, key).mean(1)
    return np.maximum(cells.controls[context] + response @ cells.loadings.T, 0.0)


def predict_cells(
    fitted: Fitted, dose: Float[np.ndarray, "c a"], traits: Float[np.ndarray, "c s"], hours: Float[np.ndarray, " c"],
    count: int, key: PRNGKeyArray, progress: Callable[[float], None] = lambda share: None,
) -> Float[np.ndarray, "c n g"]:  # fmt: skip
    """`count` cells of every condition, in the matrix's own kind (counts, or log1p), about the means that are foretold.

    Raises: BadInput for a context without control cells.
    """
    wanted = predict_means(fitted, dose, traits, hours, key)
    return cells_about(fitted, wanted, dose, traits, count, key, progress)


def cells_about(
    fitted: Fitted, wanted: Float[np.ndarray, "c g"], dose: Float[np.ndarray, "c a"], traits: Float[np.ndarray, "c s"],
    count: int, key: PRNGKeyArray, progress: Callable[[float], None] = lambda share: None,
) -> Float[np.ndarray, "c n g"]:  # fmt: skip
    """`count` cells of every condition whose genes have the means `wanted` (log1p).

    Cells of the nearest populations that were measured (controls, or those that part of the set was given), each in its
    own batch and with its own noise; the cells that answer what is added are moved until the population's mean is as
    wanted. Raises: BadInput for a context without control cells.
    """
    cells = _cells(fitted)
    context = cells.context(traits)
    out = np.empty((len(dose), count, len(cells.spec.channels)), np.float32)
    for i in range(len(dose)):
        rng = np.random.default_rng(np.asarray(jax.random.key_data(jax.random.fold_in(key, i + 1))))
        near = cells.pool.nearest(int(context[i]), dose[i])
        parts = [
            _moved(cells, int(m), wanted[i], dose[i], n, rng)
            for m, n in zip(near, shares([1 / len(near)] * len(near), count), strict=True)
        ]
        out[i] = np.concatenate(parts)
        progress((i + 1) / len(dose))
    return out


def _moved(
    cells: CellPart, population: int, wanted: Float[np.ndarray, " g"], dose: Float[np.ndarray, " a"], count: int,
    rng: np.random.Generator,
) -> Float[np.ndarray, "n g"]:  # fmt: skip
    """Cells of a population as they would be read in one of this mean, by what is added to it.

    Where more are asked for than there are, cells come again with a reading of their own: never twice the same.
    """
    pool = cells.pool
    base = np.flatnonzero(np.asarray(pool.of) == population)
    rows = np.concatenate([rng.permutation(base)[:count], rng.choice(base, max(count - len(base), 0))])
    given = np.asarray(pool.dose[population])
    escape = float(cells.escape.share(jnp.asarray(np.where(given != 0, 0.0, dose), jnp.float32)))
    answers = rng.random(count) >= escape
    size = np.asarray(pool.size)[rows]
    mean = _expected(cells, base)[np.searchsorted(base, rows)]
    spread = np.exp(np.asarray(cells.decoder.spread))
    x = np.array(np.asarray(pool.x)[rows])
    x[len(base) :] = _again(cells, rows[len(base) :], mean[len(base) :], rng)
    read = cells.log1p(x, size)
    # The mean is asked of these very cells, in their batches: what the sample has of its own is not the population's.
    wanted = wanted + np.asarray(cells.encoder.offset)[np.asarray(pool.batch)[rows]].mean(0)
    target = (wanted * count - read[~answers].sum(0)) / max(answers.sum(), 1)
    if not cells.counted:
        return read + np.where(answers[:, None], target - read[answers].mean(0), 0.0).astype(np.float32)
    moved = x.copy()
    if answers.any():
        ours = x[answers], mean[answers], spread
        moved[answers] = moved_counts(*ours, fold_for(*ours, size[answers], np.maximum(target, 0.0)), rng)
    return cells.written(moved, size)


def _expected(cells: CellPart, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n g"]:
    """What the decoder expects of all cells of a population; of counts, its totals are those that were read."""
    pool, taken = cells.pool, jnp.asarray(rows)
    mean = np.asarray(jax.vmap(cells.decoder.mean)(pool.z[taken], pool.size[taken], pool.batch[taken]))
    return matched(mean, np.asarray(pool.x)[rows]) if cells.counted else mean


def _again(
    cells: CellPart, rows: Int[np.ndarray, " n"], mean: Float[np.ndarray, "n g"], rng: np.random.Generator
) -> Float[np.ndarray, "n g"]:
    """Cells in `rows` of the pool, read once more: counts of the same cell, or values about what the decoder says."""
    spread = np.exp(np.asarray(cells.decoder.spread))
    if cells.counted:
        return read_again(np.asarray(cells.pool.x)[rows], mean, spread, rng)
    return (mean + spread * rng.standard_normal(mean.shape)).astype(np.float32)


def _cells(fitted: Fitted) -> CellPart:
    if fitted.cells is None:
        raise ValueError("this world was not fitted to single cells")
    return fitted.cells
