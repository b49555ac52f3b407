"""Known data sets: found by their contents, fetched whole or not at all; the shipped study files are valid."""

from __future__ import annotations

import dataclasses
import io
import zipfile
from pathlib import Path

import pytest

from biowm.core.errors import BadInput
from biowm.data import catalogue, config
from biowm.data.study import load

STUDIES = Path(__file__).parents[3] / "studies"


@pytest.fixture
def toy(tmp_path, monkeypatch) -> catalogue.KnownSet:
    """A known set whose source is a zip on disk."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("repo-abc/readme.md", "no")
        archive.writestr("repo-abc/data/p1.csv", "1,2\n")
        archive.writestr("repo-abc/data/p2.csv", "3,4\n")
    (tmp_path / "source.zip").write_bytes(content.getvalue())
    (tmp_path / "right").mkdir()
    (tmp_path / "right" / "p1.csv").write_text("1,2\n")
    (tmp_path / "right" / "p2.csv").write_text("3,4\n")
    item = catalogue.KnownSet(
        name="toy", title="Toy", folder="patient/toy", files="csv/*.csv", sha256="", licence="CC0-1.0", cite="none",
        archive=(tmp_path / "source.zip").as_uri(), inside="data", keep="csv",
    )  # fmt: skip
    sha = catalogue.checksum(dataclasses.replace(item, files="*.csv"), tmp_path / "right")
    item = dataclasses.replace(item, sha256=str(sha))
    monkeypatch.setattr(catalogue, "SETS", (item,))
    monkeypatch.delenv("BIOWM_DATA", raising=False)
    return item


def test_a_missing_set_names_the_command_that_gets_it(toy, tmp_path):
    with pytest.raises(BadInput, match=r"'toy' is not in .*`biowm data get toy`.*BIOWM_DATA"):
        catalogue.find("toy", tmp_path / "none")
    with pytest.raises(BadInput, match="did you mean 'toy'"):
        catalogue.find("toyy")


def test_get_then_find(toy, tmp_path):
    folder = catalogue.get("toy", tmp_path / "data")
    assert folder == tmp_path / "data" / "patient" / "toy"
    assert sorted(p.name for p in folder.rglob("*") if p.is_file()) == ["p1.csv", "p2.csv"]
    assert catalogue.find("toy", tmp_path / "data") == folder


def test_other_contents_are_refused_and_nothing_is_kept(toy, tmp_path, monkeypatch):
    monkeypatch.setattr(catalogue, "SETS", (dataclasses.replace(toy, sha256="0" * 64),))
    with pytest.raises(BadInput, match="nothing was kept"):
        catalogue.get("toy", tmp_path / "data")
    assert not list((tmp_path / "data").iterdir())


def test_altered_files_are_refused(toy, tmp_path):
    folder = catalogue.get("toy", tmp_path / "data")
    (folder / "csv" / "p1.csv").write_text("1,3\n")
    with pytest.raises(BadInput, match="found contents"):
        catalogue.find("toy", tmp_path / "data")


def test_a_set_without_an_archive_says_how_its_files_are_made(toy, tmp_path, monkeypatch):
    by_hand = dataclasses.replace(toy, archive="", by_hand="make it so")
    monkeypatch.setattr(catalogue, "SETS", (by_hand,))
    with pytest.raises(BadInput, match=r"no archive .*: make it so in .*toy"):
        catalogue.get("toy", tmp_path / "none")


def test_names_that_lead_out_of_the_archive_are_refused(toy, tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("repo-abc/data/../../../../out.csv", "x")
    monkeypatch.setattr(catalogue, "SETS", (dataclasses.replace(toy, archive=(tmp_path / "evil.zip").as_uri()),))
    with pytest.raises(BadInput, match="names inside the archive"):
        catalogue.get("toy", tmp_path / "data")
    assert not list(tmp_path.rglob("out.csv"))


@pytest.mark.parametrize("name", ["ias", "laleh", "parpi", "parpi-mice", "organoid", "mimic-demo"])
def test_the_shipped_studies_are_valid_and_stand_in_the_catalogue(name):
    study = config.read(STUDIES / f"{name}.yaml")
    item = catalogue.known(name)
    made = study.format == "meds"  # `biowm data ingest NAME` makes the folder NAME
    assert study.table == name if made else study.table.startswith(item.folder)
    assert study.use.licence
    assert study.use.cite == item.cite


@pytest.mark.parametrize(
    ("name", "subjects", "readings"),
    [("ias", 72, 3449), ("parpi", 71, 1255), ("parpi-mice", 30, 1203), ("organoid", 1963, 21469)],
)
def test_the_shipped_studies_load(name, subjects, readings):
    try:
        catalogue.find(name)
    except BadInput:
        pytest.skip(f"data set {name} is not here")
    study = load(STUDIES / f"{name}.yaml")
    assert len(study.subjects) == subjects
    assert sum(len(path.t) for path in study.paths) == readings
