"""The capability ladder: a vector (dynamics, intervention, scale), each level granted by its gates and by nothing else.

Axes and levels after "What Makes a Virtual Cell a World Model?" (doi:10.21203/rs.3.rs-10404367/v1), paraphrased. There
is no single grade: an endpoint model may stand high on one axis and at the foot of another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from .exam import Verdict


@dataclass(frozen=True)
class Rung:
    """One level of an axis: what it means, and the gates that grant it to whoever holds the level below."""

    means: str
    gates: tuple[str, ...] = ()


AXES: dict[str, tuple[Rung, ...]] = {
    "dynamics": (
        Rung("no forecast that holds against the simple rules"),
        Rung("endpoint: forecasts what comes, no worse than the best simple rule", ("skill",)),
        Rung("transition: one state, carried on again and again", ("state", "time", "closure")),
        Rung("calibrated long futures that know their limits", ("calibration", "support", "constraints")),
    ),
    "intervention": (
        Rung("actions are absent, or change nothing for the better"),
        Rung("actions condition the forecast, and wrong ones make it worse", ("action",)),
        Rung("actions act in a transition that is used again; one start has several futures", ("state", "closure")),
        Rung("futures under interventions nobody was given hold, with uncertainty", ("counterfactual", "calibration")),
    ),
    "scale": (
        Rung("one scale"),
        Rung("several kinds of readings of one scale inform each other", ("observability",)),
        Rung("scales coupled one way", ("coupling",)),
        Rung("scales coupled both ways, closure tested across them", ("coupling-closure",)),
    ),
}


@dataclass(frozen=True)
class Level:
    """What one axis was granted: the records of the gates that granted it, and what keeps it from the next level."""

    axis: str
    level: int
    means: str
    granted_by: Mapping[str, str]
    next_needs: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "level": self.level,
            "means": self.means,
            "granted_by": dict(self.granted_by),
            "next_needs": dict(self.next_needs),
        }


def climb(verdicts: Mapping[str, Verdict], channels: int) -> tuple[Level, ...]:
    """The level of every axis: the highest whose gates, and those of all levels below, have passed.

    A gate that failed, does not apply or is not there grants nothing; each is named with its reason. A model of a
    single one of `channels` has nothing that could inform each other, whatever the gate found of its memory.
    """
    found = verdicts.get("observability")
    if found is not None and channels < 2:
        alone = replace(found, status="not_applicable", detail="a single channel is read")
        verdicts = {**verdicts, "observability": alone}
    return tuple(_climb(axis, rungs, verdicts) for axis, rungs in AXES.items())


def _climb(axis: str, rungs: tuple[Rung, ...], verdicts: Mapping[str, Verdict]) -> Level:
    granted: dict[str, str] = {}
    for level, rung in enumerate(rungs[1:], start=1):
        missing = {gate: _why(verdicts.get(gate)) for gate in rung.gates if not _passed(verdicts.get(gate))}
        if missing:
            return Level(axis, level - 1, rungs[level - 1].means, granted, missing)
        granted |= {gate: verdicts[gate].evidence.id for gate in rung.gates}
    return Level(axis, len(rungs) - 1, rungs[-1].means, granted, {})


def _passed(verdict: Verdict | None) -> bool:
    return verdict is not None and verdict.status == "passed"


def _why(verdict: Verdict | None) -> str:
    if verdict is None:
        return "no such gate yet"
    return f"{verdict.status.replace('_', ' ')}: {verdict.detail}"
