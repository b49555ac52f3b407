"""Task `perturbseq-mini`: populations of cells under genes that were never switched together, or in another cell line.

5,961 cells x 500 genes, log1p expression (Norman 2019, doi:10.1126/science.aax4438; McFaline-Figueroa 2024,
doi:10.1016/j.xgen.2023.100487; as cut by PerturBench, arXiv:2408.10609). Protocol, written down before any score:

- `norman-doubles`: K562, genes switched on. Five pairs whose genes were both switched on alone are held out; known
  are all singles, the other pairs and half of the control cells.
- `mcfaline-control`: nine knock-downs in three glioblastoma lines; all nine of one line are held out at a time, known
  are the other two lines and half of the control cells of the line. A negative control: hardly anything reproduces
  here.
- Control cells are split by the seed: the delta of a prediction is its mean minus that of one half, which the
  contender knows; the delta of the truth is the mean of all cells of the condition minus that of the other half,
  which nobody knows. Both are real cells (a model's own control cells could be bent: cell-eval #196), and deltas keep
  their sign.
- `pearson_delta`: correlation of both deltas over all 500 genes, by condition. `energy` and `mmd`: distances between
  the foretold and the real cells in the space of all 500 genes (unbiased, a kernel as wide as the median distance of
  known cells); `energy_pca`: in the first 20 principal components of the known cells. Cells are never paired.
- `pearson_delta_shared`: the same with all control cells known and on both sides, which is how cell-eval and most
  papers score, for simple rules alone. It is reproduced, not believed. `others`, the mean cell of the *other*
  held-out conditions of the context, knows nothing of the condition and shows why; `pearson_delta_split` is its score
  with split controls.
- `ceiling`: half of the cells of a condition with half of the control cells foretell the other halves (20 splits).
  That is an experiment of half the size: who pools more cells may do better.
- `verdict` of a split is 1 where replicates say something of a condition that chance, the control and the other
  conditions do not, above their own noise: three questions, in `evaluate/signal.py`. That of a contender is 1 where
  this holds, and its prediction passes the same against cells it does not know (p of the best context times the number
  of contexts). Counted by seed; the majority decides. Rows `p_control`, `p_others` and `gain_on_others` are what it is
  made of. Where the verdict of replicates is 0 the report says "no signal above split-half noise" and nobody is ahead.
  The first two questions were fixed before any score; the third was put after both had been answered with yes on two of
  three seeds of `mcfaline-control` (docs/findings.md): one knock-down of nine does reproduce.
- Five seeds: other halves of the control cells, and the world's own randomness. Intervals are over conditions (those
  of a context share control cells, so they are too narrow rather than too wide).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float, Int

from biowm.core.interval import Interval, Row, row
from biowm.core.populations import energy_distance, mmd
from biowm.core.registry import register
from biowm.data import catalogue
from biowm.data.screens import Screen, load_screen
from biowm.train.cells.predict import predict_cells
from biowm.train.contest import Progress, portion
from biowm.train.screens import fit_screen

from ..metrics import Metric, Tally, difference, given, tally
from ..populations import cosine, halves, pearson_delta
from ..signal import Signal, prediction_signal, replicate_signal
from ..task import Answer, Pooled, Setting, Task
from ._clouds import Cloud, Fold, fold_of, learned_from, others, replicated, rules, shared, unseen

NORMAN, MCFALINE = "norman-doubles", "mcfaline-control"
DOUBLES = ("KLF1+MAP2K6", "KLF1+TGFBR2", "MAPK1+TGFBR2", "MAP2K3+SLC38A2", "MAP2K3+MAP2K6")
COUNT, SPLITS = 200, 20  # cells that a world is asked for; halvings of the ceiling
_QUOTED = {
    "control": -0.348,
    "mean": 0.301,
    "additive": 0.872,
}  # cell-eval on these five pairs, one resampling of cells
_NUMBER = Metric(given)


def _majority(share: np.ndarray) -> np.ndarray:
    return (np.asarray(share) > 0.5).astype(float)


_VERDICT = Metric(given, _majority)
Delta = Literal["pearson_delta", "pearson_delta_shared", "pearson_delta_split"]


@dataclass(frozen=True)
class Problem:
    """Folds by context, and what replicates say of each split."""

    folds: tuple[Fold, ...]
    signals: Mapping[str, Signal]
    seed: int
    splits: int
    permutations: int
    thorough: bool


@dataclass(frozen=True)
class Said:
    """A cloud for a condition of a fold, and the cells it is scored against: rows of cells and of control cells.

    `delta` is the name of the first score; the others are of `pearson_delta` alone.
    """

    fold: Fold
    condition: int
    cloud: Cloud
    truth: Int[np.ndarray, " m"]
    ours: Int[np.ndarray, " a"]
    theirs: Int[np.ndarray, " b"]
    delta: Delta = "pearson_delta"


@dataclass(frozen=True)
class Prediction:
    """All that a contender says; `replicates`: it is made of the held-out cells themselves."""

    said: tuple[Said, ...]
    replicates: bool = False


@register("tasks", "perturbseq-mini")
class PerturbseqMini(Task[Problem, Prediction]):
    """Populations of cells under unseen pairs of genes, and a negative control."""

    version = "1"
    primary = "pearson_delta"
    higher = True
    data = "perturbench"

    def make(self, seed: int, setting: Setting) -> Problem:
        """Both screens; the seed halves the control cells."""
        file = catalogue.find("perturbench", setting.data) / "devel.h5ad"
        norman, mcfaline = (
            load_screen(file, {"study": n, "where": {"dataset": n}}) for n in ("norman19", "mcfaline23")
        )
        quick = setting.effort == "quick"
        return problem_of(
            folds(norman, mcfaline, seed)[: 2 if quick else None], seed, 5 if quick else SPLITS, 99 if quick else 199,
            thorough=setting.effort == "full",
        )  # fmt: skip

    def scope(self, setting: Setting) -> str:
        """Quick runs hold out one of the three lines."""
        return "quick: 1 of 3 cell lines, 99 permutations" if setting.effort == "quick" else ""

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """The rules, with split and with shared controls; the trap; replicates; and the world."""
        apart = [(fold, rules(fold)) for fold in problem.folds]
        together = [(fold, rules(fold)) for fold in map(shared, problem.folds)]
        for name in apart[0][1]:
            said = [s for fold, by in apart for s in _said(fold, by[name])]
            said += [s for fold, by in together for s in _said(fold, by[name], "pearson_delta_shared")]
            yield Answer(name, "baseline", Prediction(tuple(said)))
        trap = [s for f in problem.folds for s in _said(f, others(f), "pearson_delta_split")]
        trap += [s for f in map(shared, problem.folds) for s in _said(f, others(f), "pearson_delta_shared")]
        yield Answer("others", "baseline", Prediction(tuple(trap)))
        yield Answer("ceiling", "ceiling", Prediction(tuple(_halved(problem)), replicates=True))
        for name, told in _worlds(problem, tell).items():
            yield Answer(name, "ours", Prediction(tuple(told)))

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Correlations and distances by condition, the verdict and its p by seed."""
        found: dict[tuple[str, str], Tally] = {}
        for split in dict.fromkeys(s.fold.split for s in prediction.said):
            mine = [s for s in prediction.said if s.fold.split == split]
            numbers: dict[str, list[tuple[str, float]]] = {}
            for s in mine:
                for metric, value in _numbers(s, prediction.replicates):
                    numbers.setdefault(metric, []).append((s.fold.screen.conditions[s.condition], value))
            for metric, pairs in numbers.items():
                units, values = zip(*pairs, strict=True)
                found[split, metric] = tally(_NUMBER, np.array(values), np.array(units))
            if "pearson_delta" in numbers:
                told = problem.signals[split] if prediction.replicates else _signal(mine, problem)
                verdict = float(told.found and problem.signals[split].found)
                unit = [f"seed {problem.seed}"]
                found[split, "verdict"] = tally(_VERDICT, np.array([verdict]), unit)
                for name, p in (("p_control", told.p_control), ("p_others", told.p_others)):
                    found[split, name] = tally(_NUMBER, np.array([p]), unit)
                names = [s.fold.screen.conditions[s.condition] for s in _asked(mine)]
                found[split, "gain_on_others"] = tally(_NUMBER, told.gains, names)
        return found

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """What the world gains over simple rules, paired by condition, and what cell-eval says of three rules."""
        for metric, rule in (("pearson_delta", "additive"), *((m, r) for m in ("energy", "mmd") for r in _DISTANT)):
            for split in (NORMAN, MCFALINE):
                ours = pooled.get(("world", "ours", split, metric))
                theirs = pooled.get((rule, "baseline", split, metric))
                if ours is not None and theirs is not None:
                    name = f"{metric}_minus_{rule.replace(' ', '_')}"
                    yield row("world", "ours", split, name, difference(ours, theirs))
        for method, value in _QUOTED.items():
            number = Interval(value, value, value, len(DOUBLES))
            yield row(f"published:cell-eval, {method}", "published", NORMAN, "pearson_delta_shared", number)

    def remarks(self, rows: Sequence[Row]) -> Iterable[str]:
        """Where shared control cells lift a rule that knows nothing of the condition, and how far."""
        found = {(r.split, r.metric): r for r in rows if r.name == "others"}
        for split in dict.fromkeys(s for s, _ in found):
            lifted, apart = (found[split, f"pearson_delta_{kind}"] for kind in ("shared", "split"))
            if lifted.low > apart.high:
                yield (
                    f"{split}: warning: the mean of the other conditions scores {lifted.value:.2f} where prediction "
                    f"and truth share control cells, {apart.value:.2f} where they do not: "
                    "pearson_delta_shared is no evidence"
                )


