"""Goals and limits: what a plan is for and what it must not do, read from text.

    minimise mean cpa over 365 d          P(max psa <= 10) >= 0.9
    maximise final volume                 cpa <= 0.2 g/d
    minimise total chemo over 60 d        total chemo over 30 d <= 10 mg
    maximise time off cpa                 time until psa > 10 ng/mL >= 90 d
    maximise time until psa > 10 ng/mL    maximise time glucose in 70 to 180 mg/dL
    minimise total cpa while psa <= 4 ng/mL and cpa <= 100 mg/d

A quantity is `[mean|max|min|final|total] NAME [over TIME]`, `time on|off ACTION`, `time until CHANNEL > NUMBER` or
`time CHANNEL in LOW to HIGH`, counted from the start of the plan. A limit on an action binds every dose. A limit on a
channel is always a chance limit over draws: a bare `volume <= 500` means `P(max volume <= 500) >= 0.9`, that is, one
path stays at or below 500 all the way with probability 0.9. What a goal says after `while` are hard limits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from biowm.core.spec import WorldSpec

from .course import Course, Quantity, value
from .grammar import NUMBER, Cursor, complete, read_amount, read_quantity

Sense = Literal["minimise", "maximise"]
Side = Literal["<=", ">="]
Severity = Literal["hard", "soft"]
LEVEL = 0.9  # of a channel limit that names no probability


@dataclass(frozen=True)
class Goal:
    """A quantity to make small or large, and the hard limits that its text names after `while`."""

    name: str
    text: str
    sense: Sense
    quantity: Quantity
    source: str = ""
    limits: tuple[Limit, ...] = ()


@dataclass(frozen=True)
class Limit:
    """A quantity that keeps to one side of `bound` with probability `level` (1 for doses, which are decided).

    A hard limit is never broken by a plan that is returned; breaking a soft one costs, and is reported.
    """

    name: str
    text: str
    quantity: Quantity
    side: Side
    bound: float
    level: float
    severity: Severity = "hard"
    source: str = ""

    @property
    def meaning(self) -> str:
        """The limit in full, as it is understood and checked."""
        bound = f"{self.quantity} {self.side} {self.bound:g} {self.quantity.unit}".strip()
        return bound if self.level == 1 else f"P({bound}) >= {self.level:g}"


def cost(goal: Goal, course: Course) -> Float[Array, " n"]:
    """The goal in every draw, less is better."""
    return value(goal.quantity, course) * (1 if goal.sense == "minimise" else -1)


def margin(limit: Limit, course: Course) -> Float[Array, " n"]:
    """How far every draw is past the bound, as a share of it: ok where <= 0."""
    past = (value(limit.quantity, course) - limit.bound) * (1 if limit.side == "<=" else -1)
    return past / (abs(limit.bound) or 1.0) - 1e-5  # single precision: a dose at its bound is within it


def shortfall(margins: Float[Array, " n"], level: float) -> Float[Array, ""]:
    """The margin that a share `level` of the draws stays below: the limit holds iff <= 0.

    Unlike that share it still says which schedule comes closer where every draw breaks the limit.
    """
    rank = math.ceil(level * margins.shape[0] - 1e-9)
    return jnp.sort(margins)[rank - 1]


def parse_goal(text: str, spec: WorldSpec, *, name: str = "", source: str = "") -> Goal:
    """Read `minimise|maximise QUANTITY [while LIMIT [and LIMIT]]`; BadInput says where, what was found and expected."""
    cursor = Cursor("goal", text)
    word = cursor.need(r"(minimi[sz]e|maximi[sz]e)\b", "minimise or maximise")
    named = read_quantity(cursor, spec, bare=False)
    sense: Sense = "minimise" if word.startswith("min") else "maximise"
    quantity = complete(cursor, named, "mean", spec)
    limits, joint = [], r"while\b"
    while cursor.take(joint):
        limits.append(_read_limit(cursor, spec, "", "hard", source))
        joint = r"and\b"
    cursor.end("'and' or the end" if limits else "over TIME, while LIMIT or the end")
    return Goal(name or cursor.text, cursor.text, sense, quantity, source, tuple(limits))


def parse_limit(text: str, spec: WorldSpec, *, name: str = "", severity: Severity = "hard", source: str = "") -> Limit:
    """Read `QUANTITY <= NUMBER [UNIT]` or `P(that) >= PROBABILITY`; BadInput as in `parse_goal`."""
    cursor = Cursor("limit", text)
    limit = _read_limit(cursor, spec, name, severity, source)
    cursor.end()
    return limit


def _read_limit(cursor: Cursor, spec: WorldSpec, name: str, severity: Severity, source: str) -> Limit:
    whole = cursor.rest
    chance = bool(cursor.take(r"P\s*\("))
    start = cursor.rest
    named = read_quantity(cursor, spec, bare=True)
    if chance and named.kind != "channel":
        cursor.fail(f"a channel inside P(), as the dose of {named.name!r} is decided, not uncertain", at=start)
    side: Side = "<=" if cursor.need(r"<=|>=|<|>", "<= or >=")[0] == "<" else ">="
    quantity = complete(cursor, named, "max" if side == "<=" else "min", spec)
    bound = read_amount(cursor, quantity.unit, "a bound", bare=True)
    level = LEVEL if quantity.kind == "channel" else 1.0
    if chance:
        cursor.need(r"\)", "')'")
        cursor.need(r">=|>", "'>=' and a probability")
        start = cursor.rest
        level = float(cursor.need(NUMBER, "a probability such as 0.9"))
        if not 0 < level < 1:
            cursor.fail("a probability between 0 and 1", at=start)
    text = whole.removesuffix(cursor.rest).strip()
    return Limit(name or text, text, quantity, side, bound, level, severity, source)
