"""Task `icu`: eleven channels of real stays in intensive care, 1, 6 and 12 hours ahead, whatever was read and when.

Stays of set A of the PhysioNet 2012 challenge (doi:10.22489/CinC.2012.065), by the hour: 879 of the first 900 in a
fixed order, 70 % to learn from (`--full`: all 3,889). Forecasts start at 12, 20, 28 and 35 h with the ventilation held
as it is then, and are scored where a channel was read and had been read before. `mae_ratio` is the geometric mean over
channels of the error over that of the last reading; `nmae` divides each error by that mean error.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from biowm.core.forecast import forecast
from biowm.core.interval import Role, Row, row
from biowm.core.path import Path, stack
from biowm.core.queries import Queries
from biowm.core.registry import register
from biowm.core.schedule import Entry, Schedule, schedule
from biowm.data import catalogue
from biowm.train.contest import Progress
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons
from biowm.train.workers import side_by_side

from ..gates.constraints import violations
from ..metrics import METRICS, Forecast, Tally, geometric_ratio, tally
from ..tamper import pack
from ..task import Answer, Pooled, Setting, Task
from ._fits import as_forecast, member
from ._stays import AHEAD, HOURS, ORIGINS, RULES, SPEC, Stays, foretell, read

LEADS = (1, 6, 12)
SPLITS = {f"{lead}h": lead - 1 for lead in LEADS}
_MEMBERS = ("mean", "direct")
_METRICS = ("crps", "interval_score", "coverage90")
_QUICK = 300  # stays
_HELD = 6  # hours after which a ventilation that is not noted again has ended


@dataclass(frozen=True)
class Problem:
    """Stays to learn from and to ask about."""

    train: Stays
    test: Stays
    seed: int
    draws: int
    thorough: bool = False


@dataclass(frozen=True)
class Prediction:
    """What a contender says of every channel, and the share of states that cannot be (by question and lead)."""

    channels: tuple[Forecast, ...]
    broken: Float[np.ndarray, "q h"]


@register("tasks", "icu")
class Icu(Task[Problem, Prediction]):
    """Intensive care: vital signs and laboratory values, irregular and missing for reasons."""

    version = "1"
    primary = "mae_ratio"
    data = "physionet2012"

    def make(self, seed: int, setting: Setting) -> Problem:
        """Stays in the order of seed 0, split 70/30; only the worlds' own randomness depends on the seed."""
        file = catalogue.find("physionet2012", setting.data) / catalogue.known("physionet2012").files
        full = setting.effort == "full"
        stays = read(file, everybody=full)
        stays = stays.take(slice(0, _QUICK)) if setting.effort == "quick" else stays
        cut = int(0.7 * len(stays.names))
        return Problem(stays.take(slice(0, cut)), stays.take(slice(cut, None)), seed, 480 if full else 96, full)

    def scope(self, setting: Setting) -> str:
        """Quick runs look at fewer stays."""
        return f"quick: {_QUICK} stays" if setting.effort == "quick" else ""

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """The reference rules, then two of the race, then the worlds."""
        for rule in RULES:
            yield Answer(rule, "baseline", _by_rule(problem, rule))
        paths = paths_of(problem.train)
        horizons = Horizons("clock", tuple(float(lead) for lead in LEADS), SPEC.clock)
        fitted = fit_paths(
            SPEC, paths, horizons, thorough=problem.thorough, seed=problem.seed, halves=False, progress=tell
        )
        names = (*_MEMBERS, "world", "world:no-rules")
        asked = [functools.partial(_by_world, problem, fitted, name) for name in names]
        for name, said in zip(names, side_by_side(asked, lambda i: None), strict=True):
            role: Role = "ours" if name.startswith("world") else "baseline"
            yield Answer(name, role, said)

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Tallies by stay; of the channels, those of errors one by one, the others together."""
        truth, units = _asked(problem.test.truth), np.tile(problem.test.names, len(ORIGINS))
        errors = foretell("persistence", problem.train, problem.train) - problem.train.truth
        scale = np.nanmean(np.abs(errors), axis=(0, 1))  # the unit of scores that pool channels, by lead and channel
        found: dict[tuple[str, str], Tally] = {}
        for split, h in SPLITS.items():
            losses = {
                metric: np.stack([
                    METRICS[metric].loss(said, truth[:, :, j])[:, h] for j, said in enumerate(prediction.channels)
                ], axis=1)
                for metric in ("mae", "crps", "interval_score", "coverage90")
            }  # fmt: skip
            for j, channel in enumerate(SPEC.channels):
                found[split, f"mae {channel.name}"] = tally(METRICS["mae"], losses["mae"][:, j], units)
            by_channel = np.repeat(units, len(SPEC.channels))
            for metric, loss in losses.items():
                name = f"n{metric}" if metric == "mae" else metric
                over = 1.0 if metric == "coverage90" else scale[h]
                found[split, name] = tally(METRICS[metric], (loss / over).ravel(), by_channel)
            within = np.stack([_inside(said, truth[:, :, j], h) for j, said in enumerate(prediction.channels)])
            asked = np.isfinite(truth[:, : h + 1]).any((1, 2))
            found[split, "joint90"] = tally(METRICS["joint90"], np.where(asked, within.all(0), np.nan), units)
            found[split, "violations_per_1000"] = tally(METRICS["mae"], 1000 * prediction.broken[:, h], units)
        return found

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """The geometric mean over channels of the error over that of the last reading, paired by stay."""
        for name, role in dict.fromkeys(key[:2] for key in pooled):
            for split in SPLITS:
                names = [f"mae {channel.name}" for channel in SPEC.channels]
                ours = [pooled[name, role, split, metric] for metric in names]
                last = [pooled["persistence", "baseline", split, metric] for metric in names]
                yield row(name, role, split, "mae_ratio", geometric_ratio(ours, last))


def paths_of(stays: Stays) -> Path:
    """Stays as stacked paths, read every hour from 0 to 47, with the ventilation that was noted."""
    t, empty = np.arange(HOURS, dtype=np.float32), np.zeros(0, np.float32)
    return stack([
        Path(t, x.astype(np.float32), schedule(_ventilation(noted)), empty, np.asarray(0, np.int32))
        for x, noted in zip(stays.x, stays.ventilated, strict=True)
    ])  # fmt: skip


def _ventilation(noted: np.ndarray) -> list[Entry]:
    """From the first note to an hour after the last; a silence of more than six hours ends it."""
    hours = np.flatnonzero(noted)
    runs = np.split(hours, np.flatnonzero(np.diff(hours) > _HELD) + 1) if len(hours) else []
    return [Entry(0, 1.0, float(run[0]), float(run[-1] + 1)) for run in runs]


def _held(stays: Stays, origin: int) -> list[list[Entry]]:
    """Ventilation as known at the origin: what was noted up to it, and, where that was lately, held to the end."""
    plans = []
    for noted in stays.ventilated[:, : origin + 1]:
        plan = _ventilation(noted)
        if plan and origin - (plan[-1].stop - 1) <= _HELD:
            plan[-1] = plan[-1]._replace(stop=float(HOURS))
        plans.append(plan)
    return plans


def _by_world(problem: Problem, fitted: Fitted, name: str) -> Prediction:
    world, trust = member(fitted, name)
    paths = paths_of(problem.test)
    n = len(problem.test.names)
    origin = np.repeat(ORIGINS, n)
    hours = np.arange(1, AHEAD + 1, dtype=np.float32)
    times = origin[:, None].astype(np.float32) + hours
    queries = Queries(np.tile(np.arange(n), len(ORIGINS)), origin, times)
    plans: Schedule = pack([plan for o in ORIGINS for plan in _held(problem.test, o)])
    key = jax.random.key(problem.seed)
    draws = forecast(world, paths, queries, key=key, draws=problem.draws, plans=plans)
    leads = np.broadcast_to(hours, times.shape)
    channels = tuple(as_forecast(SPEC, trust, draws, leads, np.asarray, j) for j in range(len(SPEC.channels)))
    return Prediction(channels, _broken(draws))


def _by_rule(problem: Problem, rule: str) -> Prediction:
    """A rule's point forecast and bands by the quantiles of its errors in training, by channel and lead."""
    said = _asked(foretell(rule, problem.train, problem.test))
    errors = problem.train.truth - foretell(rule, problem.train, problem.train)
    low, high = (said + np.nanquantile(errors, q, axis=(0, 1)) for q in (0.05, 0.95))
    channels = tuple(
        Forecast(said[..., j], said[..., j], said[:, None, :, j], low[..., j], high[..., j], low[..., j], high[..., j])
        for j in range(len(SPEC.channels))
    )
    return Prediction(channels, _broken(said[:, None]))


def _asked(said: Float[np.ndarray, "n o h d"]) -> Float[np.ndarray, "q h d"]:
    """By question: stays within origins."""
    return np.concatenate(np.moveaxis(said, 1, 0))


def _broken(draws: Float[np.ndarray, "q n h d"]) -> Float[np.ndarray, "q h"]:
    """The share of states, among the draws and their mean, that physiology rules out."""
    sampled = np.any(list(violations(SPEC, draws).values()), axis=0)
    mean = np.any(list(violations(SPEC, draws.mean(1, dtype=np.float64), levels=False).values()), axis=0)
    n = draws.shape[1]
    return (sampled.sum(1) + mean) / (n + 1)


def _inside(said: Forecast, truth: Float[np.ndarray, "q h"], h: int) -> np.ndarray:
    """Whether a channel stays in its joint band up to lead number h, where it was read."""
    upto = truth[:, : h + 1]
    inside = (said.joint_low[:, : h + 1] <= upto) & (upto <= said.joint_high[:, : h + 1])
    return np.all(inside | np.isnan(upto), axis=1)
