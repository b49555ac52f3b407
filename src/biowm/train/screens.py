"""Fit a screen of single cells: its conditions' mean responses run the race, its cells are encoded, decoded, moved.

A condition is a path that is asked from its start (docs/decisions/0006): its reading is the mean of its cells minus
that of its context's controls, on directions of the response that independent parts of the cells tell from noise. The
race, bands, support and artefact are those of every other study; genes and cells are that world, seen through its
loadings and its decoder.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.condition import condition
from biowm.core.path import Path, stack
from biowm.core.record import Record
from biowm.core.spec import Channel, WorldSpec
from biowm.data.screens import Screen
from biowm.data.splits import drawn
from biowm.models.cells.decoder import CellEncoder, encoded
from biowm.models.cells.pool import CellPool
from biowm.models.cells.reading import pooled, read_cells

from .cells.decoder_fit import fit_decoder
from .cells.escape_fit import fit_escape
from .cells.part import CellPart
from .cells.signal import Signal, controls, find_signal, means, offsets, responses
from .cells.sums import APART, QUARTERS, CellSums, parts_of, sum_cells
from .cells.trust import trust_of_genes
from .contest import Progress, silent
from .fit import Answers, fit_paths
from .fitted import Cohort, Fitted
from .horizons import declared
from .stages import Stages

_WITHIN = 16  # directions in which cells of one condition differ
_CONTROLS, _CLOUD, _LEAST, _MOST = 1000, 200, 30, 4e7  # cells kept of controls, of a condition; numbers kept in all
HALVES = ((0, 1), (2, 3))  # every condition is read twice, so that its noise is known


def fit_screen(
    screen: Screen, *, seed: int = 0, thorough: bool = False, stages: Stages | None = None,
    progress: Progress | None = None,
) -> Fitted:  # fmt: skip
    """Fit the default world to the training conditions of a screen; its test conditions are not learned from.

    Where cells of held-out conditions are there, a fifth of the control cells is kept apart: their responses are
    measured from it, so that no prediction shares its controls with the truth. Raises: ValueError where there is too
    little to learn from.
    """
    tell = progress or silent
    split = split_conditions(screen, seed)
    learned = split != "test"
    part = parts_of(screen, seed, bool((~learned)[screen.of].any()))
    sums = sum_cells(screen, part, learned, seed, lambda share: tell("cells, sums", 0.25 * share))
    known, control = _only(sums, learned), screen.control
    traits, context = screen.contexts
    offset = offsets(known, control, context)
    signal = find_signal(known, offset, control, context, learned, seed)
    axes = signal.directions
    mean = means(sums, offset, QUARTERS)
    start = controls(means(known, offset, QUARTERS), known.cells[:APART].sum(0), control, context)
    treated = np.flatnonzero(~control & np.isfinite(mean).all(1))
    halves = [responses(known, offset, half, control, context) @ axes for half in HALVES]
    rows = [np.flatnonzero(learned & ~control & np.isfinite(half).all(1)) for half in halves]
    twice = np.concatenate(rows)
    raced = paths_of(screen, twice, np.concatenate([half[r] for half, r in zip(halves, rows, strict=True)]))
    spec = _latent(screen.spec, axes.shape[1])
    answers: list[Answers] = []
    fitted = fit_paths(
        spec, raced, declared((), raced, spec.clock, spec.targets, "start"), seed=seed,
        units=[screen.conditions[i] for i in twice], thorough=thorough, stages=stages,
        progress=lambda text, share: tell(text, 0.25 + 0.45 * share), heard=answers.append,
    )  # fmt: skip
    inside = _within(known, signal)
    n = known.cells[:APART].sum(0)
    centre = np.average(np.nan_to_num(mean), axis=0, weights=n * control)
    encoder = CellEncoder(*(jnp.asarray(a, jnp.float32) for a in (centre, np.hstack([axes, inside]), offset)))
    chosen = learned[screen.of] & (part != APART)
    decoder = fit_decoder(screen, chosen, known, encoder, seed, lambda share: tell("cells, decoder", 0.7 + 0.2 * share))
    kept = _pool(screen, known, mean, encoder, context, chosen, seed)
    tell("cells that do not answer", 0.9)
    escape, gain = fit_escape(*_clouds(screen, encoder, kept, context, learned, chosen, seed), seed=seed)
    left, trust = trust_of_genes(screen.spec, answers[0], twice, mean, start, axes)
    cells = CellPart(
        spec=screen.spec, kind=screen.kind, counted=sums.counted, encoder=encoder, decoder=decoder, pool=kept,
        escape=escape, loadings=axes, controls=np.stack([start[context == k][0] for k in range(len(traits))]),
        traits=traits, left=left, trust=trust, reproducible=signal.reproducible, agreement=signal.agreement, gain=gain,
        replicate=signal.gain,
    )  # fmt: skip
    paths = paths_of(screen, treated, (mean - start)[treated] @ axes)
    record = fitted.record
    names = tuple(screen.conditions[i] for i in treated)
    metrics = {**record.metrics, "signal": cells.verdict, "agreement": list(signal.agreement)}
    return dataclasses.replace(
        fitted,
        cohort=Cohort(names, paths, tuple(split[treated].tolist()), (0.0,) * len(names)),
        cells=cells,
        record=Record(
            record.kind, {**record.inputs, "study": screen.sha256}, record.config, record.seed, record.parents, metrics
        ),
        study=screen.config.model_dump_json(exclude_defaults=True, by_alias=True),
    )


def split_conditions(screen: Screen, seed: int) -> np.ndarray:
    """The part of every condition: as the table says, or shares of the units that `split.by` names; controls train."""
    if screen.given_split:
        return np.where(screen.control, "train", np.array(screen.given_split))
    by, traits = screen.config.split.by, [t.name for t in screen.spec.traits]
    if by in traits:
        units = [str(row) for row in screen.traits[:, screen.spec.trait_places[traits.index(by)]]]
    else:
        units = list(screen.members if by == "perturbation" else screen.conditions)
    mine = [() if control else (unit,) for unit, control in zip(units, screen.control, strict=True)]
    return drawn(mine, screen.config.split, seed)


def paths_of(screen: Screen, rows: Int[np.ndarray, " n"], response: Float[np.ndarray, "n k"]) -> Path:
    """Conditions as paths: their set is given at 0, and their mean response is read once."""
    return condition_paths(screen.dose[rows], screen.traits[rows], screen.hours[rows], response)


def condition_paths(
    dose: Float[np.ndarray, "n a"], traits: Float[np.ndarray, "n s"], hours: Float[np.ndarray, " n"],
    response: Float[np.ndarray, "n k"],
) -> Path:  # fmt: skip
    """Sets with their contexts as paths that are read at `hours`; a response of NaN is not read."""
    return stack([
        condition({int(a): float(u[a]) for a in np.flatnonzero(u)}, [float(h)], y[None], s)
        for u, s, h, y in zip(dose, traits, hours, response, strict=True)
    ])  # fmt: skip


def _latent(genes: WorldSpec, k: int) -> WorldSpec:
    """The world of the response: what controls are is 0 by definition."""
    channels = tuple(Channel(f"response {i + 1}", "", control=0.0, vector="response") for i in range(k))
    return WorldSpec(genes.name, genes.clock, channels, genes.actions, genes.traits)


def _only(sums: CellSums, learned: Bool[np.ndarray, " c"]) -> CellSums:
    """The sums without held-out conditions and without what is kept apart."""
    total, cells = sums.total.copy(), sums.cells.copy()
    total[:, ~learned], cells[:, ~learned] = 0.0, 0.0
    total[APART], cells[APART] = 0.0, 0.0
    return dataclasses.replace(sums, total=total, cells=cells)


def _within(sums: CellSums, signal: Signal) -> Float[np.ndarray, "g w"]:
    """The leading directions of the spread of cells within conditions, apart from those of the response."""
    v = signal.directions
    gram = sums.gram.astype(np.float64)
    rest = gram - v @ (v.T @ gram)
    rest = rest - (rest @ v) @ v.T
    k = min(_WITHIN, len(gram) - v.shape[1])
    draw = np.random.default_rng(0).standard_normal((len(gram), min(k + 8, len(gram))))
    for _ in range(6):  # subspace iteration: no eigendecomposition of all genes
        draw = np.linalg.qr(rest @ draw)[0]
    values, vectors = np.linalg.eigh(draw.T @ rest @ draw)
    return draw @ vectors[:, np.argsort(values)[::-1][:k]]


def _pool(
    screen: Screen, known: CellSums, mean: np.ndarray, encoder: CellEncoder, context: np.ndarray, chosen: np.ndarray,
    seed: int,
) -> CellPool:  # fmt: skip
    """Cells of every population with enough of them: a thousand at most of controls, two hundred of others."""
    rng = np.random.default_rng([seed, 9])
    order = rng.permutation(np.flatnonzero(chosen))
    order = order[np.argsort(screen.of[order], kind="stable")]
    edges = np.searchsorted(screen.of[order], np.arange(len(screen.conditions) + 1))
    room = int(_MOST / screen.cells.shape[1] / max((~screen.control).sum(), 1))
    most = np.where(screen.control, _CONTROLS, min(_CLOUD, room))
    taken = [order[a:b][:k] for a, b, k in zip(edges[:-1], edges[1:], most, strict=True)]
    groups = [c for c, t in enumerate(taken) if len(t) >= _LEAST or (screen.control[c] and len(t))]
    rows = np.concatenate([taken[c] for c in groups])
    of = np.repeat(np.arange(len(groups)), [len(taken[c]) for c in groups])
    by_place = np.argsort(rows)
    rows, of = rows[by_place], of[by_place]
    read = read_cells(screen.cells.rows(rows), screen.kind)
    x, size = pooled(read, known.counted)
    batch = jnp.asarray(screen.batch[rows], jnp.int32)
    z = jnp.asarray(encoded(encoder, read.log1p, screen.batch[rows]))
    return CellPool(
        x=jnp.asarray(x, jnp.float32), z=z, size=jnp.asarray(size, jnp.float32), batch=batch,
        of=jnp.asarray(of, jnp.int32), dose=jnp.asarray(screen.dose[groups], jnp.float32),
        context=jnp.asarray(context[groups], jnp.int32), mean=jnp.asarray(mean[groups], jnp.float32),
    )  # fmt: skip


def _clouds(
    screen: Screen, encoder: CellEncoder, pool: CellPool, context: np.ndarray, learned: np.ndarray, chosen: np.ndarray,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Latent control cells, cells, their weights and doses of every treated training condition, padded alike."""
    rng = np.random.default_rng([seed, 10])
    rows = np.flatnonzero(learned & ~screen.control)
    order = rng.permutation(np.flatnonzero(chosen & ~screen.control[screen.of]))
    order = order[np.argsort(screen.of[order], kind="stable")]
    edges = np.searchsorted(screen.of[order], [rows, rows + 1])
    taken = [order[a:b][:_CLOUD] for a, b in edges.T]
    index = np.unique(np.concatenate(taken))
    latent = np.empty((len(index), encoder.basis.shape[1]), np.float32)
    for part in np.array_split(np.arange(len(index)), max(1, len(index) // 2048)):
        read = read_cells(screen.cells.rows(index[part]), screen.kind)
        latent[part] = encoded(encoder, read.log1p, screen.batch[index[part]])
    most = max(len(t) for t in taken)
    cells = np.zeros((len(rows), most, latent.shape[1]), np.float32)
    weight = np.zeros((len(rows), most), np.float32)
    base = np.empty((len(rows), _CLOUD, latent.shape[1]), np.float32)
    z, of = np.asarray(pool.z), np.asarray(pool.of)
    for i, (c, t) in enumerate(zip(rows, taken, strict=True)):
        cells[i, : len(t)] = latent[np.searchsorted(index, t)]
        weight[i, : len(t)] = 1.0
        there = np.flatnonzero(np.isin(of, pool.nearest(int(context[c]), np.zeros(screen.dose.shape[1]))))
        base[i] = z[rng.choice(there, _CLOUD, replace=len(there) < _CLOUD)]
    return base, cells, weight, screen.dose[rows].astype(np.float32)
