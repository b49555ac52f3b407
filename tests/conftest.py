"""One thread, strict types and ranks, and a compilation cache that outlives the run."""

from __future__ import annotations

import os
from typing import Any

# Read once, when jax is first imported.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from hypothesis import settings
from xdist.scheduler.loadscope import LoadScopeScheduling

# The same examples on every machine: what passes at a desk passes in CI.
settings.register_profile("suite", derandomize=True, deadline=None)
settings.load_profile("suite")

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")


def pytest_configure(config: pytest.Config) -> None:
    """Keep compiled functions under the pytest cache (or where the environment says): a second run hardly compiles."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(config.cache.mkdir("jax")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


class ByFit(LoadScopeScheduling):
    """Folders that share one fit stay on one worker, other files whole: no fixture is made twice.

    The groups of `--dist loadgroup` would say the same, but pytest 9.2 does not hear of them (pytest-xdist #1386).
    """

    def _split_scope(self, nodeid: str) -> str:
        folder = next((name for name in ("tests/e2e", "tests/unit/train") if nodeid.startswith(name)), None)
        return folder or nodeid.split("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFit:
    """How tests are dealt out with `-n`."""
    return ByFit(config, log)
