"""A room imports only rooms below it, and the contracts that say so do bite."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    script = f"import sys; sys.path.insert(0, {str(folder / 'src')!r}); from importlinter.cli import lint_imports; "
    script += "sys.exit(lint_imports(no_cache=True))"
    return subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True, text=True)


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A small house with the real contracts."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for room in ("core", "data", "models", "worlds", "train", "scale", "api"):
        (tmp_path / "src/biowm" / room).mkdir(parents=True)
        (tmp_path / "src/biowm" / room / "__init__.py").touch()
    (tmp_path / "src/biowm/__init__.py").touch()
    return tmp_path


def test_the_rooms_of_this_house():
    done = _lint(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_allowed_house_passes(house: Path):
    (house / "src/biowm/scale/executors.py").write_text("import ray\nfrom biowm.train import fit\n")
    (house / "src/biowm/train/fit.py").write_text("from biowm.core import spec\nimport pandas\n")
    (house / "src/biowm/core/spec.py").touch()
    done = _lint(house)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("core", "import biowm.data"),
        ("models", "import biowm.worlds"),
        ("data", "import biowm.models"),
        ("train", "import biowm.api"),
        ("train", "import ray"),
        ("core", "import pandas"),
        ("core", "import matplotlib.figure"),
        ("models", "import torch"),
        ("attic", "x = 1"),
    ],
)
def test_a_forbidden_import_is_found(house: Path, room: str, line: str):
    (house / "src/biowm" / room).mkdir(exist_ok=True)
    (house / "src/biowm" / room / "__init__.py").write_text(line + "\n")
    done = _lint(house)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout or "attic" in done.stdout
