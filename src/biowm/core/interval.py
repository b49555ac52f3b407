"""A number with its interval: no bare float is ever reported."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Role = Literal["ours", "baseline", "published", "floor", "ceiling"]


@dataclass(frozen=True)
class Interval:
    """A value, its 95 % interval over units (subjects) and the number `n` of scored forecasts behind it."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Row:
    """One line of a report: whose number it is, on which split, of which metric."""

    name: str
    role: Role
    split: str
    metric: str
    value: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict:
        """The row as printed by `biowm bench --json`."""
        return asdict(self)


def row(name: str, role: Role, split: str, metric: str, number: Interval) -> Row:
    """A report line from an interval."""
    return Row(name, role, split, metric, number.value, number.low, number.high, number.n)
