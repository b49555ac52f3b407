"""Task `gi-fewshot`: growth of cells with two genes switched on, foretold from singles and a few pairs of genes.

223 guides of 112 genes in K562 cells, all 24,642 pairs of guides of different genes read in two replicates
(doi:10.1126/science.aax4438). Learned from: all singles and 5, 10 or 25 % of the pairs of genes, replicate 1.
Scored on all other pairs of genes, replicate 2, whose agreement with replicate 1 is the ceiling. Bands are promised
from replicate 1 alone: `coverage90_same_replicate` tells what they cover there.

Split `active`: how many pairs of genes the trunk of pairs needs to a correlation of .940 and .945, if they are read in
a balanced design (next the two genes that were read least) or at random; between budgets of 300, 400 ... 800.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from biowm.core.interval import Row, row
from biowm.core.path import Path
from biowm.core.registry import register
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.data import catalogue
from biowm.models.sets.pairs_entry import fit_pairs
from biowm.models.tracker import fit_frame
from biowm.train.contest import Progress, portion
from biowm.train.fit import fit_paths
from biowm.train.horizons import Horizons

from ..metrics import METRICS, Metric, Tally, difference, given, tally
from ..task import Answer, Pooled, Setting, Task
from ._gi_design import MARKS, at_random, balanced, reached
from ._gi_rules import Map, read, rules, some
from ._screens import WORLDS, Said, answers, conditions, unpromised

DAYS = 10.0
SHARES = {"5%": 0.05, "10%": 0.10, "25%": 0.25}
_RULES = ("additive", "quadratic", "guide effects", "guide effects + low rank")
_NUMBER = Metric(given)


@dataclass(frozen=True)
class Problem:
    """The map, and for every split which pairs are learned from."""

    whole: Map
    train: Mapping[str, Bool[np.ndarray, " p"]]
    seed: int
    draws: int
    active: bool


@dataclass(frozen=True)
class Design:
    """How many pairs of genes it took to each mark (NaN: not reached)."""

    pairs: Mapping[float, float]


Prediction = Mapping[str, Said | Design]  # by split


@register("tasks", "gi-fewshot")
class GiFewshot(Task[Problem, Prediction]):
    """Growth phenotypes of unseen pairs of genes from a few pairs."""

    version = "1"
    primary = "pearson"
    higher = True
    data = "norman-gi"

    def make(self, seed: int, setting: Setting) -> Problem:
        """The map; the seed draws the pairs of genes that are learned from."""
        whole = read(catalogue.find("norman-gi", setting.data))
        shares = {"5%": SHARES["5%"]} if setting.effort == "quick" else SHARES
        draws = {"quick": 32, "default": 128, "full": 512}[setting.effort]
        return Problem(
            whole,
            {split: some(whole, share, seed) for split, share in shares.items()},
            seed,
            draws,
            setting.effort != "quick",
        )

    def scope(self, setting: Setting) -> str:
        """Quick runs learn from 5 % alone, and design nothing."""
        return "quick: 5 % of the pairs of genes, 32 draws, without active" if setting.effort == "quick" else ""

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """Simple rules, the trunk of pairs by itself, and the worlds."""
        said: dict[str, dict[str, Said | Design]] = {name: {} for name in (*_RULES, "ceiling", "pairs", *WORLDS)}
        for k, (split, train) in enumerate(problem.train.items()):
            for name, answer in rules(problem.whole, train):
                said[name][split] = unpromised(answer[~train, None])
            said["ceiling"][split] = unpromised(problem.whole.first[~train, None])
            said["pairs"][split] = unpromised(by_trunk(problem.whole, train)[~train, None])
            for name, whole in _worlds(problem, train, portion(tell, split, k, len(problem.train))).items():
                said[name][split] = whole
        for name, parts in said.items():
            role = "ceiling" if name == "ceiling" else "baseline" if name in _RULES else "ours"
            yield Answer(name, role, parts)
        if problem.active:
            chance: Prediction = _designed(problem, at_random(problem.whole, problem.seed))
            yield Answer("random", "baseline", chance)
            design: Prediction = _designed(problem, balanced(problem.whole, problem.seed))
            yield Answer("balanced", "ours", design)

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Correlation, error and coverage over pairs not learned from, counted by pair of genes; designs by seed."""
        found: dict[tuple[str, str], Tally] = {}
        for split, said in prediction.items():
            if isinstance(said, Design):
                for mark in MARKS:
                    number = np.array([said.pairs[mark]])
                    found[split, f"pairs_to_{mark:.3f}"] = tally(_NUMBER, number, [f"seed {problem.seed}"])
                continue
            train = problem.train[split]
            first, second = (y[~train] for y in (problem.whole.first, problem.whole.second))
            units = problem.whole.duo[~train].astype(str)
            mean = said.mean[:, 0]
            found[split, "pearson"] = tally(_NUMBER, correlated(mean, second), units)
            found[split, "rmse"] = tally(METRICS["rmse"], (mean - second) ** 2, units)
            for name, truth in (("coverage90", second), ("coverage90_same_replicate", first)):
                found[split, name] = tally(METRICS["coverage90"], said.hits(truth[:, None])[:, 0], units)
        return found

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """What the worlds and the trunk gain over the best simple rule, paired by pair of genes."""
        for (name, role, split, metric), ours in pooled.items():
            if role == "ours" and metric == "pearson":
                theirs = pooled["guide effects + low rank", "baseline", split, metric]
                yield row(name, role, split, "pearson_minus_low_rank", difference(ours, theirs))


