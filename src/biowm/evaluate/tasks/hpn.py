"""Task `hpn`: courses of phosphoproteins in breast cancer cells under an inhibitor that was not, or hardly, seen.

Four cell lines, four arms (DMSO; inhibitors of AKT, of AKT and MEK, of FGFR; the second not in BT549), eight ligands,
seven times from 0 to 240 min, 45 antibodies (HPN-DREAM, doi:10.1038/nmeth.3773). An array read before any ligand, which
the files repeat for each, is one reading. Splits: `A` an inhibitor is seen in no line; `A-strict` nor is the other arm
with the same AKT inhibitor (which `A` knows: AKTi is inside AKTi+MEKi); `A2` it is seen in other lines alone; `C` as
`A`, but what was read before the ligand is known, and times after it are scored; `B` one ligand's course of every
inhibitor and line at a time is not seen, and adding up is already as good as readings are; `line-out` a line is seen
without inhibitor alone.

The score is the challenge's: the root mean square error (log2) of each antibody over ligands and times, the mean of
antibodies, the mean of the eleven inhibitors in lines; `A:AKTi` is that of one inhibitor. Not scored is what the last
board of the challenge leaves out of each line; PKC-delta_pS664 is scored, which that board drops under another name.
Coverage is that of single readings: of times after the ligand, by line, inhibitor and ligand.

The board of the challenge is quoted apart: its inhibitor (AZD8055) is not in the public part, so nothing here compares.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from biowm.core.forecast import forecast
from biowm.core.interval import Interval, Row, row
from biowm.core.path import Path, take
from biowm.core.queries import Queries
from biowm.core.registry import register
from biowm.data import catalogue
from biowm.models.sets.fit import fit_sets
from biowm.models.sets.variants import VARIANTS
from biowm.models.tracker import fit_frame
from biowm.train.calibrate import band
from biowm.train.candidates import spacing_of
from biowm.train.contest import Progress, portion
from biowm.train.fit import fit_paths
from biowm.train.fitted import Fitted
from biowm.train.horizons import Horizons

from ..metrics import METRICS, Metric, Tally, difference, given, tally
from ..task import Answer, Pooled, Setting, Task
from ._fits import member
from ._hpn_rules import AKT, SPLITS, Fold, folds, rules
from ._hpn_screen import CELLS, LEAD, MINUTES, NAMES, STIMULI, Screen, Wells, asked_of, read, spec_of, wells_of

_WORLDS = ("world", "world:no-rules")
_MEAN = Metric(given)
_BOARD = {  # mean of 162 RMSEs (log2) under AZD8055: SC2A_results_v1.json of dreamtools, doi:10.1038/nmeth.3773
    "GuanLab": 0.453, "JCheng": 0.475, "ALAK": 0.484, "Stochastic Chaos": 0.484, "Dynamo Bios": 0.502,
}  # fmt: skip


@dataclass(frozen=True)
class Problem:
    """The screen and its folds."""

    screen: Screen
    folds: tuple[Fold, ...]
    seed: int
    draws: int
    thorough: bool


@dataclass(frozen=True)
class Said:
    """One contender on one fold: courses, and the band of each reading (NaN where none is promised)."""

    mean: Float[np.ndarray, "m 7 d"]
    low: Float[np.ndarray, "m 7 d"]
    high: Float[np.ndarray, "m 7 d"]


Prediction = tuple[Said | None, ...]  # by fold; None where nothing is said


@register("tasks", "hpn")
class Hpn(Task[Problem, Prediction]):
    """Courses of phosphoproteins under unseen inhibitors."""

    version = "1"
    primary = "rmse"
    data = "hpn"

    def make(self, seed: int, setting: Setting) -> Problem:
        """The screen; the seed is that of races and draws."""
        screen = read(catalogue.find("hpn", setting.data))
        quick, full = setting.effort == "quick", setting.effort == "full"
        found = tuple(fold for split in SPLITS for fold in folds(screen, split, quick))
        return Problem(screen, found, seed, 1000 if full else 256, full)

    def scope(self, setting: Setting) -> str:
        """Quick runs hold out the FGFR inhibitor, one inhibitor in one line, one course, and one line each."""
        quick = "quick: one fold of each split (A, C: FGFRi; A2: FGFRi in UACC812; line-out: UACC812)"
        return quick if setting.effort == "quick" else ""

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """The rules, the smoothed reference, and the worlds."""
        simple = [dict(rules(problem.screen, fold)) for fold in problem.folds]
        for name in dict.fromkeys(name for answers in simple for name in answers):
            yield Answer(name, "baseline", tuple(_plain(a[name]) if name in a else None for a in simple))
        said: dict[str, list[Said | None]] = {}
        fits: dict[bytes, Fitted] = {}
        for i, fold in enumerate(problem.folds):
            wells = wells_of(problem.screen, fold.apart)
            learned = fold.learned(wells)
            key = np.append(learned, fold.apart).tobytes()  # A and A-strict are one where the AKT arms are known
            if key not in fits:
                mine = portion(tell, f"{fold.split} {i + 1}", i, len(problem.folds))
                fits[key] = _fitted(problem, fold, wells, learned, mine)
            smooth = _smooth(problem, fold, wells, learned) if fold.split in ("A", "A-strict", "C") else {}
            for name, answer in (smooth | _answers(problem, fold, fits[key])).items():
                said.setdefault(name, [None] * len(problem.folds))[i] = answer
        for name, parts in said.items():
            yield Answer(name, "ours" if name.startswith("world") else "baseline", tuple(parts))

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Errors by line and inhibitor, coverage by condition; of all and of each inhibitor."""
        found: dict[tuple[str, str], Tally] = {}
        for split in dict.fromkeys(f.split for f in problem.folds):
            parts = [
                (f, p) for f, p in zip(problem.folds, prediction, strict=True) if f.split == split and p is not None
            ]
            if not parts:
                continue
            asked = np.concatenate([f.asked for f, _ in parts])
            whole = Said(*(np.concatenate([getattr(p, n) for _, p in parts]) for n in ("mean", "low", "high")))
            for arm in (None, *sorted(set(asked[:, 1].tolist()))):
                rows = np.ones(len(asked), bool) if arm is None else asked[:, 1] == arm
                name = split if arm is None else f"{split}:{NAMES[arm]}"
                for metric, sums in _scored(problem.screen, asked[rows], _some(whole, rows), split == "C").items():
                    found[name, metric] = sums
        return found

    def beside(self, pooled: Pooled, setting: Setting) -> Iterable[Row]:
        """What the worlds gain over the best that is said without them, paired, and the board of the challenge."""
        best = dict.fromkeys(SPLITS, "DMSO") | {"C": "t0-anchored", "B": "additive", "line-out": "additive"}
        for (name, role, split, metric), ours in pooled.items():
            if role == "ours" and metric == "rmse":
                theirs = pooled[best[split.split(":")[0]], "baseline", split, metric]
                yield row(name, role, split, "rmse_minus_rule", difference(ours, theirs))
        for team, value in _BOARD.items():
            yield row(f"published:{team}", "published", "SC2A-board", "rmse", Interval(value, value, value, 162))


