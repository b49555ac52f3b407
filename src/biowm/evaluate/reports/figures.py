"""All pictures of a report, and how to write one down."""

from __future__ import annotations

from .stage import Bound, Scene
from .standings import Reach, Standing, calibration, coverage, ranking, support, verdict
from .style import save_png, to_svg
from .trajectories import comparison, plan_figure, trajectory

__all__ = [
    "Bound",
    "Reach",
    "Scene",
    "Standing",
    "calibration",
    "comparison",
    "coverage",
    "plan_figure",
    "ranking",
    "save_png",
    "support",
    "to_svg",
    "trajectory",
    "verdict",
]
