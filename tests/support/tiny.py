"""A tiny cohort with two channels, a rate, a bolus and a trait, on which every learned world can be fitted."""

from __future__ import annotations

import functools

import numpy as np

from biowm.core.path import Path, stack
from biowm.core.schedule import Entry, schedule
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec
from biowm.models.blend import blend
from biowm.models.candidate import Candidate, Material, material
from biowm.train.candidates import entrants

SPEC = WorldSpec(
    name="tiny",
    clock="d",
    channels=(Channel("burden", "mg/L", link="log"), Channel("score", "mg/L", link="real")),
    actions=(ActionCard("drug", "mg/d", "rate", 0.0, 2.0), ActionCard("shot", "mg", "bolus", 0.0, 2.0)),
    traits=(Trait("age", "yr"),),
)
ALL = {c.name: c for c in entrants()}


def subject(rng: np.random.Generator, readings: int) -> Path:
    """Growth that both actions slow, and a score that follows them; `score` is missing now and then."""
    t = np.concatenate([[0.0], np.cumsum(rng.uniform(0.4, 1.6, readings - 1))]).astype(np.float32)
    rate, effect = rng.normal(0.1, 0.03), rng.normal(0.15, 0.03)
    plan, x = [], np.empty((readings, 2), np.float32)
    burden, score = rng.normal(1.0, 0.3), rng.normal(0.0, 0.5)
    for k in range(readings):
        x[k] = np.exp(burden), score
        drug, shot = rng.uniform(0, 2), float(rng.uniform(0, 2) * (rng.uniform() < 0.4))
        gap = float(t[k + 1] - t[k]) if k + 1 < readings else 1.0
        plan.append(Entry(0, drug, float(t[k]), float(t[k]) + gap))
        if shot:
            plan.append(Entry(1, shot, float(t[k]), float(t[k])))
        burden += (rate - effect * drug) * gap - 0.1 * shot + 0.05 * np.sqrt(gap) * rng.normal()
        score += (0.2 * drug - 0.3 * score) * gap + 0.1 * shot + 0.1 * np.sqrt(gap) * rng.normal()
    x[rng.uniform(size=readings) < 0.15, 1] = np.nan
    return Path(t, x, schedule(plan), np.array([rng.normal(60, 8)], np.float32), np.int32(0))


@functools.cache
def tiny_cohort(n: int = 24, readings: int = 8, seed: int = 0) -> Path:
    """Stacked paths of `n` subjects."""
    rng = np.random.default_rng(seed)
    return stack([subject(rng, readings) for _ in range(n)])


@functools.cache
def tiny_material() -> Material:
    """The material of the candidates, on a tiny cohort."""
    return material(SPEC, tiny_cohort(60, 10), 1.0, 6.0)


@functools.cache
def learned(name: str):
    """A candidate of the race, fitted to a tiny cohort; `blend` mixes four of them."""
    if name != "blend":
        return ALL[name].fit(tiny_material())
    weights = {"mixed(none)": 0.3, "mixed(full)": 0.2, "direct": 0.3, "knn": 0.2}
    return blend(SPEC, {n: learned(n) for n in weights}, weights)


def few(*names: str) -> tuple[Candidate, ...]:
    """Some of the candidates, by name."""
    return tuple(ALL[n] for n in names)
