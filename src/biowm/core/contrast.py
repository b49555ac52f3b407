"""Contrasts: how two schedules differ for one subject, in what words that may be said, and what could overturn it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from .interval import Interval
from .spec import WorldSpec

Word = Literal["effect", "association", "simulation"]
SHARE = 0.9  # of the paired draws that lie between `low` and `high`


@dataclass(frozen=True)
class Assignment:
    """How the actions of the training data came about, as the study declares it, and what that asks one to assume.

    `assumption` is empty where the declaration does not say enough for any causal claim.
    """

    kind: str
    given: tuple[str, ...]
    assumption: str


@dataclass(frozen=True)
class Reach:
    """How many training subjects were treated about so: `subjects` as a sum of likenesses, `nearest` with distances.

    `propensity` is how likely the first doses were, per action (None: not known).
    """

    schedule: str
    subjects: float
    enough: bool
    nearest: tuple[tuple[str, float], ...]
    propensity: tuple[tuple[str, float | None], ...]


@dataclass(frozen=True)
class Tipping:
    """The mean difference of a channel at the horizon, and how much hidden confounding would turn its sign on the link.

    `gamma` is that of the marginal sensitivity model, `e_value` a risk ratio (None: the alternative has no spread);
    both are told on the channel's link, where no few draws make the mean.
    """

    channel: str
    unit: str
    difference: Interval
    gamma: float
    e_value: float | None


@dataclass(frozen=True)
class Contrast:
    """Main minus alternative, draw by draw under the same chances: a spread of paired draws, never a promise.

    `overlap` is None where the training subjects are not known. `why` says why `word` is not "effect".
    """

    spec: WorldSpec
    word: Word
    why: tuple[str, ...]
    estimand: str
    assignment: Assignment
    median: Float[np.ndarray, "t d"]
    low: Float[np.ndarray, "t d"]
    high: Float[np.ndarray, "t d"]
    overlap: tuple[Reach, Reach] | None
    tipping: tuple[Tipping, ...]

    def to_json(self) -> dict[str, Any]:
        """The object under `contrast` in `biowm simulate --json`."""
        names = [c.name for c in self.spec.channels]
        band = {"median": self.median, "low": self.low, "high": self.high}
        return {
            "word": self.word,
            "why": list(self.why),
            "estimand": self.estimand,
            "assignment": asdict(self.assignment),
            "difference": {k: {n: v[:, j].tolist() for j, n in enumerate(names)} for k, v in band.items()},
            "level": None,
            "share_of_paired_draws": SHARE,
            "overlap": None if self.overlap is None else [reach_json(r) for r in self.overlap],
            "tipping": [asdict(t) for t in self.tipping],
        }


def reach_json(reach: Reach) -> dict[str, Any]:
    """Plain data."""
    return {**asdict(reach), "nearest": dict(reach.nearest), "propensity": dict(reach.propensity)}


def claim(word: Word, why: Sequence[str]) -> str:
    """What a difference between two schedules may be called, and why not more."""
    reasons = "; ".join(why)
    return {
        "effect": "An effect, if the assumption holds.",
        "association": f"An association that was simulated, no causal claim: {reasons}.",
        "simulation": f"A simulation, no causal claim: {reasons}.",
    }[word]


def describe(contrast: Contrast) -> str:
    """The contrast as a few lines to read."""
    lines = [
        f"Difference: {claim(contrast.word, contrast.why)}",
        f"Estimand: {contrast.estimand}",
        f"Assignment: {contrast.assignment.kind}. {contrast.assignment.assumption}".rstrip(),
    ]
    if contrast.overlap is None:
        lines.append("Overlap: not known, as the training subjects are not in this artefact")
    for reach in contrast.overlap or ():
        near = ", ".join(f"{who} ({far:.2f})" for who, far in reach.nearest) or "none was followed as long"
        rare = ", ".join(f"{name} {p:.2f}" for name, p in reach.propensity if p is not None)
        lines.append(
            f"Overlap of {reach.schedule!r}: {reach.subjects:.1f} training subjects treated alike; nearest: {near}"
            + (f"; propensity of the first doses: {rare}" if rare else "")
        )
    lines += [_turned(t) for t in contrast.tipping]
    return "\n".join(lines)


def _turned(t: Tipping) -> str:
    d = t.difference
    strength = "" if t.e_value is None else f", E-value {t.e_value:.2f}"
    return (
        f"Tipping point: {t.channel} at the horizon differs by {d.value:.3g} [{d.low:.3g}, {d.high:.3g}] {t.unit} "
        f"(mean, {SHARE:.0%} of paired draws); hidden confounding of Gamma {t.gamma:.3g} could turn the sign{strength}"
    )
