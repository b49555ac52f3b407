from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from biowm.train.stages import Stages, write_atomic


class Work:
    """A computation that counts how often it is done."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self) -> np.ndarray:
        self.done += 1
        return np.arange(6, dtype=np.float32).reshape(2, 3).T


def only_file(folder: Path) -> Path:
    (file,) = folder.iterdir()
    return file


def test_a_finished_stage_is_read_back_bit_for_bit(tmp_path: Path):
    work, stages = Work(), Stages(tmp_path, "key")
    first, again = stages.get("a", work), stages.get("a", work)
    assert work.done == 1
    np.testing.assert_array_equal(first, again)
    assert first.dtype == again.dtype


@pytest.mark.parametrize(("key", "name"), [("key", "b"), ("other", "a")])
def test_another_key_or_name_is_another_stage(tmp_path: Path, key: str, name: str):
    work = Work()
    Stages(tmp_path, "key").get("a", work)
    Stages(tmp_path, key).get(name, work)
    assert work.done == 2


@pytest.mark.parametrize("place", [0, 70, -1])
def test_altered_bytes_are_computed_again(tmp_path: Path, place: int):
    work, stages = Work(), Stages(tmp_path, "key")
    expected = stages.get("a", work)
    file = only_file(tmp_path)
    body = bytearray(file.read_bytes())
    body[place] ^= 1
    file.write_bytes(bytes(body))
    np.testing.assert_array_equal(stages.get("a", work), expected)
    assert work.done == 2
    stages.get("a", work)
    assert work.done == 2


@pytest.mark.parametrize("length", [0, 10, 64, 100])
def test_a_truncated_stage_is_computed_again(tmp_path: Path, length: int):
    work, stages = Work(), Stages(tmp_path, "key")
    stages.get("a", work)
    file = only_file(tmp_path)
    file.write_bytes(file.read_bytes()[:length])
    stages.get("a", work)
    assert work.done == 2


def test_a_crash_in_the_computation_leaves_nothing(tmp_path: Path):
    def crash() -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Stages(tmp_path / "stages", "key").get("a", crash)
    assert not (tmp_path / "stages").exists()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_crash_in_the_write_leaves_the_old_file_and_no_part_of_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
):
    file = tmp_path / "file"
    write_atomic(file, b"old")

    def crash(*args: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(*((os, "fsync") if step == "fsync" else (Path, "replace")), crash)
    with pytest.raises(OSError, match="no space"):
        write_atomic(file, b"new, and longer")
    assert file.read_bytes() == b"old"
    assert only_file(tmp_path) == file


def test_no_folder_keeps_nothing():
    work, stages = Work(), Stages(None, "")
    stages.get("a", work)
    stages.get("a", work)
    assert work.done == 2
    stages.clear()


def test_clearing_removes_the_folder_even_after_a_killed_write(tmp_path: Path):
    folder = tmp_path / "stages"
    stages = Stages(folder, "key")
    stages.get("a", Work())
    (folder / ".half.safetensors.77.tmp").write_bytes(b"half")
    stages.clear()
    assert not folder.exists()
    stages.clear()
