"""The exam: held-out subjects, the questions asked about them, and the answers that all gates share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from biowm.core.forecast import Queries, forecast
from biowm.core.interval import Interval
from biowm.core.path import Path, lengths
from biowm.core.record import Record, digest_arrays
from biowm.core.rollout import time_grid
from biowm.core.schedule import Schedule
from biowm.core.scores import crps
from biowm.core.world import World
from biowm.models.scale import fit_scale
from biowm.train.calibrate import Calibration

from .metrics import METRICS, Tally, add, tally

_SHARES = (1 / 2, 2 / 3)  # a subject is asked about after this share of its readings


@dataclass(frozen=True)
class Verdict:
    """What a gate found: its verdict, the number behind it, one plain sentence and the recorded evidence."""

    status: Literal["passed", "failed", "not_applicable"]
    value: Interval | None
    detail: str
    evidence: Record


@dataclass(frozen=True)
class Questions:
    """Q questions about the R readings that follow an origin, padded with NaN.

    `queries.times` is a grid no coarser than the world's spacing; `place` finds the readings in it, `leads` are their
    times since the origin and `near` [Q, H] is the reading nearest to each horizon (-1: none near enough).
    """

    queries: Queries
    place: Int[np.ndarray, "q r"]
    leads: Float[np.ndarray, "q r"]
    truth: Float[np.ndarray, "q r d"]
    near: Int[np.ndarray, "q h"]


@dataclass(frozen=True)
class Exam:
    """A world, the simple rules it must face (persistence always) and the held-out subjects they are asked about.

    `horizons` count from the origin in the world's clock. Forecasts are made once and kept.
    """

    world: World
    rules: Mapping[str, World]
    paths: Path
    subjects: tuple[str, ...]
    horizons: tuple[float, ...]
    calibration: Calibration
    seed: int = 0
    draws: int = 100
    questions: Questions = field(init=False, repr=False, compare=False)
    _kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if "persistence" not in self.rules:
            raise ValueError("an exam without persistence is not an exam: add it to the rules")
        if not self.horizons:
            raise ValueError("an exam needs at least one horizon")
        object.__setattr__(self, "questions", ask(self.world, self.paths, self.horizons))

    @property
    def units(self) -> np.ndarray:
        """The subject of each question."""
        return np.asarray(self.subjects)[self.questions.queries.subject]

    def path(self, question: int) -> Path:
        """The path that a question is about."""
        subject = int(self.questions.queries.subject[question])
        return jax.tree.map(lambda leaf: leaf[subject], self.paths)

    def answer(self, name: str, plans: Schedule | None = None) -> Float[np.ndarray, "q n r d"]:
        """Draws of `world` or of a rule at the readings asked about, under the given actions or other `plans`."""
        if plans is None and name in self._kept:
            return self._kept[name]
        asked = self.questions
        whole = forecast(
            self.world if name == "world" else self.rules[name],
            self.paths,
            asked.queries,
            key=jax.random.key(self.seed),
            draws=self.draws,
            plans=plans,
        )
        got = np.take_along_axis(whole, asked.place[:, None, :, None], axis=2)
        if plans is None:
            self._kept[name] = got
        return got

    def scaled(self, x: Float[np.ndarray, "*b d"]) -> Float[np.ndarray, "*b c"]:
        """The target channels in standardised link space, so that errors of different channels may be averaged."""
        if "scale" not in self._kept:
            self._kept["scale"] = fit_scale(self.world.spec, np.asarray(self.paths.x))
        return np.asarray(self._kept["scale"].to_z(jnp.asarray(x)))[..., list(self.world.spec.targets)]

    def curve(self, draws: Float[np.ndarray, "q n r d"], metric: str = "crps") -> tuple[Tally, ...]:
        """The tally of `crps`, `mae` or `rmse` at each horizon, over questions and target channels."""
        z, truth = self.scaled(draws), self.scaled(self.questions.truth)
        if metric == "crps":
            loss = crps(z, truth, axis=1)
        elif metric == "mae":
            loss = np.abs(np.median(z, axis=1) - truth)
        else:
            loss = (z.mean(axis=1) - truth) ** 2
        return self.by_horizon(metric, loss)

    def by_horizon(self, metric: str, loss: Float[np.ndarray, "q r c"]) -> tuple[Tally, ...]:
        """Tallies of a loss at the reading nearest to each horizon."""
        return tuple(self.tally(metric, self.nearest(loss, h)) for h in range(len(self.horizons)))

    def tally(self, metric: str, loss: Float[np.ndarray, "q c"]) -> Tally:
        """The tally of a loss per question and channel, by subject."""
        return tally(METRICS[metric], loss.ravel(), np.repeat(self.units, loss.shape[-1]))

    def nearest(self, values: Float[np.ndarray, "q r c"], horizon: int) -> Float[np.ndarray, "q c"]:
        """The values at the reading nearest to a horizon; NaN where there is none near."""
        near = self.questions.near[:, horizon]
        return np.where(near[:, None] >= 0, values[np.arange(len(near)), near], np.nan)

    def area(self, curve: Sequence[Tally]) -> Tally:
        """The area under an error curve, from no error at the origin, per unit of time."""
        edges = np.concatenate([[0.0], self.horizons, self.horizons[-1:]])
        share = (edges[2:] - edges[:-2]) / 2
        widened = [Tally(t.metric, t.units, t.total * w, t.count * w) for t, w in zip(curve, share, strict=True)]
        return add(widened)

    def best_rule(self) -> str:
        """The simple rule with the least area of CRPS on these very subjects: the hardest to beat."""
        areas = {name: self.area(self.curve(self.answer(name))) for name in self.rules}
        return min(areas, key=lambda name: areas[name].total.sum() / areas[name].count.sum())

    def label(self, horizon: int) -> str:
        """The name of a horizon, such as `90 d`."""
        return f"{self.horizons[horizon]:g} {self.world.spec.clock}"

    def record(self, gate: str, evidence: Mapping[str, Any]) -> Record:
        """The record of one gate's evidence on this exam."""
        data = digest_arrays(jax.tree.leaves(self.paths))
        config = {"gate": gate, "world": self.world.spec.name, "horizons": self.horizons, "draws": self.draws}
        return Record("certify", {"data": data}, config, self.seed, metrics=evidence)


