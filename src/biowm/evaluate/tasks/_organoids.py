"""The organoids of `organoid`: tracks that are lost, the folds, the rules, and the world of a fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as File

import jax
import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int
from scipy.optimize import minimize

from biowm.core.forecast import forecast
from biowm.core.path import CENSORED, RUNNING, Path, stack
from biowm.core.queries import Queries
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.train.contest import SMALL, Progress
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons

from ..metrics import Forecast
from ._fits import as_forecast, member

DOSES = (0, 3, 10, 30, 100, 300, 1000)  # nM
HOURS = tuple(range(0, 73, 4))
NOW, HALFWAY, END = HOURS.index(24), HOURS.index(48), HOURS.index(72)
CHANNELS = ("area", "death")
RULES = ("persistence", "extrapolation", "ridge", "ridge-reweighted")
_HORIZONS = (24.0, 48.0)
_PENALTY = 1.0
_LEAST_FOLLOWED = 0.1  # share: nobody stands for more than ten

SPEC = WorldSpec(
    name="organoid",
    clock="h",
    channels=tuple(Channel(name, "", link="log", low=0.0, floor=1.0) for name in CHANNELS),
    actions=(ActionCard("gemcitabine", "", "rate", 0.0, 4.0),),  # log10(1 + nM), as the reference's ridge has it
)


@dataclass(frozen=True)
class Organoids:
    """Tracks that hold all of the first 24 h: dose (nM), well, and ln of area (pixels) and of the death signal.

    NaN where a frame does not hold the organoid. `followed`: whether it was there at 48 and at 72 h.
    """

    dose: Float[np.ndarray, " n"]
    well: tuple[str, ...]
    y: Float[np.ndarray, "n t 2"]

    @property
    def followed(self) -> Bool[np.ndarray, " n"]:
        return np.asarray(np.isfinite(self.y[:, [HALFWAY, END], 0]).all(1))


@dataclass(frozen=True)
class Fold:
    """One dose is held out: who is learned from, lost or not, and who is asked about (scored are those followed)."""

    dose: float
    train: Int[np.ndarray, " n"]
    test: Int[np.ndarray, " m"]


def read(file: File) -> Organoids:
    """The tracks of the table that hold every frame of the first 24 h."""
    table = pd.read_csv(file)
    keys = ["Dosage", "Replicate", "Organoid ID"]
    wide = [table.pivot_table(index=keys, columns="Time", values=v) for v in ("Area", "Fluorescence")]
    y = np.log(np.stack([w.reindex(columns=list(HOURS)).to_numpy(float) for w in wide], axis=-1))
    whole = np.asarray(np.isfinite(y[:, : NOW + 1]).all((1, 2)))
    index = wide[0].index[whole]
    wells = tuple(f"{dose:g} nM/{replicate:g}" for dose, replicate, _ in index)
    return Organoids(index.get_level_values("Dosage").to_numpy(float), wells, y[whole])


def folds(organoids: Organoids, doses: Sequence[float] = DOSES) -> Iterator[Fold]:
    """One a dose."""
    for dose in doses:
        out = organoids.dose == dose
        yield Fold(float(dose), np.flatnonzero(~out), np.flatnonzero(out))


def path_of(organoids: Organoids, i: int) -> Path:
    """A track as a path, under its dose from the first frame to the last; one that is lost is censored."""
    dose, seen = float(np.log10(1 + organoids.dose[i])), bool(np.isfinite(organoids.y[i, END, 0]))
    plan = schedule([Entry(0, dose, 0.0, float(HOURS[-1]), True)] if dose > 0 else [])
    event = np.asarray(RUNNING if seen else CENSORED, np.int32)
    t = np.array(HOURS, np.float32)
    return Path(t, np.exp(organoids.y[i]).astype(np.float32), plan, np.zeros(0, np.float32), event)


def features(organoids: Organoids) -> Float[np.ndarray, "n 8"]:
    """What the reference's ridge reads: last area, its changes over 24 and 12 h, death, its change, and the dose."""
    area, death = organoids.y[:, : NOW + 1, 0], organoids.y[:, : NOW + 1, 1]
    change, dose = area[:, -1] - area[:, 0], np.log10(organoids.dose + 1)
    half = area[:, -1] - area[:, NOW - 3]
    columns = (area[:, -1], change, half, death[:, -1], death[:, -1] - death[:, 0], dose, dose**2, dose * change)
    return np.stack(columns, axis=1)


