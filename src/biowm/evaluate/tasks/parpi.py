"""Task `parpi`: confluence of ovarian cancer cells under olaparib that is withdrawn at a time nobody has seen.

72 wells (one never read) of two lines at two doses; the drug is there for 0, 1, 2, 4 or 7 days or all 21
(doi:10.1016/j.cels.2024.04.003). All wells of one withdrawal time between others (1, 2, 4, 7 days) are held out at a
time and foretold from their first reading and their schedule. `rmse` is that of means of replicates at all 18 readings,
the first of which is given to worlds, and counts as the reference has it; `rmse_later` leaves it out. Cells fill their
wells after some ten days under most schedules, where everybody is right: `withdrawal-out/9d` stops before. Intervals
are over the 16 conditions.

`mouse-arms` is another system and other worlds: 30 mice in five arms (no drug; the highest dose; two adaptive policies
and one by a model), tumour volumes for 107 days. One arm at a time is foretold by worlds of the other four, from day
16, when arms begin to differ, to day 75, under the doses that its mice were given; arms are ranked by mean
ln(volume + 10 mm^3) over these readings, and by how far that is above day 16; one mouse of 30, lost on day 35, is not
ranked. **The adaptive arms' doses follow the tumours**, so that a schedule tells something of the future that is
foretold. Five arms of six mice make a rough ranking, and who learns nothing of doses ranks arms the wrong way round:
the mean of the other four arms is low where one's own is high.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata

from biowm.core import registry
from biowm.core.interval import Interval, Role, Row, row
from biowm.core.mechanism_units import Declared
from biowm.core.registry import register
from biowm.data import catalogue
from biowm.train.contest import Progress, portion

from ..metrics import METRICS, Forecast, Metric, Tally, difference, given, tally
from ..task import Answer, Pooled, Setting, Task
from . import _mice, _olaparib
from ._mice import ARMS, END, Mouse
from ._olaparib import HELD, Fold, Wells, folds

EARLY = 9.0  # days
_MEMBERS, _WORLDS = ("direct", "ridge", "knn"), ("world", "world:no-rules")
_GIVEN = Metric(given)
_SAID = ("size", "growth")  # of a mouse: mean ln(volume + floor) over what is foretold, and that less the origin's
_EQUATIONS = "drug-response"
_REPLICATES = 2000


@dataclass(frozen=True)
class Problem:
    """The wells, the mice and what is held out."""

    wells: Wells
    folds: tuple[Fold, ...]
    mice: tuple[Mouse, ...]
    seed: int
    draws: int
    thorough: bool = False
    equations: Declared | None = None


@dataclass(frozen=True)
class Said:
    """One contender: a forecast a fold, and ln sizes of mice by name (either may be nothing)."""

    wells: tuple[Forecast, ...] = ()
    mice: Mapping[str, Float[np.ndarray, " h"]] | None = None


@register("tasks", "parpi")
class Parpi(Task[Problem, Said]):
    """Confluence under olaparib withdrawn at an unseen time; five arms of mice ranked."""

    version = "1"
    primary = "rmse"
    data = "parpi"
    variants = ("equations",)

    def make(self, seed: int, setting: Setting) -> Problem:
        """Wells and mice; only the worlds' own randomness depends on the seed."""
        file = catalogue.find("parpi", setting.data) / catalogue.known("parpi").files
        quick, full = setting.effort == "quick", setting.effort == "full"
        wells = _olaparib.read(file)
        mice = () if quick or setting.variant else _read_mice(setting)
        held = tuple(folds(wells, HELD[1:2] if quick else HELD))
        equations = (
            Declared(registry.get("mechanisms", _EQUATIONS)(), batch="cell_line")
            if setting.variant == "equations"
            else None
        )
        return Problem(wells, held, mice, seed, 1000 if full else 256, full, equations)

    def scope(self, setting: Setting) -> str:
        """Quick runs hold out one withdrawal time, and neither they nor variants have mice."""
        if setting.effort == "quick":
            return "quick: withdrawal after 2 d, without mice"
        return "equations in the race, without mice" if setting.variant else ""

    def remarks(self, rows: Sequence[Row]) -> Iterable[str]:
        """What the rule of the other dose has seen."""
        return (
            "other-dose has seen the held-out withdrawal time at the other dose, which no other contender has",
            "doses of adaptive arms follow the tumours: a given schedule tells something of the future",
        )

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Said]]:
        """The rules and what replicates allow, then one machine a fold and one an arm."""
        wells, held, mice = problem.wells, problem.folds, problem.mice
        for rule in _olaparib.RULES:
            yield Answer(rule, "baseline", Said(tuple(_olaparib.by_rule(rule, wells, fold) for fold in held)))
        yield Answer("replicates", "floor", Said(tuple(_olaparib.by_rule("replicates", wells, f) for f in held)))
        for rule in _mice.RULES if mice else ():
            yield Answer(f"mice:{rule}", "baseline", Said(mice=_mice.by_rule(rule, mice)))
        if mice:
            yield Answer("observed", "ceiling", Said(mice={m.name: m.size[m.asked] for m in mice}))
        arms, names = (ARMS if mice else ()), (*_MEMBERS, *_WORLDS)
        n = len(held) + len(arms)
        said: dict[str, list[Forecast]] = {name: [] for name in names}
        sizes: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
        for i, fold in enumerate(held):
            told = portion(tell, f"withdrawn after {fold.delay} d", i, n)
            fitted = _olaparib.build(wells, fold, problem.seed, problem.thorough, problem.equations, told)
            for name in names:
                said[name].append(_olaparib.foretold(fitted, name, wells, fold, problem.seed, problem.draws))
        for i, arm in enumerate(arms, start=len(held)):
            fitted = _mice.build(mice, arm, problem.seed, problem.thorough, portion(tell, f"mice, {arm}", i, n))
            for name in names:
                sizes[name] |= _mice.foretold(fitted, name, mice, arm, problem.seed, problem.draws)
        for name in names:
            role: Role = "ours" if name in _WORLDS else "baseline"
            yield Answer(name, role, Said(tuple(said[name]), sizes[name] if mice else None))

    def score(self, prediction: Said, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Errors of means by condition, bands and CRPS by well, sizes of mice by mouse."""
        found = _scored(prediction.wells, problem) if prediction.wells else {}
        return found | (_of_mice(prediction.mice, problem.mice) if prediction.mice else {})

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """What the worlds gain over neighbouring schedules, paired, and how well arms are ranked."""
        for (name, role, split, metric), ours in pooled.items():
            if role == "ours" and metric in ("rmse", "rmse_later"):
                theirs = pooled["neighbours", "baseline", split, metric]
                yield row(name, role, split, f"{metric}_minus_neighbours", difference(ours, theirs))
        first = f"mouse-arms/{ARMS[0]}"
        for name, role, split, what in list(pooled):
            if split == first and name != "observed":
                truth = [pooled["observed", "ceiling", f"mouse-arms/{arm}", what] for arm in ARMS]
                said = [pooled[name, role, f"mouse-arms/{arm}", what] for arm in ARMS]
                metric = "spearman" if what == "size" else f"spearman_{what}"
                yield row(name, role, "mouse-arms", metric, ranked(said, truth))


def _read_mice(setting: Setting) -> tuple[Mouse, ...]:
    return _mice.read(catalogue.find("parpi-mice", setting.data) / catalogue.known("parpi-mice").files)


def _scored(parts: tuple[Forecast, ...], problem: Problem) -> dict[tuple[str, str], Tally]:
    test = np.concatenate([fold.test for fold in problem.folds])
    says = Forecast(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Forecast)))
    truth, t = problem.wells.y[test], problem.wells.t[test]
    conditions = np.array([problem.wells.names()[i] for i in test])
    units = np.array([f"{c}/{problem.wells.replicate[i]}" for c, i in zip(conditions, test, strict=True)])
    kinds, place = np.unique(conditions, return_inverse=True)
    seen = np.isfinite(truth) & np.isfinite(says.mean)
    miss = np.stack([_mean_miss(says.mean[place == k], truth[place == k], seen[place == k]) for k in range(len(kinds))])
    days = np.stack([t[place == k][0] for k in range(len(kinds))])
    later = np.where(np.isfinite(says.low), truth, np.nan)  # who promises no band is not held to one
    found: dict[tuple[str, str], Tally] = {}
    for split, until in (("withdrawal-out", np.inf), (f"withdrawal-out/{EARLY:g}d", EARLY)):
        square = np.where(days <= until, miss**2, np.nan)
        square_later = np.where(np.arange(t.shape[1]) > 0, square, np.nan)
        for name, loss in (("rmse", square), ("rmse_later", square_later)):
            found[split, name] = tally(METRICS["rmse"], loss.ravel(), np.repeat(kinds, loss.shape[1]))
        among = np.where(t <= until, later, np.nan)
        for name in ("coverage90", "crps", "interval_score"):
            loss = METRICS[name].loss(says, among)
            found[split, name] = tally(METRICS[name], loss.ravel(), np.repeat(units, loss.shape[1]))
        inside = METRICS["joint90"].loss(says, among)
        last = among.shape[1] - 1 - np.argmax(np.isfinite(among)[:, ::-1], axis=1)
        found[split, "joint90"] = tally(METRICS["joint90"], inside[np.arange(len(test)), last], units)
    return found


def _mean_miss(
    said: Float[np.ndarray, "r t"], truth: Float[np.ndarray, "r t"], seen: Float[np.ndarray, "r t"] | np.ndarray
) -> Float[np.ndarray, " t"]:
    """The mean over replicates of what was said less that of what was read, of those that were read; else NaN."""
    with np.errstate(invalid="ignore"):
        return np.where(seen, said - truth, 0.0).sum(0) / seen.sum(0)


def _of_mice(sizes: Mapping[str, np.ndarray], mice: Sequence[Mouse]) -> dict[tuple[str, str], Tally]:
    """By arm the sizes that were said, by mouse; and the squared miss of every reading, of all mice."""
    found: dict[tuple[str, str], Tally] = {}
    for arm in ARMS:
        mine = [m for m in mice if m.arm == arm and m.t[-1] >= END]
        mean = np.array([sizes[m.name].mean() for m in mine])
        start = np.array([m.size[m.origin] for m in mine])
        for name, value in zip(_SAID, (mean, mean - start), strict=True):
            found[f"mouse-arms/{arm}", name] = tally(_GIVEN, value, [m.name for m in mine])
    square = np.concatenate([(sizes[m.name] - m.size[m.asked]) ** 2 for m in mice])
    units = np.concatenate([[m.name] * len(sizes[m.name]) for m in mice])
    found["mouse-arms", "rmse_ln"] = tally(METRICS["rmse"], square, units)
    return found


def ranked(said: Sequence[Tally], truth: Sequence[Tally]) -> Interval:
    """Spearman's correlation of arms' means (0 where all are equal); mice of an arm are resampled for both (95 %)."""
    rng = np.random.default_rng(0)

    def means(resample: bool) -> Float[np.ndarray, "2 a"]:
        pairs = []
        for a, b in zip(said, truth, strict=True):
            n = len(a.units)
            pick = rng.integers(0, n, n) if resample else np.arange(n)
            pairs.append([(x.total[pick] / x.count[pick]).mean() for x in (a, b)])
        return np.array(pairs).T

    every = [_spearman(*means(True)) for _ in range(_REPLICATES)]
    low, high = np.quantile(every, [0.025, 0.975])
    return Interval(_spearman(*means(False)), float(low), float(high), sum(len(a.units) for a in said))


def _spearman(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    x, y = rankdata(np.round(a, 9)), rankdata(np.round(b, 9))
    return float(np.corrcoef(x, y)[0, 1]) if np.ptp(x) > 0 and np.ptp(y) > 0 else 0.0
