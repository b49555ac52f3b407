"""An artefact that is not as `biowm fit` wrote it is refused by the name of the file."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import biowm

FILES = (
    "world.json", "weights.safetensors", "calibration.json", "metrics.json", "record.json", "histories.safetensors",
)  # fmt: skip


def flip(file: Path) -> None:
    """One bit, somewhere that matters: the time in a record is no part of its hash."""
    body = bytearray(file.read_bytes())
    at = body.index(b'"inputs"') + 3 if file.name == "record.json" else len(body) // 2
    body[at] ^= 1
    file.write_bytes(body)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def pickled(file: Path) -> None:
    file.write_bytes(pickle.dumps({"weights": 1}))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", [flip, truncate, pickled, Path.unlink], ids=["bit", "cut", "pickle", "missing"])
def test_a_damaged_file(copy: Path, name: str, damage: Callable[[Path], None]):
    damage(copy / name)
    biowm("simulate", copy, "--subject", "s03", "--horizon", "2 d", "--json").refused(name)


@pytest.mark.parametrize("command", [("certify",), ("plan", "--goal", "minimise mean drug", "--horizon", "2 d")])
def test_every_command_checks(copy: Path, command: tuple[str, ...]):
    truncate(copy / "weights.safetensors")
    biowm(command[0], copy, *command[1:], "--json").refused("weights.safetensors", "sha256")


def test_a_pickle_is_never_read(tmp_path: Path):
    file = tmp_path / "model.pkl"
    pickled(file)
    biowm("certify", file, "--json").refused("model.pkl", "a pickle", "never read")


def test_a_folder_that_is_no_artefact(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "nowhere"):
        biowm("certify", folder, "--json").refused(str(folder), "world.json", "biowm fit")
