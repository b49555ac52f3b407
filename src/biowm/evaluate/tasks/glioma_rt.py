"""Task `glioma-rt`: whole confluence curves of wells under fractionated radiotherapy, foretold from the first reading.

638 wells of two glioma lines under six schemes, the published split (doi:10.3389/fonc.2022.811415). In distribution,
with the well's scheme unseen, and with its total dose unseen (from the first reading, and once more after 72 h). The
score of a curve is its concordance (CCC, biased moments), averaged over the validation curves of a line.

**A confound that no model can undo**: 16 Gy and 20 Gy are two campaigns, done apart, and differ by more than the dose
(9L, median of y(312 h)/y0: .99 under 2 x 8 Gy, .29 under 4 x 5 Gy, at nearly equal biologically effective dose). What
`dose-out` asks is partly the difference between two experiments.

Worlds are trained on the readings at multiples of 12 h and asked at these; between them forecasts are linear in time.
All readings are scored. In distribution the race holds out single wells; where schemes or doses are unseen it holds out
schemes, as the question does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float

from biowm.core.concordance import concordance
from biowm.core.interval import Interval, Role, Row, row
from biowm.core.registry import register
from biowm.data import catalogue
from biowm.train.contest import Progress, portion

from ..metrics import METRICS, Forecast, Metric, Tally, difference, tally
from ..task import Answer, Pooled, Setting, Task
from ._radiated import MEMBERS, PARTS, Machine, build, foretold
from ._wells import LINES, PROTOCOLS, Protocol, Well, folds, foretell, read_wells

SEEN = 72.0  # hours, when the later forecast starts
RULES = ("persistence", "mean", "growth", "knn")
_TRUNK, _RESIDUAL, _BOTH = PARTS
_PUBLISHED = {"in/9L": (0.88, 0.013, 91), "in/C6": (0.75, 0.017, 74)}  # mean and standard error by the paper, curves


def _concordance(forecast: Forecast, truth: np.ndarray) -> np.ndarray:
    """By curve."""
    return np.asarray(concordance(forecast.mean, np.nan_to_num(truth), np.isfinite(truth)))[:, None]


def _rmse(forecast: Forecast, truth: np.ndarray) -> np.ndarray:
    """By curve."""
    return np.sqrt(np.nanmean((forecast.mean - truth) ** 2, axis=1, keepdims=True))


_CCC, _RMSE = Metric(_concordance), Metric(_rmse)


@dataclass(frozen=True)
class Problem:
    """The wells, and what is done with them."""

    wells: tuple[Well, ...]
    lines: tuple[str, ...]
    protocols: tuple[Protocol, ...]
    seed: int
    draws: int
    thorough: bool = False


Machines = dict[tuple[Protocol, str], list[Machine]]
Prediction = Mapping[str, Forecast]  # by split; wells in the order of `validated`


@register("tasks", "glioma-rt")
class GliomaRt(Task[Problem, Prediction]):
    """Fractionated radiotherapy: confluence curves in distribution, under an unseen scheme, under an unseen dose."""

    version = "1"
    primary = "ccc"
    higher = True
    data = "glioma"

    def make(self, seed: int, setting: Setting) -> Problem:
        """The published split; only the worlds' own randomness depends on the seed."""
        folder = catalogue.find("glioma", setting.data)
        wells = read_wells(folder / catalogue.known("glioma").files)
        quick = setting.effort == "quick"
        full = setting.effort == "full"
        protocols = ("in", "dose-out") if quick else PROTOCOLS
        return Problem(wells, LINES[:1] if quick else LINES, protocols, seed, 500 if full else 100, full)

    def scope(self, setting: Setting) -> str:
        """Quick runs do one line, without the unseen schemes; full ones are thorough."""
        return {"quick": "quick: 9L, without scheme-out", "full": "full: thorough fits"}.get(setting.effort, "")

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """The simple rules, then the race's own, then the worlds: one machine a line and fold."""
        for rule in RULES:
            yield Answer(rule, "baseline", {split: _by_rule(problem, split, rule) for split in splits(problem)})
        lines, protocols = problem.lines, problem.protocols
        places: list[tuple[Protocol, str]] = [(protocol, line) for line in lines for protocol in protocols]
        asked = [(place, fold) for place in places for fold in folds(problem.wells, place[1], place[0])]
        machines: Machines = {place: [] for place in places}
        for i, (place, fold) in enumerate(asked):
            said = portion(tell, " ".join(place), i, len(asked))
            machines[place].append(build(problem.wells, fold, problem.seed, problem.thorough, said))
        for name in (*MEMBERS, "world", "world:no-rules", *PARTS):
            role: Role = "baseline" if name in MEMBERS else "ours"
            yield Answer(name, role, {split: _by_world(problem, split, machines, name) for split in splits(problem)})

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Tallies by well; the first reading, which is given, counts in concordance and RMSE, as the paper has it."""
        found: dict[tuple[str, str], Tally] = {}
        for split, says in prediction.items():
            wells, later = validated(problem, split), truths(problem, split)
            whole = later.copy()
            if parsed(split)[2] == 0:
                whole[:, 0] = [w.y[0] for w in wells]
            units = [w.name for w in wells]
            for name, metric in (("ccc", _CCC), ("rmse", _RMSE)):
                found[split, name] = tally(metric, metric.loss(says, whole)[:, 0], units)
            later = np.where(np.isfinite(says.low), later, np.nan)  # who promises no band is not held to one
            for name in ("coverage90", "crps"):
                loss = METRICS[name].loss(says, later)
                found[split, name] = tally(METRICS[name], loss.ravel(), np.repeat(units, loss.shape[1]))
            inside = METRICS["joint90"].loss(says, later)
            last = later.shape[1] - 1 - np.argmax(np.isfinite(later)[:, ::-1], axis=1)
            found[split, "joint90"] = tally(METRICS["joint90"], inside[np.arange(len(wells)), last], units)
        return found

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """What trunk and residual gain over either alone (paired by well), and the published model."""
        for split in dict.fromkeys(split for _, _, split, _ in pooled):
            for other in (_TRUNK, _RESIDUAL):
                gain = difference(pooled[_BOTH, "ours", split, "ccc"], pooled[other, "ours", split, "ccc"])
                yield row(f"{_BOTH} - {other}", "ours", split, "ccc_gain", gain)
            if split in _PUBLISHED:
                mean, error, n = _PUBLISHED[split]
                published = Interval(mean, mean - 1.96 * error, mean + 1.96 * error, n)
                yield row("published:liu2022", "published", split, "ccc", published)


def splits(problem: Problem) -> list[str]:
    """Names of the splits: protocol and line; unseen doses are foretold from 72 h on as well."""
    kinds = [k for p in problem.protocols for k in ((p, "dose-out-72h") if p == "dose-out" else (p,))]
    return [f"{kind}/{line}" for kind in kinds for line in problem.lines]


def parsed(split: str) -> tuple[Protocol, str, float]:
    """Protocol, line and the hour it is foretold from."""
    name, line = split.split("/")
    protocol: Protocol = next(p for p in PROTOCOLS if name.startswith(p))
    return protocol, line, SEEN if name.endswith("72h") else 0.0


def validated(problem: Problem, split: str) -> list[Well]:
    """The validation wells of a split, fold by fold."""
    protocol, line, _ = parsed(split)
    return [problem.wells[i] for fold in folds(problem.wells, line, protocol) for i in fold.test]


def truths(problem: Problem, split: str) -> Float[np.ndarray, "q t"]:
    """Readings that are foretold, padded with NaN to the longest curve of all."""
    *_, origin = parsed(split)
    wells = validated(problem, split)
    out = np.full((len(wells), max(len(w.t) for w in problem.wells)), np.nan)
    for i, w in enumerate(wells):
        out[i, : len(w.t)] = np.where(w.t > origin, w.y, np.nan)
    return out


def _by_rule(problem: Problem, split: str, rule: str) -> Forecast:
    """A rule's point forecasts; it promises no band and no draws."""
    protocol, line, origin = parsed(split)
    out = np.full(truths(problem, split).shape, np.nan)
    places = [(fold, i) for fold in folds(problem.wells, line, protocol) for i in fold.test]
    for row_, (fold, i) in enumerate(places):
        well = problem.wells[i]
        out[row_, : len(well.t)] = foretell(rule, problem.wells, fold, well, origin)
    none = np.full_like(out, np.nan)
    return Forecast(out, out, none[:, None], none, none, none, none)


def _by_world(problem: Problem, split: str, machines: Machines, name: str) -> Forecast:
    protocol, line, origin = parsed(split)
    parts = [foretold(m, problem.wells, name, origin, problem.seed, problem.draws) for m in machines[protocol, line]]
    return Forecast(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Forecast)))