def _scored(screen: Screen, asked: Int[np.ndarray, "m 3"], said: Said, later: bool) -> dict[str, Tally]:
    """RMSE of antibodies, averaged, by line and inhibitor; coverage of single readings by condition."""
    truth = screen.mean[tuple(asked.T)]
    truth = np.where((np.arange(len(MINUTES)) >= later)[None, :, None], truth, np.nan)
    arms = [f"{CELLS[c]} {NAMES[a]}" for c, a, _ in asked]
    loss, units = [], sorted(set(arms))
    for unit in units:
        rows = np.array(arms) == unit
        square = (said.mean[rows] - truth[rows]) ** 2
        loss.append(np.sqrt(_present(square, (0, 1))).mean())
    inside = np.where(np.isfinite(truth), (truth >= said.low) & (truth <= said.high), np.nan)[:, 1:]
    inside = np.where(np.isfinite(said.low[:, 1:]), inside, np.nan)
    covered = np.array([float(np.nanmean(x)) if np.isfinite(x).any() else np.nan for x in inside])
    names = [f"{arm} {STIMULI[s]}" for arm, s in zip(arms, asked[:, 2], strict=True)]
    found = {"rmse": tally(_MEAN, np.array(loss), units)}
    if np.isfinite(covered).any():
        found["coverage90"] = tally(METRICS["coverage90"], covered, names)
    return found