_DISTANT = ("no change", "mean shift", "additive")


def folds(norman: Screen, mcfaline: Screen, seed: int) -> list[Fold]:
    """The fold of the five pairs, then one for each cell line."""
    cells = [screen.cells.rows(np.arange(screen.cells.shape[0])) for screen in (norman, mcfaline)]
    pairs = [norman.members.index(name) for name in DOUBLES]
    found = [fold_of(NORMAN, norman, cells[0], pairs, seed)]
    context = np.unique(mcfaline.traits, axis=0, return_inverse=True)[1].reshape(-1)
    for line in np.unique(context):
        asked = np.flatnonzero((context == line) & ~mcfaline.control).tolist()
        found.append(fold_of(MCFALINE, mcfaline, cells[1], asked, seed))
    return found


def problem_of(
    asked: Sequence[Fold], seed: int, splits: int = SPLITS, permutations: int = 199, *, thorough: bool = False
) -> Problem:
    """The problem of some folds: what replicates say is computed from the cells."""
    signals = {
        split: replicate_signal(
            [replicated(f) for f in asked if f.split == split], permutations=permutations, seed=seed
        )
        for split in dict.fromkeys(f.split for f in asked)
    }
    return Problem(tuple(asked), signals, seed, splits, permutations, thorough)


def _said(fold: Fold, clouds: Mapping[int, Cloud], delta: Delta = "pearson_delta") -> Iterator[Said]:
    for condition, cloud in clouds.items():
        yield Said(fold, condition, cloud, fold.rows(condition), fold.ours, fold.theirs, delta)


