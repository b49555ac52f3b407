"""The mice of `parpi`: thirty tumours in five arms, each arm foretold by worlds that have not seen it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as File

import jax
import numpy as np
import pandas as pd
from jaxtyping import Float

from biowm.core.forecast import forecast
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.train.contest import Progress
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons

from ._fits import member

ARMS = ("Ctrl", "MTD", "AT1", "AT2", "Math")
RULES = ("persistence", "trend", "dose")
START, END = 16, 75  # days: when arms begin to differ; the first day that ends a mouse but one
FLOOR = 10.0  # mm^3: below the smallest tumour that was measured (9.4)
_GONE = "X"  # the dose of a mouse that is no more
_HORIZONS = (14.0, 28.0, 56.0)

SPEC = WorldSpec(
    name="parpi-mice",
    clock="d",
    channels=(Channel("volume", "mm^3", link="log", low=0.0, floor=FLOOR),),
    actions=(ActionCard("olaparib", "mg/kg/d", "rate", 0.0, 100.0),),
)


@dataclass(frozen=True)
class Mouse:
    """One tumour: the arm, days and volumes (mm^3) of its readings, and the dose of each day (mg/kg) it lived."""

    name: str
    arm: str
    t: Float[np.ndarray, " t"]
    volume: Float[np.ndarray, " t"]
    dose: Float[np.ndarray, " d"]

    @property
    def size(self) -> Float[np.ndarray, " t"]:
        """Logarithm of volume and floor."""
        return np.log(self.volume + FLOOR)

    @property
    def origin(self) -> int:
        """The last reading before arms differ."""
        return int(np.flatnonzero(self.t <= START)[-1])

    @property
    def asked(self) -> slice:
        """Readings that are foretold."""
        return slice(self.origin + 1, int(np.sum(self.t <= END)))

    @property
    def mean_dose(self) -> float:
        """mg/kg a day, of the days that are foretold."""
        return float(self.dose[START : int(self.t[self.asked][-1])].mean())


def read(file: File) -> tuple[Mouse, ...]:
    """All mice, by arm; doses stop where a mouse is no more."""
    table = pd.read_csv(file)
    found = []
    for (arm, name), mouse in sorted(table.groupby(["TreatmentBranch", "MouseId"]), key=lambda g: ARMS.index(g[0][0])):
        mouse = mouse.sort_values("Time")
        alive = mouse[mouse["DrugConcentration"] != _GONE]
        seen = mouse[mouse["Volume"].notna()]
        t, volume = seen["Time"].to_numpy(float), seen["Volume"].to_numpy(float)
        found.append(Mouse(f"{arm}/{name}", str(arm), t, volume, alive["DrugConcentration"].to_numpy(float)))
    return tuple(found)


def path_of(mouse: Mouse) -> Path:
    """A mouse as a path; the dose of a day holds until the next."""
    change = np.flatnonzero(np.diff(mouse.dose, prepend=np.nan) != 0)
    ends = [*change[1:], len(mouse.dose)]
    given = [Entry(0, float(mouse.dose[a]), float(a), float(b), True) for a, b in zip(change, ends, strict=True)]
    plan = schedule([entry for entry in given if entry.dose > 0])
    x = mouse.volume[:, None].astype(np.float32)
    return Path(mouse.t.astype(np.float32), x, plan, np.zeros(0, np.float32), np.asarray(0, np.int32))


def by_rule(rule: str, mice: tuple[Mouse, ...]) -> Mapping[str, Float[np.ndarray, " h"]]:
    """Logarithms of sizes of each mouse after its origin.

    Rules: its last one; from there the course of all other arms (a quadratic); that course steeper or flatter by the
    mean dose, as the other arms' mice say (least squares).
    """
    return {m.name: _said(rule, m, [o for o in mice if o.arm != m.arm]) for m in mice}


def _said(rule: str, mouse: Mouse, others: list[Mouse]) -> Float[np.ndarray, " h"]:
    last = mouse.size[mouse.origin]
    later = mouse.t[mouse.asked] - mouse.t[mouse.origin]
    if rule == "persistence":
        return np.full(len(later), last)
    days = np.concatenate([o.t[o.asked] - o.t[o.origin] for o in others])
    grown = np.concatenate([o.size[o.asked] - o.size[o.origin] for o in others])
    dose = np.concatenate([np.full(len(o.t[o.asked]), o.mean_dose) for o in others])
    columns = [days, days**2] + ([days * dose] if rule == "dose" else [])
    weights = np.linalg.lstsq(np.stack(columns, axis=1), grown, rcond=None)[0]
    mine = [later, later**2] + ([later * mouse.mean_dose] if rule == "dose" else [])
    return last + np.stack(mine, axis=1) @ weights


def build(mice: tuple[Mouse, ...], arm: str, seed: int, thorough: bool, tell: Progress) -> Fitted:
    """The default world of the mice of all other arms; the race holds arms out, as the question does."""
    known = [m for m in mice if m.arm != arm]
    return fit_paths(
        SPEC, stack([path_of(m) for m in known]), Horizons("clock", _HORIZONS, "d"), seed=seed,
        units=[m.arm for m in known], thorough=thorough, halves=False, progress=tell,
    )  # fmt: skip


def foretold(
    fitted: Fitted, name: str, mice: tuple[Mouse, ...], arm: str, seed: int, draws: int
) -> Mapping[str, Float[np.ndarray, " h"]]:
    """Logarithms of sizes (means of draws) of an arm's mice after the origin, under the doses that they were given."""
    asked = [m for m in mice if m.arm == arm]
    width = max(len(m.t[m.asked]) for m in asked)
    times = np.stack([np.pad(m.t[m.asked], (0, width - len(m.t[m.asked])), mode="edge") for m in asked])
    queries = Queries(np.arange(len(asked)), np.array([m.origin for m in asked]), times.astype(np.float32))
    paths = stack([path_of(m) for m in asked])
    volume = forecast(member(fitted, name)[0], paths, queries, key=jax.random.key(seed), draws=draws)[..., 0]
    size = np.log(volume + FLOOR).mean(1)
    return {m.name: size[i, : len(m.t[m.asked])] for i, m in enumerate(asked)}
