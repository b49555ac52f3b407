"""What was found of equations as a table that other programs read: parameters.csv."""

from __future__ import annotations

import csv
import io

import jax.numpy as jnp
import numpy as np

from biowm.core.mechanism import Parameter, parameters
from biowm.models.trunks.mechanism import Mechanistic
from biowm.models.trunks.mechanism_found import Estimate, Spread, equations_in, estimates, spreads
from biowm.train.fitted import Fitted

COLUMNS = (
    "model", "parameter", "unit", "estimate", "standard_error", "low95", "high95",
    "scale", "between_subject_variance", "variance_standard_error", "between_batch_variance", "shrinkage",
)  # fmt: skip


def parameters_csv(fitted: Fitted) -> str:
    """A line for each parameter of each mechanism among the members; '' where there is none.

    Estimates, standard errors and 95 % intervals are in the parameter's unit, variances on `scale`: of the logarithm
    (a variance of 0.09 is a coefficient of variation of about 30 %), of the logit between two bounds, or of the value.
    Noise has the sd of readings in the space of its channel's link: of the logarithm a proportional error, of
    log(x + floor) a combined one, of the value an additive one. A cell is empty where there is no such thing.
    """
    lines = [
        (name, *line)
        for name, member in fitted.members.items()
        for world in equations_in(member)[:1]
        for line in _lines(world)
    ]
    if not lines:
        return ""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerows((COLUMNS, *lines))
    return text.getvalue()


def _lines(world: Mechanistic) -> list[tuple[str, ...]]:
    known, spread = parameters(world.mechanism), spreads(world)
    return [_line(e, known[e.name], spread.get(e.name)) for e in estimates(world)] + _noise(world)


def _noise(world: Mechanistic) -> list[tuple[str, ...]]:
    """The sd of readings of each channel that the mechanism reads, in the space of its link."""
    lines = []
    doubt = np.asarray(world.doubt, float)[len(world.doubt) - len(world.noise) :]
    for j in sorted(set(world.wiring.channel)):
        channel = world.spec.channels[j]
        sd = float(world.noise[j] * world.frame.scale.sd[j])
        ends = [float(sd * np.exp(times * doubt[j])) for times in (-1.96, 1.96)]
        values = (sd, sd * doubt[j], *ends) if np.isfinite(doubt[j]) else (sd, None, None, None)
        unit = channel.unit if channel.link == "real" else "1"
        scale = "value" if channel.link == "real" else channel.link
        lines.append((f"noise of {channel.name}", unit, *map(_number, values), scale, *map(_number, (None,) * 4)))
    return lines


def _line(e: Estimate, p: Parameter, spread: Spread | None) -> tuple[str, ...]:
    bounds = (p.low is not None) + (p.high is not None)
    step = 1.0 if bounds else float(p.value(jnp.ones(())) - p.value(jnp.zeros(())))  # of a value without bounds
    low, high = e.interval or (None, None)
    varied = (None,) * 4
    if spread is not None:
        batches = spread.batches * step**2 if p.varies == "batch" else None
        varied = (spread.variance * step**2, spread.error * step**2, batches, spread.shrinkage)
    scale = ("value", "log", "logit")[bounds]
    return (e.name, e.unit or "1", *map(_number, (e.value, e.error, low, high)), scale, *map(_number, varied))


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