def correlated(mean: Float[np.ndarray, " m"], truth: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    """What each pair brings to the correlation: the mean is r, and the spread that of r (its influence function)."""
    if np.ptp(mean) == 0:
        return np.zeros_like(mean)  # a constant foretells nothing
    x, y = ((v - v.mean()) / v.std() for v in (mean, truth))
    r = np.mean(x * y)
    return x * y - r / 2 * (x**2 + y**2 - 2)


def spec_of(whole: Map) -> WorldSpec:
    """Growth relative to the control, which is 0 by definition, under sets of guides, each of which aims at a gene."""
    cards = (
        ActionCard(name, "", "set-member", target=whole.genes[g])
        for name, g in zip(whole.guides, whole.gene, strict=True)
    )
    return WorldSpec("gi-fewshot", "d", (Channel("growth", "", control=0.0),), tuple(cards))


def paths_of(sets: Iterable[tuple[int, ...]], y: Float[np.ndarray, " n"]) -> Path:
    """Each set of guides as a path, its growth read in the end."""
    return conditions((dict.fromkeys(members, 1.0) for members in sets), y[:, None], DAYS)


def learned(whole: Map, train: Bool[np.ndarray, " p"]) -> Path:
    """All singles, then the pairs that are learned from (replicate 1)."""
    sets = [*((g,) for g in range(len(whole.guides))), *map(tuple, whole.pairs[train].tolist())]
    return paths_of(sets, np.concatenate([whole.single, whole.first[train]]))


def by_trunk(whole: Map, train: Bool[np.ndarray, " p"]) -> Float[np.ndarray, " p"]:
    """The mean of the trunk of pairs by itself, learned from all that is given, for every pair."""
    spec, paths = spec_of(whole), learned(whole, train)
    trunk = fit_pairs(spec, fit_frame(spec, paths, DAYS), paths)
    i, j = whole.pairs.T
    z = trunk.base + trunk.single[i] + trunk.single[j] + trunk.beyond[i, j]
    return np.asarray(trunk.frame.scale.to_x(z), np.float64)[:, 0]


def _worlds(problem: Problem, train: Bool[np.ndarray, " p"], tell: Progress) -> dict[str, Said]:
    """What the worlds say of all pairs not learned from. Singles are known to all; pairs are held out by genes."""
    whole, spec, paths = problem.whole, spec_of(problem.whole), learned(problem.whole, train)
    n = len(whole.guides)
    units = [*whole.guides, *(f"pair {d}" for d in whole.duo[train])]
    fitted = fit_paths(
        spec, paths, Horizons("clock", (DAYS,), spec.clock, "start"), seed=problem.seed, units=units, known=range(n),
        halves=False, progress=tell,
    )  # fmt: skip
    asked = paths_of(map(tuple, whole.pairs[~train].tolist()), np.full((~train).sum(), np.nan))
    return answers(fitted, WORLDS, asked, DAYS, seed=problem.seed, draws=problem.draws)


def _designed(problem: Problem, order: Int[np.ndarray, " d"]) -> Prediction:
    return {"active": Design(reached(problem.whole, order, by_trunk))}
