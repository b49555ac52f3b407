"""A small screen in which effects add up, and a world that was fitted to it without a race."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np

from biowm.core.path import Path, stack
from biowm.core.record import Record
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec
from biowm.models.sets.fit import fit_sets
from biowm.models.sets.trunk import SetTrunk
from biowm.models.sets.variants import RULES, VARIANTS
from biowm.models.tracker import fit_frame
from biowm.train.calibrate import Calibration
from biowm.train.envelope import envelope
from biowm.train.fitted import Cohort, Fitted
from biowm.train.horizons import Horizons
from biowm.train.race import Race, RaceRow

HOURS, NOISE = 24.0, 0.1
EFFECTS = np.array([[1.0, -2.0, 0.5, 1.5, -1.0, 0.8], [0.4, 1.0, 1.2, 0.6, 0.9, 1.1]])
Given = Sequence[tuple[int, float]]  # members and their doses


def drugs(names: str = "abcdef", unit: str = "uM") -> WorldSpec:
    """Two channels, members of sets with doses, two lines."""
    channels = tuple(Channel(name, "", control=0.0) for name in ("up", "down"))
    cards = tuple(ActionCard(name, unit, "set-member") for name in names)
    return WorldSpec("drugs", "h", channels, cards, (Trait("line", kind="category", levels=("A", "B")),))


def condition(given: Given, y: Sequence[float] | None = None, line: int = 0, hours: float = HOURS) -> Path:
    """Members from the start on, and what was read in the end; nothing where `y` is None."""
    y = [np.nan, np.nan] if y is None else y
    x = np.array([[np.nan] * len(y), y], np.float32)
    plan = schedule([Entry(a, dose, 0.0, hours, True) for a, dose in given])
    return Path(np.array([0.0, hours], np.float32), x, plan, np.eye(2, dtype=np.float32)[line], np.asarray(0, np.int32))


def read(given: Given, rng: np.random.Generator, line: int = 0) -> Path:
    """A condition with its reading: effects of the members add up, whatever their dose."""
    members = [a for a, _ in given]
    return condition(given, EFFECTS[:, members].sum(1) + rng.normal(0, NOISE, 2), line)


SINGLES: list[Given] = [((a, 0.5 + a),) for a in range(6)]
PAIRS: list[Given] = [(*SINGLES[a], *SINGLES[b]) for a, b in combinations(range(6), 2)]


def screen(sets: Iterable[Given], line: int = 0, seed: int = 0) -> list[Path]:
    """Conditions in one line."""
    rng = np.random.default_rng(seed)
    return [read(given, rng, line) for given in sets]


def trunk(spec: WorldSpec, paths: Path, variant: str = "sets(additive)") -> SetTrunk:
    """The additive trunk of a screen, or another variant or rule."""
    return fit_sets(spec, fit_frame(spec, paths, HOURS), paths, {**VARIANTS, **RULES}[variant])


def fitted_screen(spec: WorldSpec, conditions: Sequence[Path]) -> Fitted:
    """A world of one trunk, as `fit` would return it where that trunk earned all the weight."""
    paths = stack(conditions)
    world = trunk(spec, paths)
    n, d = len(conditions), len(spec.channels)
    name = "sets(additive)"
    members = {name: world, "persistence": trunk(spec, paths, "persistence")}
    trust = Calibration(None, 0, (0,), (HOURS,), np.ones((1, d)), np.ones(1), world.frame.scale)
    return Fitted(
        spec=spec, world=world, rules_free=world, members=members,
        race=Race((RaceRow(name, False, 0.1, 0.1, 0.1, 1.0),), 0.0, "ridge", 0.1, ((name, 1.0),)),
        calibration=trust, rules_calibration={"world:no-rules": trust},
        horizons=Horizons("clock", (HOURS,), "h", "start"),
        envelope=envelope(spec, world.frame.scale, paths, HOURS, "start"), half_members=({name: world},) * 2,
        cohort=Cohort(tuple(f"c{i}" for i in range(n)), paths, ("train",) * n, (0.0,) * n),
        rows=(), record=Record("fit", {}, {}, 0),
    )  # fmt: skip