def ask(world: World, paths: Path, horizons: tuple[float, ...]) -> Questions:
    """Ask about each subject after half and after two thirds of its readings, up to the last horizon."""
    slack = 0.75 * world.spacing
    t, x = np.asarray(paths.t), np.asarray(paths.x)
    read = np.isfinite(x[..., list(world.spec.targets)]).any(-1)
    rows: list[tuple[int, int, np.ndarray]] = []
    for i, n in enumerate(lengths(paths)):
        index = np.flatnonzero(read[i, :n])
        for origin in sorted({index[max(int(len(index) * share), 1) - 1] for share in _SHARES if len(index) > 1}):
            later = index[(index > origin) & (t[i, index] <= t[i, origin] + max(horizons) + slack)]
            if len(later):
                rows.append((i, int(origin), later))
    if not rows:
        raise ValueError("no subject has a reading to forecast within the horizons asked")
    grids = [time_grid(float(t[i, o]), t[i, later], world.spacing) for i, o, later in rows]
    width, depth = (max(map(len, parts)) for parts in zip(*grids, strict=True))
    times, place = np.zeros((len(rows), width), np.float32), np.zeros((len(rows), depth), int)
    leads = np.full((len(rows), depth), np.nan, np.float32)
    truth = np.full((len(rows), depth, x.shape[-1]), np.nan, np.float32)
    for q, ((i, o, later), (grid, found)) in enumerate(zip(rows, grids, strict=True)):
        times[q] = np.concatenate([grid, np.repeat(grid[-1], width - len(grid))])
        place[q, : len(found)] = found
        leads[q, : len(found)] = t[i, later] - t[i, o]
        truth[q, : len(found)] = x[i, later]
    near = np.stack([_nearest(leads, h, max(slack, h / 4)) for h in horizons], axis=1)
    subject, origin = (np.array([row[k] for row in rows], int) for k in (0, 1))
    return Questions(Queries(subject, origin, times), place, leads, truth, near)


def _nearest(leads: Float[np.ndarray, "q r"], horizon: float, slack: float) -> Int[np.ndarray, " q"]:
    """The reading nearest to a horizon, or -1 where none is within the slack."""
    apart = np.where(np.isnan(leads), np.inf, np.abs(leads - horizon))
    return np.where(apart.min(axis=1) <= slack, apart.argmin(axis=1), -1)