def standing(x: Float[np.ndarray, "n p"], followed: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """For how many each one that was followed stands: the inverse of the chance of being followed, by features `x`.

    Chances are those of a logistic regression (penalty 1, standardised). Right where loss depends on `x` alone; nothing
    that was read after `x` is used. Those who were lost stand for nobody.
    Source: doi:10.1111/j.0006-341X.2000.00779.x.
    """
    z = np.column_stack([np.ones(len(x)), (x - x.mean(0)) / np.maximum(x.std(0), 1e-12)])
    y = followed.astype(float)

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        eta = z @ w
        slope = z.T @ (1 / (1 + np.exp(-eta)) - y)
        return float(np.sum(np.logaddexp(0, eta) - y * eta) + 0.5 * w[1:] @ w[1:]), slope + np.append(0, w[1:])

    w = minimize(loss, np.zeros(z.shape[1]), jac=True, method="L-BFGS-B").x
    return np.where(followed, 1 / np.maximum(1 / (1 + np.exp(-z @ w)), _LEAST_FOLLOWED), 0.0)


def ridge(
    x: Float[np.ndarray, "n p"], y: Float[np.ndarray, "n 2"], weight: Float[np.ndarray, " n"],
    at: Float[np.ndarray, "m p"],
) -> Float[np.ndarray, "m 2"]:  # fmt: skip
    """Ridge (penalty 1, features standardised, intercept free), with weights."""
    share = weight / weight.sum()
    centre = share @ x
    spread = np.maximum(np.sqrt(share @ (x - centre) ** 2), 1e-12)
    z, mean = (x - centre) / spread, share @ y
    root = np.sqrt(weight / weight.mean())[:, None]
    a, b = root * z, root * (y - mean)
    return mean + (at - centre) / spread @ np.linalg.solve(a.T @ a + _PENALTY * np.eye(x.shape[1]), a.T @ b)


def by_rule(rule: str, organoids: Organoids, fold: Fold) -> Float[np.ndarray, "m 2"]:
    """What a rule says of the held-out dose at 72 h; both ridges learn from those who were followed."""
    y, x = organoids.y, features(organoids)
    if rule == "persistence":
        return y[fold.test, NOW]
    if rule == "extrapolation":
        return 3 * y[fold.test, NOW] - 2 * y[fold.test, 0]
    learned = fold.train[organoids.followed[fold.train]]
    weight = np.ones(len(learned))
    if rule == "ridge-reweighted":
        weight = standing(x[fold.train], organoids.followed[fold.train])[organoids.followed[fold.train]]
    return ridge(x[learned], y[learned, END], weight, x[fold.test])


def build(organoids: Organoids, fold: Fold, seed: int, thorough: bool, tell: Progress) -> Fitted:
    """The default world of all other doses; tracks that are lost teach until they are.

    The race holds doses out, as the question does; tracks are thinned to so many that every dose is held out once.
    """
    train = fold.train[np.linspace(0, len(fold.train) - 1, min(len(fold.train), SMALL - 8)).round().astype(int)]
    paths = stack([path_of(organoids, i) for i in train.tolist()])
    return fit_paths(
        SPEC, paths, Horizons("clock", _HORIZONS, "h"), seed=seed, units=[f"{organoids.dose[i]:g} nM" for i in train],
        thorough=thorough, halves=False, progress=tell,
    )  # fmt: skip


def foretold(fitted: Fitted, name: str, organoids: Organoids, fold: Fold, seed: int, draws: int) -> list[Forecast]:
    """What a member says of the held-out dose at every frame after 24 h: ln area and ln death signal.

    Every frame is asked, not the last alone: worlds step from time to time asked, and the race asks frames.
    """
    world, trust = member(fitted, name)
    n = len(fold.test)
    times = np.tile(np.array(HOURS[NOW + 1 :], np.float32), (n, 1))
    paths = stack([path_of(organoids, i) for i in fold.test.tolist()])
    said = forecast(world, paths, Queries(np.arange(n), np.full(n, NOW), times), key=jax.random.key(seed), draws=draws)
    leads = times - HOURS[NOW]
    return [as_forecast(SPEC, trust, said, leads, lambda v: np.log(np.maximum(v, 1.0)), j) for j in range(2)]
