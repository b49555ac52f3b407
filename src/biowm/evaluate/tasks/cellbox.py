"""Task `cellbox`: 99 proteins and phenotypes of melanoma cells under pairs of drugs that were never seen, or drugs.

89 conditions of twelve drugs, log2 ratio to the control after 24 h (doi:10.7554/eLife.04640). Four splits, as the paper
of CellBox has them (doi:10.1016/j.cels.2020.11.013): pairs from single drugs; all pairs of a drug, whose single
conditions are known; everything with a drug; and 30 % of the conditions at random. The score is the correlation over
all 99 nodes of all held-out conditions with the drug, averaged over the twelve; at random, that of the mean prediction
of every condition over the repetitions in which it was held out.

Two of the four are saturated: without the drug's pairs, and at random, single effects that add up explain what
replicates would. The bars say so, and differences of .001 are noise with twelve drugs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as File

import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.interval import Interval, Row, row
from biowm.core.path import Path, take
from biowm.core.registry import register
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.data import catalogue
from biowm.train.contest import Progress, portion
from biowm.train.fit import fit_paths
from biowm.train.horizons import Horizons

from ..metrics import METRICS, Metric, Tally, difference, given, tally
from ..task import Answer, Pooled, Setting, Task
from ._screens import WORLDS, Said, answers, conditions, unpromised

HOURS, DRUGS = 24.0, 12
SPLITS = ("single-to-combo", "drug-out-with-singles", "drug-out", "random")
_PUBLISHED = {  # over the twelve drugs; at random over 1,000 repetitions (the notebook of the paper's Figure 3)
    "CellBox": (0.9245, 0.9355, 0.7802, 0.9256),
    "neural network": (0.875, 0.920, None, None),
    "co-expression": (0.809, 0.787, 0.738, None),
    "belief propagation": (0.688, 0.795, 0.712, None),
}
_MEMBERS = ("persistence", "mean", "additive", "ridge")
_CORRELATION = Metric(given)


@dataclass(frozen=True)
class Screen:
    """Doses [89, 12] (0: not given) and responses [89, 99], log2 ratio to the control."""

    dose: Float[np.ndarray, "n a"]
    response: Float[np.ndarray, "n d"]
    names: tuple[str, ...]
    drugs: tuple[str, ...]


@dataclass(frozen=True)
class Fold:
    """What is learned from, what is foretold, and the unit it is counted by (a drug; at random a repetition)."""

    split: str
    unit: str
    train: Int[np.ndarray, " n"]
    test: Int[np.ndarray, " m"]


@dataclass(frozen=True)
class Problem:
    """The screen and its folds."""

    screen: Screen
    folds: tuple[Fold, ...]
    seed: int
    draws: int
    thorough: bool


Prediction = tuple[Said, ...]  # by fold


@register("tasks", "cellbox")
class CellBox(Task[Problem, Prediction]):
    """Responses of melanoma cells to unseen pairs of drugs, and to unseen drugs."""

    version = "1"
    primary = "pearson"
    higher = True
    data = "cellbox"

    def make(self, seed: int, setting: Setting) -> Problem:
        """The screen; only the repetitions at random depend on the seed, and the worlds' own randomness."""
        screen = read(catalogue.find("cellbox", setting.data))
        quick, full = setting.effort == "quick", setting.effort == "full"
        drugs = range(0, DRUGS, 4) if quick else range(DRUGS)
        return Problem(screen, tuple(folds(screen, drugs, 2 if quick else 5, seed)), seed, 4000 if full else 1000, full)

    def scope(self, setting: Setting) -> str:
        """Quick runs hold out every fourth drug."""
        return "quick: 3 of 12 drugs, 2 of 5 repetitions" if setting.effort == "quick" else ""

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """The rules everybody knows, then the race's rules and the worlds."""
        said: dict[str, list[Said]] = {name: [] for name in (*_MEMBERS, *WORLDS)}
        fits: dict[tuple, tuple[dict[str, Said], Int[np.ndarray, " n"]]] = {}
        yield Answer("one-hot ridge", "baseline", tuple(_one_hot(problem.screen, f) for f in problem.folds))
        for i, fold in enumerate(problem.folds):
            new = units(problem.screen, fold)
            key = fold.train.tobytes(), new  # the singles alone are learned from once
            if key not in fits:
                told = portion(tell, f"{fold.split} {fold.unit}", i, len(problem.folds))
                fits[key] = _answers(problem, fold.train, new, told)
            whole, rest = fits[key]
            place = np.searchsorted(rest, fold.test)
            for name, answer in whole.items():
                said[name].append(answer.among(place))
        for name, parts in said.items():
            yield Answer(name, "ours" if name.startswith("world") else "baseline", tuple(parts))

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Correlations by drug; at random by condition. Coverage of each node's band by condition."""
        found: dict[tuple[str, str], Tally] = {}
        for split in dict.fromkeys(f.split for f in problem.folds):
            parts = [(f, p) for f, p in zip(problem.folds, prediction, strict=True) if f.split == split]
            if split == "random":
                loss, units = _pooled([(f.test, p.mean) for f, p in parts], problem.screen)
            else:
                loss = np.array([_pearson(p.mean, problem.screen.response[f.test]) for f, p in parts])
                units = np.array([f.unit for f, _ in parts])
            found[split, "pearson"] = tally(_CORRELATION, loss, units)
            inside = np.concatenate([p.hits(problem.screen.response[f.test]) for f, p in parts])
            names = np.concatenate([[problem.screen.names[i] for i in f.test] for f, _ in parts])
            found[split, "coverage90"] = tally(METRICS["coverage90"], inside.mean(1), names)
        return found

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """What the worlds gain over ridge, paired, and what was published."""
        for (name, role, split, metric), ours in pooled.items():
            if role == "ours" and metric == "pearson":
                theirs = pooled["one-hot ridge", "baseline", split, metric]
                yield row(name, role, split, "pearson_minus_ridge", difference(ours, theirs))
        for method, figures in _PUBLISHED.items():
            for split, value in zip(SPLITS, figures, strict=True):
                if value is not None:
                    yield row(
                        f"published:{method}", "published", split, "pearson", Interval(value, value, value, DRUGS)
                    )


