"""The visual predictive check tells equations that hold from such that do not."""

from __future__ import annotations

import csv

import equinox as eqx
import numpy as np
import pytest
from tests.support.trial import DRUGS, LIMIT, true_world

from biowm.core.path import Path
from biowm.evaluate.predictive_check import PERCENT, Percentile, PredictiveCheck, compared, simulated
from biowm.evaluate.reports.checks import COLUMNS, checks_csv, checks_figure
from biowm.evaluate.reports.figures import to_svg
from biowm.models.trunks.mechanism import Mechanistic

ORAL, VEIN = DRUGS["one-compartment-oral"], DRUGS["one-compartment-naive"]
pytestmark = pytest.mark.slow


def share(world: Mechanistic, paths: Path) -> tuple[float, bool]:
    found, corrected = compared(world, paths, simulated(world, paths, 0)[..., 0], 0)
    return float(np.mean([p.inside for p in found])), corrected


@pytest.fixture(scope="module")
def truth() -> tuple[Mechanistic, Path]:
    return true_world(ORAL, 60)


def test_readings_of_the_equations_lie_within_the_bands_and_others_do_not(truth: tuple[Mechanistic, Path]):
    world, paths = truth
    inside, corrected = share(world, paths)
    assert not corrected
    assert inside > 0.8  # .95 on average, but subjects are in several bins, so percentiles miss together
    slower = eqx.tree_at(lambda w: w.mechanism.clearance, world, world.mechanism.clearance * 0.6)
    wider = eqx.tree_at(lambda w: w.sd, world, world.sd * 2)
    assert share(slower, paths)[0] < 0.5
    assert share(wider, paths)[0] < 0.75


def test_where_schedules_differ_what_is_typical_is_taken_out():
    """Half of the subjects get infusions, half boluses: readings of the truth still lie within the bands."""
    inside, corrected = share(*true_world(VEIN, 60))
    assert corrected
    assert inside > 0.85


def test_a_table_and_a_picture(truth: tuple[Mechanistic, Path]):
    world, paths = truth
    found, corrected = compared(world, paths, simulated(world, paths, 0)[..., 0], 0)
    assert sum(p.n for p in found) == len(PERCENT) * np.isfinite(paths.x).sum()
    assert all(p.low <= p.median <= p.high for p in found)
    assert min(p.observed for p in found) == pytest.approx(LIMIT, rel=1e-3)  # a limit is drawn as itself
    off = Percentile(0.0, 1.0, 0.5, 20, 50, 3.0, 1.0, 1.5, 2.0)
    check = PredictiveCheck("mechanism(x)", 0, corrected, 60, 12, (*found, off))
    rows = list(csv.DictReader(checks_csv(world.spec, [check]).splitlines()))
    assert tuple(rows[0]) == COLUMNS
    assert (rows[-1]["inside"], rows[-1]["observed"], rows[-1]["readings"]) == ("no", "3", "20")
    assert "concentration" in to_svg(checks_figure(world.spec, [check]))