def _halved(problem: Problem) -> Iterator[Said]:
    """One half of the cells as the prediction of the other, many times."""
    draw = np.random.default_rng([problem.seed, 1])
    for fold in problem.folds:
        control = np.concatenate([fold.ours, fold.theirs])
        for _ in range(problem.splits):
            first = halves(np.zeros(len(control), int), draw)
            for c in fold.asked:
                rows = fold.rows(c)
                half = halves(np.zeros(len(rows), int), draw)
                cloud = Cloud(fold.mean(rows[half]), fold.cells[rows[half]])
                yield Said(fold, c, cloud, rows[~half], control[first], control[~first])


def _worlds(problem: Problem, tell: Progress) -> dict[str, list[Said]]:
    """The default world of each fold, and the cells it makes; the same without the simple rules of its race."""
    found: dict[str, list[Said]] = {"world": [], "world:no-rules": []}
    for i, fold in enumerate(problem.folds):
        part = portion(tell, f"{fold.split} {i + 1} of {len(problem.folds)}", i, len(problem.folds))
        fitted = fit_screen(learned_from(fold), seed=problem.seed, thorough=problem.thorough, progress=part)
        at, screen, key = list(fold.asked), fold.screen, jax.random.key(problem.seed)
        for name, said in found.items():
            whose = fitted if name == "world" else replace(fitted, world=fitted.rules_free)
            cells = predict_cells(whose, screen.dose[at], screen.traits[at], screen.hours[at], COUNT, key)
            clouds = {c: Cloud(x.mean(0, dtype=np.float64), x) for c, x in zip(at, cells, strict=True)}
            said += _said(fold, clouds)
    return found


def _numbers(said: Said, replicates: bool) -> Iterator[tuple[str, float]]:
    """Every score of one cloud."""
    fold, predicted = said.fold, said.cloud.cells
    means = {"predicted_control": fold.mean(said.ours), "true_control": fold.mean(said.theirs)}
    yield said.delta, float(pearson_delta(said.cloud.mean, fold.mean(said.truth), **means))
    if said.delta != "pearson_delta":
        return
    if replicates:
        sides = said.cloud.mean - means["predicted_control"], fold.mean(said.truth) - means["true_control"]
        yield "cosine_delta", float(cosine(*sides))
    truth = fold.cells[said.truth]
    yield "energy", float(energy_distance(predicted, truth))
    yield "energy_pca", float(energy_distance(predicted @ fold.basis, truth @ fold.basis))
    yield "mmd", float(mmd(predicted, truth, fold.bandwidth))


def _asked(said: Sequence[Said]) -> list[Said]:
    """One of each fold and condition, in the order of the folds."""
    found = {(id(s.fold), s.condition): s for s in said if s.delta == "pearson_delta"}
    return list(found.values())


def _signal(said: Sequence[Said], problem: Problem) -> Signal:
    """A prediction's gains in all contexts, and its p in the most telling one, times the number of contexts."""
    tests = []
    for fold in {id(s.fold): s.fold for s in said if s.delta == "pearson_delta"}.values():
        means = {s.condition: s.cloud.mean for s in _asked(said) if s.fold is fold}
        predicted: Float[np.ndarray, "k g"] = np.stack([means[c] for c in fold.asked])
        seed, control = problem.seed, fold.mean(fold.ours)
        tests.append(prediction_signal(unseen(fold), predicted, control, permutations=problem.permutations, seed=seed))
    best = min(tests, key=lambda t: np.nanmax([t.p_control, t.p_others]))
    p_control, p_others = np.minimum(1.0, np.array([best.p_control, best.p_others]) * len(tests)).tolist()
    gains = np.concatenate([t.gains for t in tests])
    return Signal(float(np.mean([t.agreement for t in tests])), p_control, p_others, gains)
