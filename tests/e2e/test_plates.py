"""A plate through the command line: checked, its growth rates, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from biowm.core.growth_rate import sigmoid

from .conftest import biowm

DOSES = np.array([0.0, 0.0, *(10.0 ** np.arange(-3, 1.6, 0.5))])
STUDY = {
    "table": "plate.csv",
    "layout": "plate",
    "plate_map": "map.csv",
    "subject": "well",
    "time": {"column": "Elapsed", "unit": "h"},
    "channels": {"confluence": {"column": "value", "unit": "percent", "low": 0, "high": 100, "link": "logit"}},
    "actions": {"drug": {"unit": "umol/L"}},
    "traits": {"line": {"kind": "category"}},
}


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """Two lines that double in 24 h and 36 h, wells that start unlike, and a drug with GR50 .2 umol/L on both."""
    columns, rows = {}, []
    hours = np.arange(0, 73, 6.0)
    for letter, (line, doubling) in zip("AB", {"fast": 24.0, "slow": 36.0}.items(), strict=True):
        for k, dose in enumerate(DOSES):
            gr = 1.0 if dose == 0 else sigmoid(np.array([dose]), -0.5, 0.2, 1.2)[0]
            columns[f"{letter}{k + 1}"] = (2 + 0.3 * k) * 2 ** (np.log2(gr + 1) * hours / doubling)
            rows.append((f"{letter}{k + 1:02d}", line, f"{1000 * dose:.9g} nM"))
    frame = pd.DataFrame({"Date Time": pd.date_range("2024-01-02", periods=len(hours), freq="6h"), "Elapsed": hours})
    pd.concat([frame, pd.DataFrame(columns)], axis=1).to_csv(tmp_path / "plate.csv", index=False)
    pd.DataFrame(rows, columns=["well", "line", "drug"]).to_csv(tmp_path / "map.csv", index=False)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path / "study.yaml"


def test_growth_rates_of_a_plate_are_those_that_it_was_made_with(plate: Path):
    out = plate.parent / "gr.csv"
    said = biowm("data", "growth-rates", plate, "--out", out, "--at", "48 h", "--plot", plate.parent / "gr.png")
    assert said.code == 0, said.err
    found = pd.read_csv(out)
    assert found["cell_line"].tolist() == ["fast", "slow"]
    np.testing.assert_allclose(found["gec50"], 0.2, rtol=1e-2)
    np.testing.assert_allclose(found["gr_inf"], -0.5, atol=1e-2)
    np.testing.assert_allclose(found["hill"], 1.2, rtol=1e-2)
    assert "confluence from the first reading to 48 h" in said.err
    in_nM = biowm("data", "growth-rates", plate, "--out", out, "--unit", "nmol/L")
    assert in_nM.code == 0, in_nM.err
    np.testing.assert_allclose(pd.read_csv(out)["gec50"], 200.0, rtol=1e-2)


def test_growth_rates_refuse_what_they_are_not_of(plate: Path):
    out = plate.parent / "gr.csv"

    def refused(*parts: str, at: str = "48 h", **changes: object) -> None:
        plate.write_text(yaml.safe_dump(STUDY | changes))
        biowm("data", "growth-rates", plate, "--out", out, "--at", at).refused(*parts)

    refused("--at", "found '48'", "expected a number with a unit", at="48")
    pulse = "well,time,action,dose,onset,stop\nA4,0,drug,1,0,12\n"
    (plate.parent / "events.csv").write_text(pulse)
    events = {"table": "events.csv"}
    map_ = pd.read_csv(plate.parent / "map.csv")
    map_.drop(columns="drug").to_csv(plate.parent / "bare.csv", index=False)
    refused("subject A4, drug", "1 umol/L from 0 to 12 h", "doses that are held", plate_map="bare.csv", events=events)
    map_[map_["drug"] != "0 nM"].to_csv(plate.parent / "few.csv", index=False)
    refused("plate.csv", "well A1", "few.csv misses", plate_map="few.csv")
    map_.assign(drug="1 nM").to_csv(plate.parent / "all.csv", index=False)
    refused("no subject that was given one drug", plate_map="all.csv")


def test_a_full_well_is_flagged_and_a_declared_limit_is_said(plate: Path):
    full = pd.read_csv(plate.parent / "plate.csv")
    full.loc[full.index[-2:], "A1"] = [99.0, 99.8]
    full.to_csv(plate.parent / "plate.csv", index=False)
    said = biowm("data", "check", plate)
    assert said.code == 0, said.err
    assert "saturated: 2 readings of 1 subjects are at the top 5 % of its range (from 95 percent on)" in said.out
    assert "uloq: 95 reads them as that limit" in said.out
    limited = {"confluence": STUDY["channels"]["confluence"] | {"uloq": 95}}
    plate.write_text(yaml.safe_dump(STUDY | {"channels": limited}))
    said = biowm("data", "check", plate)
    assert "saturated: 2 readings of 1 subjects are at its upper limit of quantification" in said.out
    assert "readings above the limit of quantification read as the limit: 2" in said.out
    assert "row 13, well A1" in said.out


@pytest.mark.parametrize("command", ["fit", "check"])
def test_bad_plates_are_refused_in_one_line(plate: Path, command: str):
    fit = ("fit", plate, "--out", plate.parent / "run", "--json")
    words = fit if command == "fit" else ("data", "check", plate)
    map_ = plate.parent / "map.csv"
    good = map_.read_text()
    map_.write_text(good.replace("B03", "B33"))
    biowm(*words).refused("plate.csv", "well B3", "map.csv misses")
    map_.write_text(good + "H12,slow,0 nM\n")
    biowm(*words).refused("map.csv", "row 26, well H12", "plate.csv never read")
    map_.write_text(good.replace("nM", "nX", 1))
    biowm(*words).refused("map.csv", "row 2, well A1", "column drug", "'0 nX'", "a unit like umol/L")
    map_.write_text(good + "A1,slow,0 nM\n")
    biowm(*words).refused("map.csv", "row 26", "well A1 again (first in row 2)")
