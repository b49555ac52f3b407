"""Predictions for a whole table of conditions: cells of each, and how far each is covered by the data."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path as File
from typing import Any

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float

from biowm.core.errors import BadInput
from biowm.core.futures import Support
from biowm.core.record import Record, digest
from biowm.core.schedule import Entry
from biowm.data.conditions import Conditions, read_conditions
from biowm.data.screen_config import Filled, parse_filled
from biowm.data.screen_write import SIMULATED, asked_obs, write_cells
from biowm.safety.support import judge_schedule
from biowm.train.cells.part import CellPart
from biowm.train.cells.predict import cells_about, predict_means
from biowm.train.fitted import Fitted


@dataclass(frozen=True)
class Predicted:
    """What was written for a table of conditions: the mean change of each, and whether the data cover it.

    `mean` and `start` [condition, gene] are log1p expression of the population and of its context's controls.
    """

    asked: Conditions
    genes: tuple[str, ...]
    mean: Float[np.ndarray, "c g"]
    start: Float[np.ndarray, "c g"]
    support: tuple[Support, ...]
    signal: str
    record: Record

    def to_json(self) -> dict[str, Any]:
        """The object that `biowm simulate --on CONDITIONS.csv --json` prints."""
        rows = []
        for i, name in enumerate(self.asked.names):
            change = self.mean[i] - self.start[i]
            most = np.argsort(-np.abs(change), kind="stable")[:20]
            rows.append({
                "condition": name,
                "cells": int(self.asked.counts[i]),
                "support": {"verdict": self.support[i].verdict, "reasons": list(self.support[i].reasons)},
                "change": {self.genes[j]: float(change[j]) for j in most},
            })  # fmt: skip
        return {"conditions": rows, "signal": self.signal, "record": self.record.to_json()}


def predict_conditions(
    fitted: Fitted, file: str | File, out: str | File, *, cells: int = 100, seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Predicted:  # fmt: skip
    """Write cells of every condition in a table (see `data.conditions`) as h5ad, beside measured control cells.

    The control cells are those the artefact holds, so that responses are measured from real ones. Raises: BadInput for
    a world of no cells, and for what cannot be read, naming row and column.
    """
    part = fitted.cells
    if part is None or fitted.study is None:
        raise BadInput(f"--on {file}: found a world that was not fitted to single cells (regime: cloud), expected one")
    config = parse_filled(json.loads(fitted.study))
    asked = read_conditions(file, part.spec, config, cells=cells)
    given = asked.dose, asked.traits, asked.hours
    key = jax.random.key(seed)
    count = int(asked.counts.max())
    mean = predict_means(fitted, *given, key)
    made = cells_about(fitted, mean, asked.dose, asked.traits, count, key, progress)
    obs = asked_obs(asked)
    x = np.concatenate([
        cloud[np.random.default_rng([seed, i]).permutation(count)[:n]]
        for i, (cloud, n) in enumerate(zip(made, asked.counts, strict=True))
    ])  # fmt: skip
    support = tuple(_support(part, fitted, asked, i) for i in range(len(asked.names)))
    obs["biowm_support"] = np.repeat([s.verdict for s in support], asked.counts)
    controls, beside = _controls(part, config, asked)
    record = Record(
        "simulate", {"conditions": digest(File(file).read_bytes())}, {"cells": cells, "on": str(File(file).name)}, seed,
        (fitted.record.id,),
    )  # fmt: skip
    genes = tuple(c.name for c in part.spec.channels)
    write_cells(
        out, np.concatenate([x, controls]), pd.concat([obs, beside]), pd.DataFrame(index=list(genes)), config, record,
        kind=part.kind,
    )  # fmt: skip
    start = part.controls[part.context(asked.traits)]
    return Predicted(asked, genes, mean, start, support, part.verdict, record)


def _support(part: CellPart, fitted: Fitted, asked: Conditions, i: int) -> Support:
    doses = [
        Entry(int(a), float(asked.dose[i, a]), 0.0, float(asked.hours[i]), True) for a in np.flatnonzero(asked.dose[i])
    ]
    return judge_schedule(part.spec, fitted.envelope, doses, float(asked.hours[i]))


def _controls(part: CellPart, config: Filled, asked: Conditions) -> tuple[Float[np.ndarray, "n g"], pd.DataFrame]:
    """Measured control cells of the contexts that are asked about, and their annotations."""
    pool, word = part.pool, config.control.value[0]
    none = (np.asarray(pool.dose) == 0).all(1)
    wanted = np.isin(np.asarray(pool.context), part.context(asked.traits)) & none
    rows = np.flatnonzero(np.isin(np.asarray(pool.of), np.flatnonzero(wanted)))
    x = part.written(np.asarray(pool.x)[rows], np.asarray(pool.size)[rows])
    obs = pd.DataFrame(index=[f"control-{i}" for i in range(len(rows))])
    obs[config.actions.labels.obs] = word
    obs[config.control.obs] = word
    traits = part.traits[np.asarray(pool.context)[np.asarray(pool.of)[rows]]]
    for trait, place in zip(part.spec.traits, part.spec.trait_places, strict=True):
        level = traits[:, place]
        values = [trait.levels[k] for k in level.argmax(1)] if trait.kind == "category" else level[:, 0]
        obs[config.traits[trait.name]] = values
    obs[SIMULATED] = False
    obs["biowm_support"] = "measured"
    return x, obs
