"""What a fit found out about a mechanism's parameters, for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from biowm.core.mechanism import parameters

from .mechanism import Mechanistic


@dataclass(frozen=True)
class Estimate:
    """A parameter in its unit: the value, its standard error and 95 % interval, and the middle 68 % of subjects.

    `error` and `interval` are None where the fit gives none, `subjects` where all have the same value.
    """

    name: str
    unit: str
    value: float
    error: float | None
    interval: tuple[float, float] | None
    subjects: tuple[float, float] | None


def equations_in(world: PyTree) -> tuple[Mechanistic, ...]:
    """The mechanisms that a world runs, also those under a residual."""
    parts = jax.tree.leaves(world, is_leaf=lambda part: isinstance(part, Mechanistic))
    return tuple(part for part in parts if isinstance(part, Mechanistic))


def estimates(world: Mechanistic) -> tuple[Estimate, ...]:
    """What was found of each parameter; intervals are normal on the unbounded scale, and keep to the bounds."""
    found, varying = [], 0
    for i, (name, p) in enumerate(parameters(world.mechanism).items()):
        value = getattr(world.mechanism, name)

        def around(sd: Float[Array, ""], times: float, p=p, value=value) -> tuple[float, float]:
            ends = [float(p.value(p.free(value) + sign * times * sd)) for sign in (-1.0, 1.0)]
            return min(ends), max(ends)

        subjects = None
        if p.varies != "no":
            subjects = around(jnp.hypot(world.sd[varying], world.between[varying]), 1.0)
            varying += 1
        error = interval = None
        if jnp.isfinite(world.doubt[i]):
            error = abs(float(jax.grad(p.value)(p.free(value)) * world.doubt[i]))
            interval = around(world.doubt[i], 1.96)
        found.append(Estimate(name, p.unit, float(value), error, interval, subjects))
    return tuple(found)


@dataclass(frozen=True)
class Spread:
    """How a parameter varies between subjects, on the unbounded scale (logarithm above a bound, logit between two).

    `variance` is that of the subjects of one batch, `error` its standard error, `batches` that of what batches share.
    `shrinkage` says how far the training subjects' own values are drawn to the mean: 1 - their sd / root of the
    variance, 0 where their readings settle them.
    """

    variance: float
    error: float
    batches: float
    shrinkage: float


def spreads(world: Mechanistic) -> dict[str, Spread]:
    """The spread of each parameter that varies; nothing where the fit says nothing of it.

    Shrinkage as in Savic and Karlsson 2009, doi:10.1208/s12248-009-9133-0.
    """
    declared = parameters(world.mechanism)
    kinds = [name for name, p in declared.items() if p.varies != "no"]
    if not np.isfinite(world.shrinkage).all():
        return {}
    variance, batches = (np.square(np.asarray(a, float)) for a in (world.sd, world.between))
    error = 2 * variance * np.asarray(world.doubt, float)[len(declared) :][: len(kinds)]  # of sd^2, by that of log sd
    columns = (variance, error, batches, np.asarray(world.shrinkage, float))
    return {name: Spread(*(float(c[i]) for c in columns)) for i, name in enumerate(kinds)}


def summary(worlds: Mapping[str, PyTree]) -> dict[str, Any]:
    """Of each world that runs equations: the estimates by parameter and the notes of the fit, as plain data."""

    def one(world: Mechanistic) -> dict[str, Any]:
        table = {
            e.name: {
                "unit": e.unit,
                "value": e.value,
                "interval95": e.interval and list(e.interval),
                "subjects68": e.subjects and list(e.subjects),
            }
            for e in estimates(world)
        }
        return {"parameters": table, "notes": list(world.notes)}

    found = {name: equations_in(world) for name, world in worlds.items()}
    return {name: one(parts[0]) for name, parts in found.items() if parts}
