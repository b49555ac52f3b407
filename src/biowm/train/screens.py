"""Fit a screen of single cells: its conditions' mean responses run the race, its cells are encoded, decoded, moved.

A condition is a path that is asked from its start (docs/decisions/0006): its reading is the mean of its cells minus
that of its context's controls, on the directions that independent halves of the cells agree on. The race, bands, support
and artefact are those of every other study; genes and cells are that world, seen through its loadings and its decoder.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.path import Path, stack, take
from biowm.core.record import Record, digest_arrays
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import Channel, WorldSpec
from biowm.data.screens import Screen
from biowm.models.cells.decoder import CellEncoder
from biowm.models.cells.pool import CellPool
from biowm.models.cells.reading import TOTAL, counts_of, read_cells

from .cells.decoder_fit import fit_decoder
from .cells.escape_fit import fit_escape
from .cells.part import CellPart
from .cells.signal import Signal, controls, find_signal, means, offsets
from .cells.sums import QUARTERS, CellSums, quarters, sum_cells
from .cells.trust import trust_of_genes
from .contest import Progress, portion, silent
from .fit import fit_answers
from .fitted import Cohort, Fitted
from .horizons import declared
from .stages import Stages

_WITHIN = 16  # directions in which cells of one condition differ
_POOL, _CLOUD = 1000, 200  # control cells kept of a context, cells looked at of a condition
TRUE_CONTROLS = (QUARTERS - 1,)  # of the control cells: what responses of held-out conditions are measured from


class Responses(NamedTuple):
    """Mean readings [condition, gene] of all cells, of each one's controls, and the context [condition] they are of."""

    mean: Float[np.ndarray, "c g"]
    start: Float[np.ndarray, "c g"]
    context: Int[np.ndarray, " c"]
    traits: Float[np.ndarray, "k s"]


def fit_screen(
    screen: Screen, *, seed: int = 0, thorough: bool = False, stages: Stages | None = None,
    progress: Progress | None = None,
) -> Fitted:  # fmt: skip
    """Fit the default world to the training conditions of a screen; its test conditions are not learned from.

    A quarter of the control cells is kept apart: responses of held-out conditions are measured from them, so that no
    prediction shares its controls with the truth. Raises: ValueError where there is too little to learn from.
    """
    tell = progress or silent
    split = split_conditions(screen, seed)
    test = split == "test"
    learned = ~test
    quarter = quarters(screen, seed)
    apart = screen.control[screen.of] & np.isin(quarter, TRUE_CONTROLS)
    sums = sum_cells(screen, np.ones(len(screen.of), bool), seed, lambda share: tell("cells, sums", 0.25 * share))
    known = _only(sums, learned, screen.control)
    traits, context = np.unique(np.nan_to_num(screen.traits), axis=0, return_inverse=True)
    offset = offsets(known, screen.control, context)
    signal = find_signal(known, offset, screen.control, context, learned, seed)
    responses = _responses(sums, known, offset, screen.control, context, traits)
    treated = np.flatnonzero(~screen.control & np.isfinite(responses.mean).all(1))
    paths = paths_of(screen, treated, (responses.mean - responses.start)[treated] @ signal.directions)
    spec = _latent(screen.spec, signal.directions.shape[1])
    pool = np.flatnonzero(learned[treated])
    fitted, answers = fit_answers(
        spec, take(paths, pool), declared((), take(paths, pool), spec.clock, spec.targets, "start"),
        seed=seed, thorough=thorough, stages=stages,
        progress=lambda text, share: tell(text, 0.25 + 0.45 * share),
    )  # fmt: skip
    inside = _within(known, signal)
    centre = controls(means(known, offset, (0, 1, 2)), known.cells[:3].sum(0), screen.control, np.zeros_like(context))[0]
    encoder = CellEncoder(*(jnp.asarray(a, jnp.float32) for a in (centre, np.hstack([signal.directions, inside]), offset)))
    chosen = learned[screen.of] & ~apart
    decoder = fit_decoder(screen, chosen, known, encoder, seed, lambda share: tell("cells, decoder", 0.7 + 0.2 * share))
    kept = _pool(screen, known, encoder, context, chosen, seed)
    tell("cells that do not answer", 0.9)
    escape, gain = fit_escape(*_clouds(screen, encoder, kept, context, learned, chosen, seed), seed=seed)
    start = np.stack([responses.start[context == k][0] for k in range(len(traits))])
    left, trust = trust_of_genes(
        screen.spec, answers, (responses.mean[treated])[pool], responses.start[treated][pool], signal.directions
    )
    cells = CellPart(
        spec=screen.spec, kind=screen.kind, counted=sums.counted, encoder=encoder, decoder=decoder, pool=kept,
        escape=escape, loadings=signal.directions, controls=start, traits=traits, left=left, trust=trust,
        reproducible=signal.reproducible, agreement=signal.agreement, gain=gain,
    )  # fmt: skip
    record = fitted.record
    names = tuple(screen.conditions[i] for i in treated)
    return dataclasses.replace(
        fitted,
        cohort=Cohort(names, paths, tuple(split[treated].tolist()), (0.0,) * len(names)),
        cells=cells,
        record=Record(
            record.kind, {**record.inputs, "study": screen.sha256}, record.config, record.seed, record.parents,
            {**record.metrics, "signal": cells.verdict, "agreement": list(signal.agreement),
             "cells": digest_arrays([sums.cells])},
        ),
        study=screen.config.model_dump_json(exclude_defaults=True, by_alias=True),
    )  # fmt: skip


