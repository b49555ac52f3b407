"""A study whose subjects get lost, and a plate, from the table to the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from .conftest import biowm


@pytest.mark.slow
def test_a_plate_of_tracks_that_get_lost_is_fitted_and_simulated(tmp_path: Path):
    """Forty-eight objects in six wells of a plate map grow, less under the drug; the largest get lost."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(48):
        x, dose = rng.normal(5, 0.5), float(i % 6 % 4)
        for k in range(12):
            rows.append((f"B{i % 6 + 1}", f"o{i}", 4.0 * k, float(np.exp(x))))
            x += 0.08 - 0.03 * dose + 0.02 * (x - 5) + 0.05 * rng.normal()
            if rng.random() < 1 / (1 + np.exp(-(2 * (x - 5) - 3))):
                break
    table = pd.DataFrame(rows, columns=["well", "object", "hour", "area"])
    table.to_csv(tmp_path / "objects.csv", index=False)
    wells = [f"B0{k + 1},{k % 4 * 1000} nM" for k in range(6)]
    (tmp_path / "map.csv").write_text("\n".join(["well,drug", *wells]))
    study = {
        "table": "objects.csv", "plate_map": "map.csv", "subject": ["well", "object"],
        "time": {"column": "hour", "unit": "h"}, "horizons": ["8 h", "24 h"],
        "channels": {"area": {"unit": "um^2", "link": "log"}}, "actions": {"drug": {"unit": "uM", "high": 10}},
        "groups": {"well": "well"}, "end": {"lost": "well"},
    }  # fmt: skip
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    told = biowm("data", "check", tmp_path / "study.yaml")
    lost = int((table.groupby(["well", "object"])["hour"].max() < 44).sum())
    assert f"ended 0, censored {lost} (last read before others of their well" in told.out
    assert "were lost before" in told.out
    run = tmp_path / "run"
    fitted = biowm("fit", tmp_path / "study.yaml", "--out", run, "--json")
    assert fitted.code == 0, fitted.err
    report = (run / "report.html").read_text(encoding="utf-8")
    assert f"{lost} of 48 subjects were lost (censored)" in report
    history = table[table["object"] == "o1"].assign(drug=1.0)
    history.to_csv(tmp_path / "new.csv", index=False)
    words = ("--history", tmp_path / "new.csv", "--do", "drug=2 uM@0:12 h", "--horizon", "12 h", "--json")
    assert biowm("simulate", run, *words).json["channels"] == ["area"]
