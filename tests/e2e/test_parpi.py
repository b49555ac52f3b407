"""A second real data set, straight from its study file: nothing was tuned for it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .conftest import biowm

STUDIES = Path(__file__).parents[2] / "studies"
MARGIN = 1.02


@pytest.mark.slow
@pytest.mark.skipif("BIOWM_DATA" not in os.environ, reason="BIOWM_DATA is not set: the real data are not here")
def test_the_default_world_holds_its_own_on_wells_under_olaparib(tmp_path: Path):
    table = Path(os.environ["BIOWM_DATA"]) / "tissue/parpi_schedules/intermittentTreatmentDf_cleaned.csv"
    if not table.exists():
        pytest.skip("the parpi table is not in BIOWM_DATA")
    folder = tmp_path / "parpi"
    fitted = biowm("fit", STUDIES / "parpi.yaml", "--out", folder, "--json").json
    assert fitted["horizons"] == ["3 d", "9 d", "18 d"]
    skill = biowm("certify", folder, "--json").json["gates"]["skill"]
    assert skill["value"]["value"] <= MARGIN, skill["detail"]