def split_conditions(screen: Screen, seed: int) -> np.ndarray:
    """The part of every condition: as the table says, or shares of the units that `split.by` names; controls train."""
    label = np.full(len(screen.conditions), "train", dtype="<U9")
    if screen.given_split:
        label = np.array(screen.given_split, dtype="<U9")
    else:
        by, share = screen.config.split.by, screen.config.split
        names = [t.name for t in screen.spec.traits]
        if by in names:
            units = np.array([str(row) for row in screen.traits[:, screen.spec.trait_places[names.index(by)]]])
        else:
            units = np.array(screen.members if by == "perturbation" else screen.conditions)
        found = np.unique(units[~screen.control])
        order = np.random.default_rng(seed).permutation(len(found))
        n_test, n_calibrate = round(share.test * len(found)), round(share.calibrate * len(found))
        label[np.isin(units, found[order[n_test : n_test + n_calibrate]])] = "calibrate"
        label[np.isin(units, found[order[:n_test]])] = "test"
    label[screen.control] = "train"
    return label


def paths_of(screen: Screen, rows: Int[np.ndarray, " n"], response: Float[np.ndarray, "n k"]) -> Path:
    """Conditions as paths: their set is given at 0, and their mean response is read once."""
    return condition_paths(screen.dose[rows], screen.traits[rows], screen.hours[rows], response)


def condition_paths(
    dose: Float[np.ndarray, "n a"], traits: Float[np.ndarray, "n s"], hours: Float[np.ndarray, " n"],
    response: Float[np.ndarray, "n k"],
) -> Path:  # fmt: skip
    """Sets with their contexts as paths that are read at `hours`; a response of NaN is not read."""
    nothing = np.full(response.shape[1], np.nan)
    return stack([
        Path(
            np.array([0.0, h], np.float32), np.stack([nothing, y]).astype(np.float32),
            schedule([Entry(int(a), float(u[a]), 0.0, float(h), True) for a in np.flatnonzero(u)]),
            np.asarray(s, np.float32), np.asarray(0, np.int32),
        )
        for u, s, h, y in zip(dose, traits, hours, response, strict=True)
    ])  # fmt: skip


def _latent(genes: WorldSpec, k: int) -> WorldSpec:
    """The world of the response: what controls are is 0 by definition."""
    channels = tuple(Channel(f"response {i + 1}", "", control=0.0) for i in range(k))
    return WorldSpec(genes.name, genes.clock, channels, genes.actions, genes.traits)


def _only(sums: CellSums, learned: Bool[np.ndarray, " c"], control: Bool[np.ndarray, " c"]) -> CellSums:
    """The sums without held-out conditions, and without the control cells that are kept apart."""
    total, cells = sums.total.copy(), sums.cells.copy()
    total[:, ~learned], cells[:, ~learned] = 0.0, 0.0
    return dataclasses.replace(sums, total=total, cells=cells)


def _responses(
    sums: CellSums, known: CellSums, offset: np.ndarray, control: np.ndarray, context: np.ndarray, traits: np.ndarray
) -> Responses:
    mean = means(sums, offset, tuple(range(QUARTERS)))
    three = tuple(q for q in range(QUARTERS) if q not in TRUE_CONTROLS)
    start = controls(means(known, offset, three), known.cells[list(three)].sum(0), control, context)
    return Responses(mean, start, context, traits)


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
    screen: Screen, sums: CellSums, encoder: CellEncoder, context: np.ndarray, chosen: np.ndarray, seed: int
) -> CellPool:
    """Control cells of every context: all of them, or a thousand at random."""
    rng = np.random.default_rng([seed, 9])
    there = np.flatnonzero(chosen & screen.control[screen.of])
    place = context[screen.of[there]]
    rows = np.concatenate([rng.permutation(there[place == k])[:_POOL] for k in np.unique(place)])
    rows = np.sort(rows)
    read = read_cells(screen.cells.rows(rows), screen.kind)
    x = counts_of(read) if sums.counted else read.log1p
    size = np.where(np.isfinite(read.size), read.size, TOTAL)
    batch = jnp.asarray(screen.batch[rows], jnp.int32)
    z = encoder(jnp.asarray(read.log1p), batch)
    return CellPool(
        jnp.asarray(x, jnp.float32), z, jnp.asarray(size, jnp.float32), batch,
        jnp.asarray(context[screen.of[rows]], jnp.int32),
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
        latent[part] = encoder(jnp.asarray(read.log1p), jnp.asarray(screen.batch[index[part]], jnp.int32))
    most = max(len(t) for t in taken)
    cells = np.zeros((len(rows), most, latent.shape[1]), np.float32)
    weight = np.zeros((len(rows), most), np.float32)
    base = np.empty((len(rows), _CLOUD, latent.shape[1]), np.float32)
    z, place = np.asarray(pool.z), np.asarray(pool.context)
    for i, (c, t) in enumerate(zip(rows, taken, strict=True)):
        cells[i, : len(t)] = latent[np.searchsorted(index, t)]
        weight[i, : len(t)] = 1.0
        there = np.flatnonzero(place == context[c])
        base[i] = z[rng.choice(there, _CLOUD, replace=len(there) < _CLOUD)]
    return base, cells, weight, screen.dose[rows].astype(np.float32)
