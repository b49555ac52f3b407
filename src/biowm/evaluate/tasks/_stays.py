"""Stays of the PhysioNet 2012 challenge by the hour, and the simple rules they are foretold by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path as File

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from biowm.core.spec import ActionCard, Channel, WorldSpec

HOURS, ORIGINS, AHEAD = 48, (12, 20, 28, 35), 12
RULES = ("persistence", "ridge-var", "ridge", "knn")
LEAST, FIRST = 24, 900  # hours with a heart rate and a systolic pressure; stays that the default protocol looks at
_LAGS, _NEIGHBOURS, _PENALTY = 3, 20, 1.0

# What is read, by channel: the challenge's parameters, the later overwriting the earlier (arterial over cuff).
PARAMETERS = {
    "hr": ("HR",),
    "systolic": ("NISysABP", "SysABP"),
    "diastolic": ("NIDiasABP", "DiasABP"),
    "mean": ("NIMAP", "MAP"),
    "respiration": ("RespRate",),
    "temperature": ("Temp",),
    "gcs": ("GCS",),
    "urine": ("Urine",),
    "fio2": ("FiO2",),
    "potassium": ("K",),
    "creatinine": ("Creatinine",),
}
# Readings outside are slips of the pen, as 0 mmHg or a temperature of -17 degrees.
PLAUSIBLE = {
    "hr": (20, 250), "systolic": (40, 280), "diastolic": (15, 200), "mean": (20, 220), "respiration": (3, 70),
    "temperature": (25, 43), "gcs": (3, 15), "urine": (0, 2000), "fio2": (0.21, 1), "potassium": (1.5, 10),
    "creatinine": (0.1, 25),
}  # fmt: skip

SPEC = WorldSpec(
    name="icu",
    clock="h",
    channels=(
        Channel("hr", "bpm", link="log", low=0.0, resolution=1.0),
        Channel("systolic", "mmHg", link="log", low=0.0, resolution=1.0),
        Channel("diastolic", "mmHg", link="log", low=0.0, resolution=1.0, below="mean"),
        Channel("mean", "mmHg", link="log", low=0.0, resolution=1.0, below="systolic"),
        Channel("respiration", "1/min", link="log", low=0.0, resolution=1.0),
        Channel("temperature", "degC", resolution=0.1),
        Channel("gcs", "dimensionless", link="ordinal", low=3.0, high=15.0, resolution=1.0),
        Channel("urine", "mL", link="log", low=0.0, floor=10.0, resolution=5.0),
        Channel("fio2", "dimensionless", link="log", low=0.21, high=1.0, resolution=0.01),
        Channel("potassium", "mmol/L", link="log", low=0.0, resolution=0.1),
        Channel("creatinine", "mg/dL", link="log", low=0.0, resolution=0.1),
    ),
    actions=(ActionCard("ventilation", "dimensionless", "switch", 0.0, 1.0),),
)


@dataclass(frozen=True)
class Stays:
    """Stays in the order they are used: readings by the hour (NaN where none) and hours with mechanical ventilation."""

    names: tuple[str, ...]
    x: Float[np.ndarray, "n 48 11"]
    ventilated: Bool[np.ndarray, "n 48"]

    def take(self, rows: slice) -> Stays:
        """Some of the stays."""
        return Stays(self.names[rows], self.x[rows], self.ventilated[rows])

    @cached_property
    def carried(self) -> Float[np.ndarray, "n 48 11"]:
        """The last reading of every channel at every hour; NaN before the first."""
        table = self.x.copy()
        for hour in range(1, HOURS):
            table[:, hour] = np.where(np.isnan(table[:, hour]), table[:, hour - 1], table[:, hour])
        return table

    @cached_property
    def so_far(self) -> Float[np.ndarray, "n 48 11"]:
        """The mean of the readings up to every hour; NaN before the first."""
        total, count = np.nancumsum(self.x, axis=1), np.cumsum(np.isfinite(self.x), axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    @cached_property
    def truth(self) -> Float[np.ndarray, "n o h 11"]:
        """What is scored: readings of the hours after every origin, of channels that were read up to it."""
        later = np.stack([self.x[:, o + 1 : o + 1 + AHEAD] for o in ORIGINS], axis=1)
        return np.where(np.isfinite(self.carried[:, ORIGINS, None]), later, np.nan)


def read(file: File, *, everybody: bool = False) -> Stays:
    """Stays with enough heart rates and systolic pressures: of the first 900 in the order of seed 0, or of all."""
    table = pd.read_csv(file)
    hour = table["Time"].str[:2].astype(int)
    table = table.assign(hour=hour)[hour < HOURS]
    order = np.random.default_rng(0).permutation(np.unique(table["RecordID"]))
    place = pd.Series(np.arange(len(order)), index=order)
    x = np.full((len(order), HOURS, len(PARAMETERS)), np.nan)
    for j, (channel, parameters) in enumerate(PARAMETERS.items()):
        for parameter in parameters:
            own = table[(table["Parameter"] == parameter) & table["Value"].between(*PLAUSIBLE[channel])]
            by_hour = own.groupby([own["RecordID"].map(place), "hour"])["Value"]
            values = by_hour.sum() if channel == "urine" else by_hour.last()
            who, when = (values.index.get_level_values(level).to_numpy() for level in (0, 1))
            x[who, when, j] = values.to_numpy()
    vent = table[table["Parameter"] == "MechVent"]
    ventilated = np.zeros((len(order), HOURS), bool)
    ventilated[vent["RecordID"].map(place), vent["hour"]] = True
    enough = (np.isfinite(x[:, :, :2]).sum(1) >= LEAST).all(1)
    kept = np.flatnonzero(enough if everybody else enough & (np.arange(len(order)) < FIRST))
    return Stays(tuple(str(name) for name in order[kept]), x[kept], ventilated[kept])


def foretell(rule: str, train: Stays, test: Stays) -> Float[np.ndarray, "n o h 11"]:
    """What a simple rule says of stays in the hours after every origin.

    Rules: persistence (the last reading); ridge-var (ridge regression of the next hour on the last three, run
    freely); ridge (of each lead by itself on last readings, means so far and ventilation); knn (mean change of the 20
    stays nearest in last readings, at any origin). Before the first reading of a channel, its training median is put.
    """
    middle = np.nanmedian(train.x, axis=(0, 1))
    if rule == "persistence":
        held = np.stack([_filled(test.carried[:, o], middle) for o in ORIGINS], axis=1)
        return np.repeat(held[:, :, None], AHEAD, axis=2)
    center, spread = np.nanmean(train.x, axis=(0, 1)), np.nanstd(train.x, axis=(0, 1))
    own, asked = (_Table.of(stays, center, spread, middle) for stays in (train, test))
    said = {"ridge-var": _var, "ridge": _direct, "knn": _knn}[rule](own, asked)
    return said * spread + center


@dataclass(frozen=True)
class _Table:
    """Standardised stays: last readings and means so far without holes, readings with them."""

    last: np.ndarray
    so_far: np.ndarray
    read: np.ndarray
    known: np.ndarray
    ventilated: np.ndarray

    @classmethod
    def of(cls, stays: Stays, center: np.ndarray, spread: np.ndarray, middle: np.ndarray) -> _Table:
        last, so_far = (_filled(table, middle) for table in (stays.carried, stays.so_far))
        known = np.isfinite(stays.carried)
        last, so_far, read = ((table - center) / spread for table in (last, so_far, stays.x))
        return cls(last, so_far, read, known, stays.ventilated[:, :, None].astype(float))


def _filled(table: np.ndarray, middle: np.ndarray) -> np.ndarray:
    return np.where(np.isnan(table), middle, table)


def _var(own: _Table, asked: _Table) -> np.ndarray:
    """The next hour from the last three, run freely; ventilation is held as it is at the origin."""
    hours = range(_LAGS - 1, HOURS - 1)

    def features(lags: list[np.ndarray], ventilated: np.ndarray) -> np.ndarray:
        return np.concatenate([*reversed(lags), ventilated], axis=1)

    rows = np.concatenate([features([own.last[:, t - k] for k in (2, 1, 0)], own.ventilated[:, t]) for t in hours])
    weights = _ridge(rows, *_targets(own, hours, 1))
    said = []
    for o in ORIGINS:
        lags = [asked.last[:, o - k] for k in (2, 1, 0)]
        for _ in range(AHEAD):
            lags.append(_constant(features(lags[-_LAGS:], asked.ventilated[:, o])) @ weights)
        said.append(np.stack(lags[_LAGS:], axis=1))
    return np.stack(said, axis=1)


def _direct(own: _Table, asked: _Table) -> np.ndarray:
    def features(table: _Table, hour: int) -> np.ndarray:
        return np.concatenate([table.last[:, hour], table.so_far[:, hour], table.ventilated[:, hour]], axis=1)

    said = []
    for lead in range(1, AHEAD + 1):
        hours = range(_LAGS - 1, HOURS - lead)
        weights = _ridge(np.concatenate([features(own, t) for t in hours]), *_targets(own, hours, lead))
        said.append(np.stack([_constant(features(asked, o)) @ weights for o in ORIGINS], axis=1))
    return np.stack(said, axis=2)


def _knn(own: _Table, asked: _Table) -> np.ndarray:
    like = np.concatenate([own.last[:, o] for o in ORIGINS])
    leads = [_targets(own, ORIGINS, lead) for lead in range(1, AHEAD + 1)]
    later, read = (np.stack(part, axis=1) for part in zip(*leads, strict=True))
    change = np.where(read, later - like[:, None], 0.0)
    said = []
    for o in ORIGINS:
        mine = asked.last[:, o]
        order = np.argsort(((mine[:, None] - like) ** 2).sum(2), axis=1, kind="stable")
        said.append(np.stack([now + _nearest(change[rows], read[rows]) for now, rows in zip(mine, order, strict=True)]))
    return np.stack(said, axis=1)


def _nearest(change: Float[np.ndarray, "r h d"], read: Bool[np.ndarray, "r h d"]) -> Float[np.ndarray, "h d"]:
    """The mean change among the first neighbours that have one, by lead and channel."""
    used = read & (np.cumsum(read, axis=0) <= _NEIGHBOURS)
    return np.where(used, change, 0.0).sum(0) / np.maximum(used.sum(0), 1)


def _targets(table: _Table, hours: Sequence[int], lead: int) -> tuple[np.ndarray, np.ndarray]:
    """Readings `lead` hours after each of the hours, and which of them count: read, and known at the hour."""
    y = np.concatenate([table.read[:, t + lead] for t in hours])
    counts = np.isfinite(y) & np.concatenate([table.known[:, t] for t in hours])
    return np.where(counts, y, 0.0), counts


def _constant(features: np.ndarray) -> np.ndarray:
    return np.concatenate([np.ones((len(features), 1)), features], axis=1)


def _ridge(features: np.ndarray, y: np.ndarray, counts: np.ndarray) -> Float[np.ndarray, "p d"]:
    """Ridge regression of every channel on the rows where it counts; the constant is not shrunk."""
    rows = _constant(features)
    shrink = _PENALTY * np.diag(np.r_[0.0, np.ones(rows.shape[1] - 1)])
    columns = []
    for j in range(y.shape[1]):
        used = rows[counts[:, j]]
        columns.append(np.linalg.solve(used.T @ used + shrink, used.T @ y[counts[:, j], j]))
    return np.stack(columns, axis=1)
