"""The exam: held-out subjects, the questions asked about them, and the answers that all gates share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import numpy as np
from jaxtyping import Float

from biowm.core.forecast import Model, forecast
from biowm.core.interval import Interval
from biowm.core.path import Path
from biowm.core.record import Record, digest_arrays
from biowm.core.schedule import Schedule
from biowm.core.scores import crps, inside
from biowm.core.world import World
from biowm.models.scale import Scale, fit_scale
from biowm.train.calibrate import Calibration
from biowm.train.contest import DRAWS, Progress, silent
from biowm.train.envelope import Envelope
from biowm.train.horizons import Asked, Horizons, ask

from .bands import Bands
from .metrics import METRICS, Tally, add, tally

_ORIGINS = 4  # questions about a subject, spread over its readings


NO_TRANSITION = "the model has no transition: it answers questions and cannot be carried on"


@dataclass(frozen=True)
class Verdict:
    """What a gate found: its verdict, the number behind it, one plain sentence and the recorded evidence."""

    status: Literal["passed", "failed", "not_applicable"]
    value: Interval | None
    detail: str
    evidence: Record


@dataclass(frozen=True)
class Training:
    """What the world learned from: stacked paths, the split unit of each, their scale and their envelope."""

    paths: Path
    units: tuple[str, ...]
    scale: Scale
    envelope: Envelope


@dataclass(frozen=True)
class Exam:
    """A model, the simple rules it must face (persistence always) and the held-out subjects they are asked about.

    `training` is what the model learned from (None: not known), `truth` the simulator that the data came from, if
    they came from one, `without` the baselines that could not be fitted, each with the reason. `contexts` holds, for
    each grouping (site, plate, a category among the traits), the value of every subject, and `trained_on` the values
    that were met in training. `origin` says where the model came from (the record of its fit, the hash of its file):
    it goes into every record.

    `calibrations` holds that of `world` and of each rule. The questions are put as in the race: a few origins a
    subject, free-running through its later readings. Forecasts are made once and kept; `progress(text, share)` hears
    of each gate that is put to it.
    """

    world: Model
    rules: Mapping[str, Model]
    paths: Path
    subjects: tuple[str, ...]
    horizons: Horizons
    calibrations: Mapping[str, Calibration]
    seed: int = 0
    draws: int = DRAWS
    training: Training | None = field(default=None, repr=False)
    truth: World | None = field(default=None, repr=False)
    without: Mapping[str, str] = field(default_factory=dict, repr=False)
    contexts: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    trained_on: Mapping[str, frozenset[str]] = field(default_factory=dict, repr=False)
    origin: Mapping[str, str] = field(default_factory=dict, repr=False)
    progress: Progress = field(default=silent, repr=False, compare=False)
    asked: Asked = field(init=False, repr=False, compare=False)
    _kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if "persistence" not in self.rules:
            raise ValueError("an exam without persistence is not an exam: add it to the rules")
        bare = sorted({"world", *self.rules} - set(self.calibrations))
        if bare:
            raise ValueError(f"no calibration of {', '.join(bare)}: one that makes no promise has the level None")
        everyone = np.arange(len(self.subjects))
        asked = ask(self.paths, everyone, self.horizons, origins=_ORIGINS, targets=self.world.spec.targets)
        object.__setattr__(self, "asked", asked)

    @property
    def dynamics(self) -> World | None:
        """The world under exam; None where the model has no transition."""
        return self.world if isinstance(self.world, World) else None

    @property
    def units(self) -> np.ndarray:
        """The subject of each question."""
        return np.asarray(self.subjects)[self.asked.queries.subject]

    def path(self, question: int) -> Path:
        """The path that a question is about."""
        subject = int(self.asked.queries.subject[question])
        return jax.tree.map(lambda leaf: leaf[subject], self.paths)

    def answer(self, name: str, plans: Schedule | None = None) -> Float[np.ndarray, "q n r d"]:
        """Draws of `world`, of `truth` or of a rule at the readings asked about, as treated or under other `plans`."""
        if name == "truth" and self.truth is self.world:
            name = "world"
        if plans is None and name in self._kept:
            return self._kept[name]
        got = forecast(
            self._model(name),
            self.paths,
            self.asked.queries,
            key=jax.random.key(self.seed),
            draws=self.draws,
            plans=plans,
        )
        if plans is None:
            self._kept[name] = got
        return got

    def _model(self, name: str) -> Model:
        if name == "truth":
            if self.truth is None:
                raise KeyError("this exam knows no truth")
            return self.truth
        return self.world if name == "world" else self.rules[name]

    def bands(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """The calibrated band at each reading by itself, in standardised link space: low and high [q, r, c]."""
        return self._bands(name).pointwise()

    def hits(self, name: str) -> Float[np.ndarray, "q r c"]:
        """Whether each reading lies in its band (NaN: not read)."""
        truth = self.scaled(self.asked.truth)
        return np.where(np.isnan(truth), np.nan, inside(*self.bands(name), truth))

    def path_coverage(self, name: str) -> tuple[Tally, ...]:
        """At each horizon, whether the path up to it lies in its joint band, over the questions that reach it."""
        return self._bands(name).path_coverage(len(self.horizons.values))

    def _bands(self, name: str) -> Bands:
        trust = self.calibrations[name]
        return Bands(self.world.spec, self._scale(), trust, self.answer(name), self.asked, self.units)

    def _scale(self) -> Scale:
        if "scale" not in self._kept:
            self._kept["scale"] = fit_scale(self.world.spec, np.asarray(self.paths.x))
        return self._kept["scale"]

    def scaled(self, x: Float[np.ndarray, "*b d"]) -> Float[np.ndarray, "*b c"]:
        """The target channels in standardised link space, so that errors of different channels may be averaged."""
        return self._scale().to_z(np.asarray(x))[..., list(self.world.spec.targets)]

    def curve(self, draws: Float[np.ndarray, "q n r d"], metric: str = "crps") -> tuple[Tally, ...]:
        """The tally of `crps`, `mae` or `rmse` at each horizon, over questions and target channels."""
        z, truth = self.scaled(draws), self.scaled(self.asked.truth)
        if metric == "crps":
            loss = crps(z, truth, axis=1)
        elif metric == "mae":
            loss = np.abs(np.median(z, axis=1) - truth)
        else:
            loss = (z.mean(axis=1) - truth) ** 2
        return self.by_horizon(metric, loss)

    def by_horizon(self, metric: str, loss: Float[np.ndarray, "q r c"]) -> tuple[Tally, ...]:
        """Tallies of a loss over the readings that belong to each horizon, by subject.

        Where subjects were lost, errors count for those who were lost, too; coverages are of those who were read.
        """
        units, stands = np.repeat(self.units, loss[0].size), self.asked.stands
        weights = None
        if stands is not None and not METRICS[metric].exact:
            weights = np.repeat(stands[..., None], loss.shape[-1], axis=-1).ravel()
        here = [self.asked.horizon == h for h in range(len(self.horizons.values))]
        losses = [np.where(at[..., None], loss, np.nan).ravel() for at in here]
        return tuple(tally(METRICS[metric], each, units, weights=weights) for each in losses)

    def area(self, curve: Sequence[Tally]) -> Tally:
        """The area under an error curve, from no error at the origin, per unit of time."""
        values = self.horizons.values
        edges = np.array([0.0, *values, values[-1]])
        share = (edges[2:] - edges[:-2]) / 2
        widened = [Tally(t.metric, t.units, t.total * w, t.count * w) for t, w in zip(curve, share, strict=True)]
        return add(widened)

    def best_rule(self) -> str:
        """The simple rule with the least area of CRPS on these very subjects: the hardest to beat."""
        areas = {name: self.area(self.curve(self.answer(name))) for name in self.rules}
        return min(areas, key=lambda name: areas[name].total.sum() / areas[name].count.sum())

    def verdict(
        self, gate: str, passed: bool, value: Interval | None, detail: str, evidence: Mapping[str, Any]
    ) -> Verdict:
        """What a gate found, with its record."""
        return Verdict("passed" if passed else "failed", value, detail, self.record(gate, evidence))

    def skip(self, gate: str, why: str) -> Verdict:
        """The verdict of a gate that does not apply, and why."""
        return Verdict("not_applicable", None, why, self.record(gate, {"reason": why}))

    def record(self, gate: str, evidence: Mapping[str, Any]) -> Record:
        """The record of one gate's evidence on this exam."""
        inputs = {"data": digest_arrays(jax.tree.leaves(self.paths)), **self.origin}
        config = {"gate": gate, "world": self.world.spec.name, "horizons": self.horizons.labels(), "draws": self.draws}
        return Record("certify", inputs, config, self.seed, metrics=evidence)
