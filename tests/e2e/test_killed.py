"""A fit that is killed with no warning goes on where it was, and ends in the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from .conftest import cohort, write_study

SAME = ("world.json", "weights.safetensors", "calibration.json", "metrics.json", "histories.safetensors")
DEADLINE = 600.0


def start(study: Path, out: Path, errors: Path) -> subprocess.Popen[bytes]:
    """The real command in a process of its own, with the compiled programs of the tests."""
    cache = os.environ.get("JAX_COMPILATION_CACHE_DIR") or str(jax.config.jax_compilation_cache_dir)
    with errors.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-c", "from biowm.cli.main import main; main()", "fit", study, "--out", out],
            env=os.environ | {"JAX_COMPILATION_CACHE_DIR": cache},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )


def finish(process: subprocess.Popen[bytes], errors: Path) -> None:
    assert process.wait(DEADLINE) == 0, errors.read_text()


@pytest.mark.slow
def test_a_killed_fit_ends_in_the_same_bytes(tmp_path: Path):
    study, errors = write_study(tmp_path / "study", cohort(seed=0)), tmp_path / "errors"
    finish(start(study, tmp_path / "whole", errors), errors)

    killed, stages = start(study, tmp_path / "run", errors), tmp_path / "run" / ".stages"
    begun = time.monotonic()
    while len(list(stages.glob("*.safetensors"))) < 7:
        assert killed.poll() is None, f"the fit ended before it was killed: {errors.read_text()}"
        assert time.monotonic() - begun < DEADLINE
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait(DEADLINE) == -signal.SIGKILL
    assert not (tmp_path / "run" / "world.json").exists()
    kept = {f.name: f.stat().st_mtime_ns for f in stages.glob("*.safetensors")}

    again = start(study, tmp_path / "run", errors)
    while not len(list(stages.glob("*.safetensors"))) > len(kept):
        assert again.poll() is None, errors.read_text()
        time.sleep(0.01)
    assert {f.name: f.stat().st_mtime_ns for f in stages.glob("*.safetensors")}.items() >= kept.items()
    finish(again, errors)
    assert not stages.exists()
    for name in SAME:
        assert (tmp_path / "run" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
