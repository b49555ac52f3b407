"""What patients with type 1 diabetes eat, by the random scenario of simglucose 0.2.11, and where glucose should be.

Three meals and three snacks a day, as adults eat (github.com/jxx123/simglucose, MIT licence).
"""

from __future__ import annotations

from typing import NamedTuple

LOW, HIGH = 70.0, 180.0  # mg/dL: the range that the consensus on time in range counts (doi:10.2337/dci19-0028)


class Meal(NamedTuple):
    """How likely it is, when (h after midnight; mean and sd) and how large (g of carbohydrate; mean and sd)."""

    chance: float
    hour: float
    hour_sd: float
    grams: float
    grams_sd: float


MEALS = (
    Meal(0.95, 7.0, 1.0, 45.0, 10.0),
    Meal(0.3, 9.5, 0.5, 10.0, 5.0),
    Meal(0.95, 12.0, 1.0, 70.0, 10.0),
    Meal(0.3, 15.0, 0.5, 10.0, 5.0),
    Meal(0.95, 18.0, 1.0, 80.0, 10.0),
    Meal(0.3, 21.5, 0.5, 10.0, 5.0),
)
