"""What a fit found out about a mechanism's parameters, for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from biowm.core.mechanism import parameters
from biowm.core.path import Path, take
from biowm.core.rollout import assimilate, at

from .mechanism import MechanismBelief, Mechanistic


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

    `variance` is that of the subjects of one batch, `batches` that of what batches share. `shrinkage` says how far the
    subjects' own values are drawn to the mean: 1 - sd / root of the variance, 0 where their readings settle them.
    """

    variance: float
    batches: float
    shrinkage: float


def spreads(world: Mechanistic, paths: Path) -> dict[str, Spread]:
    """The spread of each parameter that varies, over the subjects of stacked paths.

    The variance is that of the subjects' own values about their batch's, with what is unsure of each (one step of EM):
    `world.sd` itself is the scale of a likelihood with heavy tails, and smaller. Shrinkage as in Savic and Karlsson
    2009, doi:10.1208/s12248-009-9133-0.
    """
    kinds = [name for name, p in parameters(world.mechanism).items() if p.varies != "no"]
    found = [_own(world, take(paths, rows)) for rows in _chunks(paths.t.shape[0])]
    off, unsure = (np.concatenate(parts)[: paths.t.shape[0]].astype(float) for parts in zip(*found, strict=True))
    variance = np.mean(off**2 + unsure, axis=0)
    shrinkage = 1 - np.std(off, axis=0) / np.sqrt(np.maximum(variance, 1e-12))
    batches = np.asarray(world.between, float) ** 2
    rows = zip(kinds, variance.tolist(), batches.tolist(), shrinkage.tolist(), strict=True)
    return {name: Spread(*values) for name, *values in rows}


def _chunks(n: int, size: int = 64) -> list[Int[np.ndarray, " m"]]:
    """Numbers of all subjects, `size` a chunk; the last is filled up."""
    return [np.minimum(np.arange(first, first + size), n - 1) for first in range(0, n, size)]


@eqx.filter_jit
def _own(world: Mechanistic, paths: Path) -> tuple[Float[Array, "b e"], Float[Array, "b e"]]:
    """Each subject's shifts about its batch's after its last reading, and their variances."""

    def one(path: Path) -> tuple[Array, Array]:
        e, belief = world.sd.shape[0], at(assimilate(world, path), -1)
        assert isinstance(belief, MechanismBelief)
        return belief.m[:e] - world.begin(path.traits).m[:e], jnp.diag(belief.P)[:e]

    return jax.vmap(one)(paths)


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
