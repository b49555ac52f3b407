"""Held-out metrics of a screen of cells: mean responses of genes, and populations, of conditions nobody learned from.

Responses of the truth are measured from control cells that are kept apart (`train.cells.sums`), those of predictions
from the controls they were made with: with common controls, noise would be foretold (arXiv:2409.04949).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Float, Int

from biowm.core.interval import Interval, Role, Row, row
from biowm.core.populations import energy_distance
from biowm.data.screens import Screen
from biowm.models.cells.reading import read_cells
from biowm.train.calibrate import band
from biowm.train.cells.part import CellPart, population
from biowm.train.cells.predict import cells_about, predict_means, predict_responses
from biowm.train.cells.sums import APART, parts_of
from biowm.train.fitted import Fitted

from .metrics import Metric, given, interval, tally
from .populations import pearson_delta

_MOST_CELLS, _CLOUD, _AT_ONCE = 2000, 200, 8
_GIVEN = Metric(given)
GENES = "genes"  # the split of rows on genes and populations


def cell_rows(
    fitted: Fitted, screen: Screen, *, seed: int = 0, progress: Callable[[float], None] = lambda share: None
) -> tuple[Row, ...]:
    """Rows of `world`, `world:no-rules` and every rule on the held-out conditions, split `genes`; () without any.

    pearson_delta (correlation over genes of predicted and true response), rmse_delta (log1p expression), and of the
    world, of no change and of the shifted mean the energy distance of populations over all genes.
    """
    cells = fitted.cells
    if cells is None or fitted.cohort is None:
        return ()
    test = [n for n, part in zip(fitted.cohort.subjects, fitted.cohort.split, strict=True) if part == "test"]
    where = np.array([screen.conditions.index(name) for name in test], int)
    if not len(where):
        return ()
    parts = parts_of(screen, seed)
    context = cells.context(screen.traits)
    truth = np.stack([_mean(screen, cells, np.flatnonzero(screen.of == c)) for c in where])
    kept = screen.control[screen.of] & (parts == APART)
    from_ = np.stack([_mean(screen, cells, np.flatnonzero(kept & (context[screen.of] == context[c]))) for c in where])
    start = cells.controls[context[where]]
    asked = screen.dose[where], screen.traits[where], screen.hours[where]
    key = jax.random.key(seed)
    worlds = {"world": fitted.world, "world:no-rules": fitted.rules_free}
    worlds |= {r.name: fitted.members[r.name] for r in fitted.race.rows if r.is_rule}
    rows, means, true = [], {}, truth - from_
    for i, (name, world) in enumerate(worlds.items()):
        role: Role = "ours" if name.startswith("world") else "baseline"
        means[name] = predict_means(fitted, *asked, key, world)
        r = pearson_delta(means[name], truth, predicted_control=start, true_control=from_)
        said = means[name] - start
        rows.append(row(name, role, GENES, "pearson_delta", _over(r, where)))
        rows.append(row(name, role, GENES, "rmse_delta", _over(np.sqrt(((said - true) ** 2).mean(1)), where)))
        progress(0.8 * (i + 1) / len(worlds))
    rows.append(_covered(fitted, asked, truth, key, where))
    rows += _populations(fitted, screen, where, means["world"], key, seed)
    progress(1.0)
    return tuple(rows)


def _covered(
    fitted: Fitted, asked: tuple[np.ndarray, np.ndarray, np.ndarray], truth: Float[np.ndarray, "t g"], key: jax.Array,
    where: Int[np.ndarray, " t"],
) -> Row:  # fmt: skip
    """How many of a held-out condition's genes lie in the 90 % band of each; a few conditions at a time."""
    genes, inside = population(fitted), np.empty(len(where))
    for i, rows in enumerate(np.array_split(np.arange(len(where)), -(-len(where) // _AT_ONCE))):
        now = (asked[0][rows], asked[1][rows], asked[2][rows])
        draws = predict_responses(genes.world, *now, jax.random.fold_in(key, i))[:, :, None]
        _, low, high = band(genes.calibration, genes.spec, draws, now[2][:, None], "pointwise")
        inside[rows] = ((truth[rows] >= low[:, 0]) & (truth[rows] <= high[:, 0])).mean(1)
    return row("world", "ours", GENES, "coverage90", _over(inside, where))


def _populations(
    fitted: Fitted,
    screen: Screen,
    where: Int[np.ndarray, " t"],
    said: Float[np.ndarray, "t g"],
    key: jax.Array,
    seed: int,
) -> list[Row]:
    """Energy distances to the cells of the held-out conditions."""
    cells = fitted.cells
    assert cells is not None
    made = read_of(cells_about(fitted, said, screen.dose[where], screen.traits[where], _CLOUD, key), screen)
    context = cells.context(screen.traits)
    rng = np.random.default_rng([seed, 11])
    found: dict[str, list[float]] = {"world": [], "no change": [], "mean shift": []}
    pool, of = cells.pool, np.asarray(cells.pool.of)
    for i, c in enumerate(where):
        index = np.sort(rng.permutation(np.flatnonzero(screen.of == c))[:_CLOUD])
        true = read_cells(screen.cells.rows(index), screen.kind).log1p.astype(np.float64)
        none = np.isin(of, pool.nearest(int(context[c]), np.zeros(screen.dose.shape[1])))
        chosen = rng.permutation(np.flatnonzero(none))[:_CLOUD]
        base = cells.log1p(np.asarray(pool.x)[chosen], np.asarray(pool.size)[chosen])
        shifted = base + said[i] - cells.controls[context[c]]
        for name, cloud in (("world", made[i]), ("no change", base), ("mean shift", shifted)):
            found[name].append(float(energy_distance(cloud.astype(np.float64), true)))
    roles: dict[str, Role] = {"world": "ours", "no change": "baseline", "mean shift": "baseline"}
    return [row(n, roles[n], GENES, "energy", _over(np.array(v), where)) for n, v in found.items()]


def read_of(x: Float[np.ndarray, "c n g"], screen: Screen) -> Float[np.ndarray, "c n g"]:
    """Made cells as log1p expression."""
    if screen.kind == "log1p":
        return x
    return np.stack([read_cells(cloud, "counts").log1p for cloud in x])


def _mean(screen: Screen, cells: CellPart, rows: Int[np.ndarray, " n"]) -> Float[np.ndarray, " g"]:
    """Mean log1p expression of some cells, freed of what their batches add."""
    total = np.zeros(len(cells.spec.channels))
    for part in np.array_split(rows, max(1, -(-len(rows) // _MOST_CELLS))):
        total += read_cells(screen.cells.rows(part), screen.kind).log1p.sum(0)
    return total / max(len(rows), 1) - np.asarray(cells.encoder.offset)[screen.batch[rows]].mean(0)


def _over(values: Float[np.ndarray, " t"], where: Int[np.ndarray, " t"]) -> Interval:
    return interval(tally(_GIVEN, values, where))
