"""Records: hashed provenance of every result."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from typing import Any, Literal

Kind = Literal["data", "fit", "simulate", "plan", "certify", "bench"]


@dataclass(frozen=True)
class Record:
    """What was done, from what, with which settings, seed and versions; `id` is the hash of it all but the time."""

    kind: Kind
    inputs: Mapping[str, str]
    config: Mapping[str, Any]
    seed: int
    parents: tuple[str, ...] = ()
    metrics: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=lambda: versions())
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))

    @property
    def id(self) -> str:
        """sha256 over everything but the time."""
        body = dataclasses.asdict(self)
        del body["time"]
        return digest(body)

    def to_json(self) -> dict[str, Any]:
        """Plain data, with the id."""
        return {"id": self.id, **dataclasses.asdict(self)}


def record_from_json(data: Mapping[str, Any]) -> Record:
    """The inverse of `Record.to_json`; ValueError where the id does not match the content."""
    body = {k: v for k, v in data.items() if k != "id"}
    record = Record(**{**body, "parents": tuple(body["parents"])})
    if record.id != data["id"]:
        raise ValueError(f"record {data['id'][:12]} was altered: its content hashes to {record.id[:12]}")
    return record


def digest(data: Any) -> str:
    """sha256 of bytes, or of data as canonical JSON."""
    if not isinstance(data, bytes):
        data = json.dumps(data, sort_keys=True, separators=(",", ":"), default=str).encode()
    return hashlib.sha256(data).hexdigest()


def digest_arrays(arrays: Sequence[Any]) -> str:
    """sha256 over the bytes, shapes and types of NumPy arrays, in order."""
    import numpy as np

    running = hashlib.sha256()
    for array in arrays:
        array = np.ascontiguousarray(array)
        running.update(f"{array.dtype.str}{array.shape}".encode())
        running.update(array.tobytes())
    return running.hexdigest()


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("biowm", "jax", "jaxlib", "equinox", "numpy", "scipy", "pandas")
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
