"""Task `ablation`: what each part of the learned world earns, on held-out subjects of several data sets.

A part stays in the library only if it wins here on two data sets. On every set all candidates are fitted to the same
training subjects and asked about the same held-out ones; then the race is run with and without each part, and the
blend it gives is scored: multi-step CRPS in standardised link units, coverage of the bands before and after
calibration, their interval score, and the weight that the part earned. Sets below 200 subjects are held out in four
folds, of others a fifth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path as File
from typing import ClassVar

import jax
import numpy as np
from jaxtyping import Float

from biowm.core import registry
from biowm.core.errors import BadInput, place
from biowm.core.forecast import forecast
from biowm.core.mechanism_units import Declared
from biowm.core.path import Path, stack, take
from biowm.core.registry import register
from biowm.core.scores import crps, inside, interval_score
from biowm.core.spec import WorldSpec
from biowm.data.splits import folds, units
from biowm.data.study import load
from biowm.models.candidate import Candidate, material
from biowm.models.residuals.kernel import with_kernel
from biowm.models.scale import Scale
from biowm.models.trunks.em import fit_mixed
from biowm.models.trunks.variants import configs
from biowm.train.calibrate import LEVEL, calibrate
from biowm.train.candidates import eligible, entrants, spacing_of
from biowm.train.contest import DRAWS, MOST_ASKED, ORIGINS, SMALL, Contest, Job, Progress, contest, mixture, portion
from biowm.train.horizons import Asked, Horizons, ask, declared
from biowm.train.race import weigh
from biowm.train.stages import Stages
from biowm.worlds.patient import tumour
from biowm.worlds.patient.cohort import PLAIN, cohort
from biowm.worlds.patient.variants import VARIANTS

from ..bands import Bands
from ..metrics import METRICS, Metric, Tally, add, given, tally
from ..task import Answer, Setting, Task

# Sets, and the equations that enter the race on them: what anybody would try first on such data.
_STUDIES: dict[str, str | None] = {"ias": None, "laleh": "gompertz", "parpi": "logistic", "glioma": "radiotherapy"}
_TUMOURS = {"tumour": PLAIN, **{f"tumour-{name}": world for name, world in VARIANTS.items()}}
_PATIENTS, _GAMMA, _DAYS = 400, 2.0, 60
_WEIGHT = Metric(given)

# A part is what a candidate's name says it has; a row of the table leaves one out or runs one alone.
PARTS: dict[str, Callable[[str], bool]] = {
    "effects": lambda name: name.startswith("mixed(") and "none" not in name,
    "memory": lambda name: "memory" in name,
    "network": lambda name: name.endswith("+ network"),
    "smooth": lambda name: name == "smooth",
    "recurrent": lambda name: name == "recurrent",
    "kernel": lambda name: name.endswith("+ kernel"),
    "mechanism": lambda name: name.startswith("mechanism("),
}
_EXACT = " read exactly"  # the mixed variants without reading noise: in no race but that of `world:no-noise`


@dataclass(frozen=True)
class Sample:
    """One data set: all its subjects, the unit each belongs to, what is asked, and the equations that may run."""

    name: str
    spec: WorldSpec
    paths: Path
    units: tuple[str, ...]
    horizons: Horizons
    mechanism: Declared | None = None


@dataclass(frozen=True)
class Fold:
    """One fold of a set: the contest among its training subjects, and all answers about the held-out ones."""

    sample: Sample
    held: Contest
    scale: Scale
    tests: Asked
    answers: Mapping[str, Float[np.ndarray, "q n h d"]]
    subjects: tuple[str, ...]


@dataclass(frozen=True)
class Problem:
    """The data sets of one seed."""

    samples: tuple[Sample, ...]
    seed: int
    thorough: bool = False


Prediction = tuple[tuple[Fold, tuple[str, ...]], ...]  # every fold, with the candidates let into its race


@register("tasks", "ablation")
class Ablation(Task[Problem, Prediction]):
    """What each part of the learned world earns on held-out subjects."""

    version = "1"
    primary = "crps"
    variants: ClassVar[tuple[str, ...]] = (*_STUDIES, *_TUMOURS)

    def make(self, seed: int, setting: Setting) -> Problem:
        """All sets, or the one that the variant names; a seed moves folds, draws and simulated patients."""
        names = self.variants if setting.variant is None else (setting.variant,)
        if setting.effort == "quick":
            names = names[:1]
        return Problem(tuple(_sample(name, seed) for name in names), seed, setting.effort == "full")

    def scope(self, setting: Setting) -> str:
        """Which sets."""
        return "quick: one set" if setting.effort == "quick" else setting.variant or ""

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """The simple rules, the whole machine, and the machine without or with only each part."""
        done = []
        for i, sample in enumerate(problem.samples):
            done += _folds(sample, problem.seed, problem.thorough, portion(tell, sample.name, i, len(problem.samples)))
        rules = [c.name for c in entrants() if c.is_rule]
        for name in rules:
            yield Answer(name, "baseline", tuple((fold, (name,)) for fold in done))
        for name, chosen in _rows(frozenset(rules)).items():
            parts = tuple((fold, tuple(n for n in fold.held.sheet.names if chosen(n))) for fold in done)
            yield Answer(name, "ours", tuple((fold, names) for fold, names in parts if names))

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Tallies by subject at every horizon of every set."""
        found: dict[tuple[str, str], Tally] = {}
        for fold, chosen in prediction:
            for key, counted in _score(fold, chosen).items():
                found[key] = add([found[key], counted]) if key in found else counted
        return found


