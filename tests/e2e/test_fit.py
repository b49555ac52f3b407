"""What `biowm fit` leaves behind."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from .conftest import Run

HASHED = {"weights.safetensors", "calibration.json", "metrics.json", "histories.safetensors"}
NAMES = ("world", "world:no-rules", "persistence", "ridge", "direct", "knn")
SPLITS = ("next", "h3", "h6", "2 d", "4 d")


def test_the_folder_holds_the_artefact_and_nothing_else(artefact: Path):
    assert {f.name for f in artefact.iterdir()} == HASHED | {"world.json", "record.json", "report.html"}


def test_what_it_prints_is_what_it_wrote(fit_run: Run, artefact: Path):
    said = fit_run.said.json
    assert said["out"] == str(artefact)
    assert said["horizons"] == ["2 d", "4 d"]
    assert said["rows"] == json.loads((artefact / "metrics.json").read_bytes())["rows"]
    assert said["record"]["id"] == json.loads((artefact / "record.json").read_bytes())["id"]
    assert said["level"] == 0.9
    assert {row["name"] for row in said["race"]} >= set(NAMES[2:])


@pytest.mark.parametrize("name", NAMES)
def test_every_contender_has_its_rows(artefact: Path, name: str):
    rows = json.loads((artefact / "metrics.json").read_bytes())["rows"]
    mine = {(r["split"], r["metric"]): r for r in rows if r["name"] == name}
    for split in SPLITS:
        for metric in ("crps", "mae", "rmse", "coverage90", "joint90"):
            row = mine[split, metric]
            assert set(row) == {"name", "role", "split", "metric", "value", "low", "high", "n"}
            assert row["low"] <= row["value"] <= row["high"]
            assert row["n"] > 0
            assert row["role"] == ("ours" if name.startswith("world") else "baseline")


def test_where_doses_drive_the_course_the_world_beats_the_last_value(artefact: Path):
    rows = json.loads((artefact / "metrics.json").read_bytes())["rows"]
    crps = {(r["name"], r["split"]): r["value"] for r in rows if r["metric"] == "crps"}
    for split in SPLITS:
        assert crps["world", split] < 0.8 * crps["persistence", split]


def test_the_hashes_are_those_of_the_files(artefact: Path):
    body = json.loads((artefact / "world.json").read_bytes())
    assert set(body["sha256"]) == HASHED
    for name, sha in body["sha256"].items():
        assert hashlib.sha256((artefact / name).read_bytes()).hexdigest() == sha, name


class _Requests(HTMLParser):
    """Everything that a page would fetch when it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("src", "srcset", "data", "poster", "href", "xlink:href", "action") and tag != "a":
                self.found += [value or ""] if not (value or "").startswith(("#", "data:")) else []


def test_the_report_asks_nobody_for_anything(artefact: Path):
    text = (artefact / "report.html").read_text(encoding="utf-8")
    page = _Requests()
    page.feed(text)
    assert page.found == []
    assert not re.search(r"url\(\s*['\"]?(?!#|data:)\w|@import", text)
    for shown in ("world:no-rules", "persistence", "<svg"):
        assert shown in text