def _present(x: np.ndarray, axis: tuple[int, ...]) -> np.ndarray:
    """Means over what there is, of antibodies that were read."""
    return np.nanmean(x[..., np.isfinite(x).any(tuple(range(x.ndim - 1)))], axis)


def _some(said: Said, rows: np.ndarray) -> Said:
    return Said(said.mean[rows], said.low[rows], said.high[rows])


def _plain(mean: Float[np.ndarray, "m 7 d"]) -> Said:
    none = np.full_like(mean, np.nan)
    return Said(mean, none, none)


def _fitted(problem: Problem, fold: Fold, wells: Wells, learned: Int[np.ndarray, " n"], tell: Progress) -> Fitted:
    """The world that has learned from some paths, raced on what it has not seen as it is asked about it.

    A unit of the race is an inhibitor in all lines (A, C), one in one line (A2), one course (B) or a line (line-out).
    Where two inhibitors that have nothing in common are not left, it is a line, too: the two arms with the AKT
    inhibitor foretell each other, which says nothing about an unseen one.
    """
    spec = spec_of(problem.screen)
    cell, arm, ligand = (leaf[learned] for leaf in (wells.cell, wells.arm, wells.ligand))
    known = np.flatnonzero((arm == 0) | wells.before[learned])
    left = set(np.delete(arm, known).tolist())
    if fold.split in ("A2", "B"):
        units = [f"{NAMES[a]} {CELLS[c]}" for a, c in zip(arm, cell, strict=True)]
    else:
        lines = fold.split == "line-out" or len(left) == 1 or left <= set(AKT)
        units = [CELLS[c] for c in cell] if lines else [NAMES[a] for a in arm]
    if fold.split == "B":
        units = [f"{unit} {STIMULI[s]}" for unit, s in zip(units, ligand, strict=True)]
    leads = tuple(LEAD + m for m in MINUTES if m or not fold.apart)
    return fit_paths(
        spec, take(wells.paths, learned), Horizons("clock", leads, spec.clock, "start"), units=units,
        known=known.tolist(), thorough=problem.thorough, seed=problem.seed, halves=False, progress=tell,
    )  # fmt: skip


def _answers(problem: Problem, fold: Fold, fitted: Fitted) -> dict[str, Said]:
    """What the worlds say of the asked conditions."""
    spec, found = fitted.spec, {}
    for name in _WORLDS:
        world, trust = member(fitted, name)
        paths, queries = _asked(problem.screen, fold.asked)
        draws = forecast(world, paths, queries, key=jax.random.key(problem.seed), draws=problem.draws)
        _, low, high = band(trust, spec, draws, queries.times, "pointwise")
        found[name] = Said(draws.mean(1), low, high)
    return found


def _asked(screen: Screen, conditions: Int[np.ndarray, "m 3"]) -> tuple[Path, Queries]:
    """Questions about conditions from their start: courses at all times."""
    n = np.arange(len(conditions))
    times = np.broadcast_to(np.array(MINUTES, np.float32) + np.float32(LEAD), (len(n), len(MINUTES)))
    return asked_of(screen, *conditions.T), Queries(n, np.zeros_like(n), times.copy())


def _smooth(problem: Problem, fold: Fold, wells: Wells, learned: Int[np.ndarray, " n"]) -> dict[str, Said]:
    """The courses without inhibitor as the full trunk has them, and these moved by what was read before the ligand.

    The posterior mean is asked, not draws.
    """
    spec, paths = spec_of(problem.screen), take(wells.paths, learned)
    frame = fit_frame(spec, paths, spacing_of(paths, spec.targets))
    trunk = fit_sets(spec, frame, paths, VARIANTS["sets(full)"])
    sure = eqx.tree_at(lambda w: (w.root, w.own_var, w.noise), trunk, replace_fn=jnp.zeros_like)
    untreated = fold.asked * np.array([1, 0, 1])
    mean = forecast(sure, *_asked(problem.screen, untreated), key=jax.random.key(0), draws=1)[:, 0]
    found = {"smoothed DMSO": _plain(mean)}
    if fold.split == "C":
        cell, arm, ligand = fold.asked.T
        moved = problem.screen.mean[cell, arm, ligand, :1] - problem.screen.mean[cell, 0, ligand, :1]
        found["smoothed t0-anchored"] = _plain(mean + moved)
    return found