def _rows(rules: frozenset[str]) -> dict[str, Callable[[str], bool]]:
    """The rows of the table, and which candidates run in each."""

    def usual(name: str) -> bool:
        return not name.endswith(_EXACT)

    rows: dict[str, Callable[[str], bool]] = {
        "world": usual,
        "world:no-rules": lambda name: usual(name) and name not in rules,
        "world:only-trunk": lambda name: usual(name) and name.startswith("mixed(") and " + " not in name,
        "world:no-noise": lambda name: name.endswith(_EXACT) or not name.startswith("mixed(") or " + " in name,
    }
    for part, has in PARTS.items():
        rows[f"world:only-{part}"] = lambda name, has=has: usual(name) and has(name)
        rows[f"world:no-{part}"] = lambda name, has=has: usual(name) and not has(name)
    return rows


def _entrants(sample: Sample, thorough: bool) -> tuple[Candidate, ...]:
    """Who is raced on a set: the machine's own, mixed variants without reading noise, a kernel on the mixed trunk."""
    usual = eligible(sample.spec, sample.paths, sample.mechanism, thorough)
    by_name = {c.name: c for c in usual}
    exact = tuple(
        Candidate(name + _EXACT, False, lambda m, config=config: fit_mixed(m.spec, m.frame, m.paths, config))
        for name, config in configs().items()
    )
    return (*usual, *exact, with_kernel(by_name["mixed(full)"]))


def _sample(name: str, seed: int) -> Sample:
    if name in _TUMOURS:
        key = jax.random.key(1000 + seed)
        paths = cohort(key, _PATIENTS, _GAMMA, _DAYS, world=_TUMOURS[name])
        who = tuple(f"p{i}" for i in range(_PATIENTS))
        return Sample(name, tumour.SPEC, paths, who, Horizons("clock", (1.0, 7.0, 30.0), "d"))
    file = File(f"studies/{name}.yaml")
    if not file.exists():
        raise BadInput(place(file=file, found="nothing", expected="the study file: run in the project's folder"))
    study = load(file)
    paths = stack(study.paths)
    horizons = declared(study.horizons, paths, study.spec.clock, study.spec.targets, study.config.asked_from)
    mechanism = _STUDIES[name]
    equations = None if mechanism is None else Declared(registry.get("mechanisms", mechanism)())
    return Sample(name, study.spec, paths, tuple(units(study)), horizons, equations)