def read(folder: File) -> Screen:
    """The screen as CellBox has it: doses are strengths of inhibition, the last twelve of 99 nodes the drugs' own."""
    response = np.loadtxt(folder / "expr.csv", delimiter=",")
    dose = -np.loadtxt(folder / "pert.csv", delimiter=",")[:, -DRUGS:]
    nodes = (folder / "node_Index.csv").read_text().split()
    names = tuple(" + ".join(f"{nodes[-DRUGS + a]} {row_[a]:g}" for a in np.flatnonzero(row_)) for row_ in dose)
    return Screen(dose, response, names, tuple(nodes[-DRUGS:]))


def folds(screen: Screen, drugs: Iterable[int], repetitions: int, seed: int) -> Iterator[Fold]:
    """The folds of all four splits."""
    on = screen.dose != 0
    single = on.sum(1) == 1
    for split in SPLITS[:3]:
        for a in drugs:
            held: Bool[np.ndarray, " n"] = on[:, a] if split == "drug-out" else on[:, a] & ~single
            learned = single if split == "single-to-combo" else ~held
            yield Fold(split, screen.drugs[a], np.flatnonzero(learned), np.flatnonzero(held))
    draw = np.random.default_rng([seed, 0])
    for k in range(repetitions):
        order = draw.permutation(len(on))
        cut = round(0.7 * len(on))
        yield Fold("random", f"repetition {k}", np.sort(order[:cut]), np.sort(order[cut:]))


def units(screen: Screen, fold: Fold) -> tuple[tuple[str, ...], ...]:
    """What is new in what a fold asks, of each condition learned from: it is held out with any of these.

    The drugs of the condition, where a drug is unseen; where only its pairs are, those of pairs, and every single is
    known; else the condition itself.
    """
    found: list[tuple[str, ...]] = []
    for i in fold.train:
        drugs = tuple(screen.drugs[a] for a in np.flatnonzero(screen.dose[i]))
        if fold.split == "drug-out-with-singles" and len(drugs) == 1:
            found.append(())
        else:
            found.append(drugs if fold.split.startswith("drug-out") else (screen.names[i],))
    return tuple(found)


def spec_of(screen: Screen) -> WorldSpec:
    """Log ratios to the control, which is 0 by definition, under sets of drugs."""
    channels = tuple(Channel(f"node {j}", "", control=0.0) for j in range(screen.response.shape[1]))
    return WorldSpec("cellbox", "h", channels, tuple(ActionCard(name, "", "set-member") for name in screen.drugs))


def paths_of(screen: Screen) -> Path:
    """Each condition as a path, all nodes read after a day."""
    sets = ({int(a): float(u[a]) for a in np.flatnonzero(u)} for u in screen.dose)
    return conditions(sets, screen.response, HOURS)


def _answers(
    problem: Problem, train: Int[np.ndarray, " n"], new: tuple[tuple[str, ...], ...], tell: Progress
) -> tuple[dict[str, Said], Int[np.ndarray, " m"]]:
    """What the members of the fit on `train` (units: `new`) say of all other conditions, and which these are."""
    paths, spec = paths_of(problem.screen), spec_of(problem.screen)
    fitted = fit_paths(
        spec, take(paths, train), Horizons("clock", (HOURS,), spec.clock, "start"), thorough=problem.thorough,
        units=new, seed=problem.seed, halves=False, progress=tell,
    )  # fmt: skip
    rest = np.setdiff1d(np.arange(len(problem.screen.dose)), train)
    names = (*_MEMBERS, *WORLDS)
    return answers(fitted, names, take(paths, rest), HOURS, seed=problem.seed, draws=problem.draws), rest


def _one_hot(screen: Screen, fold: Fold) -> Said:
    """Ridge on which drugs are there (penalty .5, no intercept): the reference's rule."""
    on = (screen.dose != 0).astype(float)
    x, y = on[fold.train], screen.response[fold.train]
    mean = on[fold.test] @ np.linalg.solve(x.T @ x + 0.5 * np.eye(DRUGS), x.T @ y)
    return unpromised(mean)


def _pearson(a: Float[np.ndarray, "m d"], b: Float[np.ndarray, "m d"]) -> float:
    """The correlation of all numbers at once; 0 for a constant prediction, which foretells nothing."""
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1]) if np.ptp(a) > 0 else 0.0


def _pooled(
    parts: list[tuple[Int[np.ndarray, " m"], Float[np.ndarray, "m d"]]], screen: Screen
) -> tuple[Float[np.ndarray, " n"], np.ndarray]:
    """The share of each condition in the correlation of its mean prediction; their mean is the correlation."""
    total, count = np.zeros_like(screen.response), np.zeros(len(screen.response))
    for test, mean in parts:
        total[test] += mean
        count[test] += 1
    held = count > 0
    p, y = total[held] / count[held, None], screen.response[held]
    spread = p.std() * y.std()
    shares = ((p - p.mean()) * (y - y.mean())).mean(1) / spread if spread > 0 else np.zeros(len(p))
    return shares, np.array(screen.names)[held]
