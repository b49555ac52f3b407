"""`biowm plan --experiments`: what to measure next, as a table and as a plate map."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from tests.support.screen import PAIRS, SINGLES, drugs, fitted_screen, screen

from biowm.train.checkpoint import save_fitted

from .conftest import biowm


@pytest.fixture(scope="module")
def drug_screen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drugs")
    save_fitted(fitted_screen(drugs(), screen([*SINGLES, *PAIRS[:5]])), folder)
    return folder


def test_a_table_a_plate_map_and_a_picture(drug_screen: Path, tmp_path: Path):
    out, wells, picture = (tmp_path / name for name in ("next.csv", "plate.csv", "plate.png"))
    body = biowm(
        "plan", drug_screen, "--experiments", 6, "--json", "--out", out, "--plate-map", wells, "--plot", picture,
        "--replicates", 3, "--controls", 8, "--no-edge",
    ).json  # fmt: skip
    assert (body["considered"], body["measured"]) == (15, 5)
    assert body["plates"] == {"size": 96, "number": 1, "shared": 0}
    assert body["information"] == pytest.approx(sum(e["information"] for e in body["experiments"]))
    table = pd.read_csv(out)
    assert list(table["set"]) == [e["set"] for e in body["experiments"]]
    assert list(table.columns[:7]) == ["rank", "set", "doses", "context", "mean", "sd", "information"]
    plate = pd.read_csv(wells)
    assert len(plate) == 96
    assert plate["role"].value_counts().to_dict() == {"sample": 18, "control": 8, "empty": 70}
    assert set(plate.loc[plate["role"] == "sample", "set"]) == set(table["set"])
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_it_can_be_read(drug_screen: Path, tmp_path: Path):
    said = biowm("plan", drug_screen, "--experiments", 3, "--pairs-of", "b, c=500 nM, e", "--by", "balanced",
                 "--plate-map", tmp_path / "p.csv", "--plate", 384)  # fmt: skip
    assert said.code == 0, said.err
    assert "Next 3 of 3 sets, by a balanced design; 0 of 3 were measured already" in said.out
    assert "1.5 uM + 0.5 uM" in said.out
    assert "Plates of 384 wells: 1" in said.out


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (("--experiments", 3, "--goal", "minimise mean up"), ("both of --goal and --experiments",)),
        ((), ("neither of --goal and --experiments",)),
        (("--experiments", 3, "--horizon", "24 h"), ("--horizon with --experiments",)),
        (("--goal", "minimise mean up", "--horizon", "24 h", "--out", "x.csv"), ("--out with --goal",)),
        (("--goal", "minimise mean up"), ("--goal without --horizon",)),
        (("--experiments", 30), ("at most 10", "of 15 pairs 5 were measured already")),
        (("--experiments", 3, "--pairs-of", "a, zz"), ("--pairs-of", "'zz'")),
        (("--experiments", 3, "--plate-map", "p.csv", "--controls", 96), ("--controls", "no well is left")),
        (("--experiments", 3, "--plate-map", "p.csv", "--plate", 48), ("--plate", "96 or 384")),
        (("--experiments", 3, "--out", "p.txt"), ("--out", ".csv")),
        (("--experiments", 3, "--plot", "p.png"), ("--plate-map",)),
        (("--experiments", 3, "--plate", 96), ("--plate without --plate-map",)),
    ],
)
def test_what_is_refused(drug_screen: Path, args: tuple[object, ...], parts: tuple[str, ...]):
    biowm("plan", drug_screen, *args).refused(*parts)


def test_a_world_of_patients_is_no_screen(artefact: Path):
    biowm("plan", artefact, "--experiments", 3).refused("no screen", "drug (rate)", "set-member")
