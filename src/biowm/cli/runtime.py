"""What must be set before jax is first imported: threads, compiler flags, and where compiled programs are kept."""

from __future__ import annotations

import os
from pathlib import Path

from platformdirs import user_cache_path

_FLAGS = ("--xla_cpu_multi_thread_eigen=false",)
_DEFAULTS = {
    # One thread each: sums keep one order, so that the same seed gives the same bits, and small steps run faster.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Compiling is most of what a short run costs: a second run finds its programs, however small, on disk.
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
}


def prepare(cache: Path | None = None) -> None:
    """Set the environment that jax reads when it is imported; what the user has set stays as it is."""
    given = os.environ.get("XLA_FLAGS", "").split()
    named = {flag.split("=")[0] for flag in given}
    os.environ["XLA_FLAGS"] = " ".join([*given, *(f for f in _FLAGS if f.split("=")[0] not in named)])
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache or user_cache_path("biowm") / "jax"))
