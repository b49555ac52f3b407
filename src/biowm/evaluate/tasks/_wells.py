"""The wells of `glioma-rt`, the protocols by which they are split, and the simple rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import Literal

import numpy as np
from jaxtyping import Float

from biowm.core.path import Path
from biowm.core.schedule import Entry, schedule
from biowm.data.curves import read_curves

Protocol = Literal["in", "scheme-out", "dose-out"]
PROTOCOLS: tuple[Protocol, ...] = ("in", "scheme-out", "dose-out")
LINES = ("9L", "C6")
CAMPAIGNS = ("16 Gy", "20 Gy")
_NEIGHBOURS = 3


@dataclass(frozen=True)
class Well:
    """One curve: confluence `y` (0 to 1) at hours `t` after the first fraction, and how it was treated and read."""

    name: str
    line: str
    scheme: str
    campaign: str
    interval: float
    part: str
    doses: tuple[tuple[float, float], ...]
    t: Float[np.ndarray, " t"]
    y: Float[np.ndarray, " t"]


@dataclass(frozen=True)
class Fold:
    """Indices of the training wells and of the validation wells that are foretold from them."""

    protocol: Protocol
    train: tuple[int, ...]
    test: tuple[int, ...]


def read_wells(file: File) -> tuple[Well, ...]:
    """All wells, in the order of the book."""
    table, _ = read_curves(file, file.read_bytes())
    wells = []
    for name, rows in table.groupby("curve", sort=False):
        first = rows.iloc[0]
        given = rows[rows["dose"] > 0]
        doses = tuple(zip(given["time"].tolist(), given["dose"].tolist(), strict=True))
        kind = (first["line"], first["scheme"], first["campaign"], float(first["interval"]), first["part"])
        wells.append(Well(str(name), *kind, doses, rows["time"].to_numpy(float), rows["confluence"].to_numpy(float)))
    return tuple(wells)


def folds(wells: Sequence[Well], line: str, protocol: Protocol) -> list[Fold]:
    """One fold in distribution, one a scheme, or one a total dose; training wells of one line in either interval."""
    train = [i for i, w in enumerate(wells) if w.line == line and w.part == "train"]
    test = [i for i, w in enumerate(wells) if w.line == line and w.part == "test"]
    if protocol == "in":
        return [Fold(protocol, tuple(train), tuple(test))]
    kinds = [w.scheme if protocol == "scheme-out" else w.campaign for w in wells]
    return [
        Fold(protocol, tuple(i for i in train if kinds[i] != kind), tuple(i for i in test if kinds[i] == kind))
        for kind in sorted({kinds[i] for i in test})
    ]


def path_of(well: Well, every: float) -> Path:
    """A well as a path, read every so many hours; its trait says which campaign it is of."""
    kept = well.t % every == 0
    plan = schedule([Entry(0, dose, t, t, True) for t, dose in well.doses])
    campaign = np.array([well.campaign == c for c in CAMPAIGNS], np.float32)
    y = well.y[kept, None].astype(np.float32)
    return Path(well.t[kept].astype(np.float32), y, plan, campaign, np.asarray(0, np.int32))


def foretell(rule: str, wells: Sequence[Well], fold: Fold, well: Well, origin: float) -> Float[np.ndarray, " t"]:
    """What a simple rule says of a validation well at all its times, given its reading at `origin`.

    Rules: persistence; mean (of the training curves); growth (mean ratio to the reading at the origin); knn (geometric
    mean ratio of the three nearest by that reading). In distribution they look at the wells of the same scheme and
    interval, for an unseen scheme at those of the same total dose, for an unseen dose at all.
    """
    start = _at(well, np.array([origin]))[0]
    if rule == "persistence":
        return np.full(len(well.t), start)
    like = [w for w in (wells[i] for i in fold.train) if _alike(fold.protocol, w, well)]
    curves = np.stack([_at(w, well.t) for w in like])
    if rule == "mean":
        return curves.mean(0)
    starts = np.array([_at(w, np.array([origin]))[0] for w in like])
    if rule == "growth":
        return start * (curves / starts[:, None]).mean(0)
    nearest = np.argsort(np.abs(np.log(starts / start)), kind="stable")[:_NEIGHBOURS]
    return start * np.exp(np.log(curves[nearest] / starts[nearest, None]).mean(0))


def _alike(protocol: Protocol, other: Well, well: Well) -> bool:
    if protocol == "in":
        return (other.scheme, other.interval) == (well.scheme, well.interval)
    return protocol == "dose-out" or other.campaign == well.campaign


def _at(well: Well, t: Float[np.ndarray, " t"]) -> Float[np.ndarray, " t"]:
    """The curve at other times: linear between readings, the last value held."""
    return np.interp(t, well.t, well.y)