def _folds(sample: Sample, seed: int, thorough: bool, tell: Progress) -> Iterator[Fold]:
    n = len(sample.units)
    parts = folds(sample.units, 4, seed) if n < SMALL else folds(sample.units, 5, seed)[:1]
    for i, held in enumerate(parts):
        said = portion(tell, f"fold {i + 1} of {len(parts)}", i, len(parts))
        yield _fold(sample, held[:MOST_ASKED], np.setdiff1d(np.arange(n), held), seed, thorough, said)


def _fold(sample: Sample, out: np.ndarray, kept: np.ndarray, seed: int, thorough: bool, tell: Progress) -> Fold:
    """Contest among the training subjects, and every candidate's answers about those left out."""
    spec, everyone = sample.spec, _entrants(sample, thorough)
    train, test = take(sample.paths, kept), take(sample.paths, out)
    spacing = spacing_of(train, spec.targets)
    ready = material(spec, train, spacing, sample.horizons.longest(spacing))
    job = Job(spec, train, tuple((sample.units[i],) for i in kept), sample.horizons, spacing, seed)
    held = contest(job, everyone, ready, Stages(None, ""), tell)
    tests = ask(test, np.arange(len(out)), sample.horizons, origins=ORIGINS, targets=spec.targets)
    key = jax.random.key(seed)
    answers = {c.name: forecast(held.kept.fitted(c), test, tests.queries, key=key, draws=DRAWS) for c in everyone}
    subjects = tuple(f"{sample.units[i]}/{i}" for i in out)
    return Fold(sample, held, ready.frame.scale, tests, answers, subjects)


def _score(fold: Fold, chosen: tuple[str, ...]) -> Mapping[tuple[str, str], Tally]:
    """Race the chosen candidates, blend and calibrate them, and score the blend on the held-out subjects."""
    spec, scale, sheet = fold.sample.spec, fold.scale, fold.held.sheet
    shares = weigh(sheet, [sheet.names.index(name) for name in chosen])
    weights = {name: float(w) for name, w in zip(sheet.names, shares, strict=True) if w > 0}
    labels = fold.sample.horizons.labels()
    trust = calibrate(spec, scale, fold.held.asked, mixture(fold.held.draws, weights), len(labels), fold.held.unit)
    draws = mixture(fold.answers, weights)
    columns = list(spec.targets)
    truth = scale.to_z(fold.tests.truth)[..., columns]
    losses = {"crps": crps(scale.to_z(draws)[..., columns], truth, axis=1)}
    raw = replace(trust, pointwise=np.ones_like(trust.pointwise), joint=np.ones_like(trust.joint))
    units = np.array(fold.subjects)[fold.tests.queries.subject]
    found: dict[tuple[str, str], Tally] = {}
    for kind, how in (("", trust), ("_raw", raw)):
        bands = Bands(spec, scale, how, draws, fold.tests, units)
        low, high = bands.pointwise()
        losses[f"coverage90{kind}"] = np.where(np.isnan(truth), np.nan, inside(low, high, truth))
        losses[f"interval_score{kind}"] = interval_score(low, high, truth, LEVEL)
        for label, counted in zip(labels, bands.path_coverage(len(labels)), strict=True):
            found[f"{fold.sample.name}/{label}", f"joint90{kind}"] = counted
    for h, label in enumerate(labels):
        split, here = f"{fold.sample.name}/{label}", (fold.tests.horizon == h)[..., None]
        for name, loss in losses.items():
            metric = METRICS[name.removesuffix("_raw")]
            flat = np.where(here, loss, np.nan).ravel()
            found[split, name] = tally(metric, flat, np.repeat(units, loss[0].size))
    for part, has in PARTS.items():
        share = sum(w for name, w in weights.items() if has(name))
        one = np.ones(1)
        found[fold.sample.name, f"weight:{part}"] = Tally(_WEIGHT, np.array([fold.subjects[0]]), share * one, one)
    return found
