"""Stages: finished pieces of a long computation, kept on disk so that a killed run goes on where it was.

A stage is written whole or not at all, is keyed by everything it depends on, and is used again only if its
bytes still hash to what was written. On CPU a resumed run is bit-identical to an uninterrupted one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors.numpy import load, save

from biowm.core.record import digest


@dataclass(frozen=True)
class Stages:
    """A folder of finished stages; `folder` None keeps nothing."""

    folder: Path | None
    key: str

    def get(self, name: str, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The array of stage `name`: read back if it was finished, computed and kept otherwise."""
        if self.folder is None:
            return compute()
        file = self.folder / f"{digest(f'{self.key}/{name}'.encode())[:24]}.safetensors"
        if file.exists():
            body = file.read_bytes()
            if body[:64].decode("ascii", "replace") == digest(body[64:]):
                return load(body[64:])["x"]
        value = np.asarray(compute(), order="C")
        write_atomic(file, _sealed(save({"x": value})))
        return value

    def clear(self) -> None:
        """Remove the folder with all stages (and what a killed write left), once the result they led to is safe."""
        if self.folder is not None and self.folder.exists():
            shutil.rmtree(self.folder)


def _sealed(body: bytes) -> bytes:
    return digest(body).encode("ascii") + body


def write_atomic(file: Path, body: bytes) -> None:
    """Write a file whole or not at all: to a temporary name, flushed to disk, then renamed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as handle:
            handle.write(body)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
