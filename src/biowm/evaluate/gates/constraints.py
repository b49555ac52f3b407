"""Gate `constraints`: no draw, no mean path and no band says what the channels can never be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

import numpy as np
from jaxtyping import Bool, Float

from biowm.core.interval import Interval
from biowm.core.registry import register
from biowm.core.spec import WorldSpec
from biowm.train.calibrate import band

from ..exam import Exam, Verdict
from ..metrics import METRICS, interval, tally

_ROUNDING = 1e-5  # of a number, or of a step between levels: single precision


@register("gates", "constraints")
def check(exam: Exam) -> Verdict:
    """No violation in 1,000 forecast states, on the mean path, in the samples and in the bands (R11 of the ladder).

    A state is one question at one time: it is violated where any channel is not a finite number, lies below `low` or
    above `high` (a log channel: below 0), exceeds the channel that it must stay `below`, or, if ordinal, is on no
    level. It passes at none of all three: such limits are declared, data that break them are refused when they are
    read, and a model can keep them by construction. The mean path is the mean of the draws; a mean of levels need not
    be a level, so that one rule is not asked of it. The interval is exact, by subject.
    """
    spec, asked = exam.world.spec, exam.asked
    draws = exam.answer("world")
    edges = np.stack(band(exam.calibrations["world"], spec, draws, asked.leads, "joint"), axis=1)
    kinds = {
        "samples": violations(spec, draws),
        "mean path": violations(spec, draws.mean(1, dtype=np.float64)[:, None], levels=False),
        "bands": {name: found.any(1, keepdims=True) for name, found in violations(spec, edges).items()},
    }
    real = asked.horizon >= 0
    counted = {
        kind: {name: _share(exam, broken.mean(1), real) for name, broken in found.items()}
        | {"any": _share(exam, np.any(list(found.values()), axis=0).mean(1), real)}
        for kind, found in kinds.items()
    }
    return _judge(exam, counted)


def violations(
    spec: WorldSpec, x: Float[np.ndarray, "*b d"], *, levels: bool = True
) -> Mapping[str, Bool[np.ndarray, "*b"]]:
    """For each kind of violation that can occur, the states (readings in the channels' units) that commit it."""
    with np.errstate(invalid="ignore"):  # what is not finite is counted once, as such
        found = {"not finite": np.asarray(~np.isfinite(x).all(-1))}
        for j, c in enumerate(spec.channels):
            value = x[..., j]
            low = 0.0 if c.low is None and c.link == "log" else c.low
            if low is not None:
                found[f"{c.name} below {low:g}"] = value < low - _slack(low)
            if c.high is not None:
                found[f"{c.name} above {c.high:g}"] = value > c.high + _slack(c.high)
            if levels and c.link == "ordinal" and c.low is not None:
                step = (value - c.low) / c.resolution
                found[f"{c.name} on no level"] = np.abs(step - np.rint(step)) > 100 * _ROUNDING
            if c.below is not None:
                other = x[..., spec.channel(c.below)]
                found[f"{c.name} above {c.below}"] = value > other + _ROUNDING * np.abs(other)
    return found


def _slack(limit: float) -> float:
    return _ROUNDING * max(abs(limit), 1.0)


def _share(exam: Exam, broken: Float[np.ndarray, "q r"], real: Bool[np.ndarray, "q r"]) -> Interval:
    """Violated states in 1,000, counted by subject."""
    units = np.repeat(exam.units, real.shape[1])[real.ravel()]
    found = interval(tally(METRICS["coverage90"], broken[real], units))
    return Interval(1000 * found.value, 1000 * found.low, 1000 * found.high, found.n)


def _judge(exam: Exam, counted: dict[str, dict[str, Interval]]) -> Verdict:
    broken = {kind: found["any"] for kind, found in counted.items() if found["any"].value != 0}
    asked = sum(name not in ("not finite", "any") for name in counted["samples"])
    if broken:
        said = ", ".join(f"{found.value:.3g} in the {kind}" for kind, found in broken.items())
        which = {name for found in counted.values() for name, c in found.items() if name != "any" and c.value > 0}
        detail = f"forecast states that cannot be, in 1,000: {said} ({', '.join(sorted(which))})"
    else:
        kept = f"all {asked} limits, orders and levels" if asked else "no limit is declared, and all numbers are finite"
        detail = f"no forecast state that cannot be, in samples, mean path or bands: {kept}"
    evidence = {
        "per_1000_states": {kind: {n: asdict(c) for n, c in found.items()} for kind, found in counted.items()},
        "rules_declared": asked,
    }
    return exam.verdict("constraints", not broken, counted["samples"]["any"], detail, evidence)
