"""What a fit found out about a mechanism's parameters, for people to read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from biowm.core.mechanism import parameters

from .mechanism import Mechanistic


@dataclass(frozen=True)
class Estimate:
    """A parameter in its unit: the value, its 95 % interval, and the middle 68 % of subjects.

    `interval` is None where the fit gives none, `subjects` where all have the same value.
    """

    name: str
    unit: str
    value: float
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
        interval = around(world.doubt[i], 1.96) if jnp.isfinite(world.doubt[i]) else None
        found.append(Estimate(name, p.unit, float(value), interval, subjects))
    return tuple(found)


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
