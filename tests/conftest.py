"""One thread, strict types and ranks, and a compilation cache that outlives the run."""

from __future__ import annotations

import os

# Read once, when jax is first imported.
os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest
from hypothesis import settings

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


@pytest.hookimpl(tryfirst=True)  # before the plugin that reads the mark
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Folders that share one fit stay on one worker, other files whole: no fixture is made twice."""
    for item in items:
        folder = next((name for name in ("tests/e2e", "tests/unit/train") if item.nodeid.startswith(name)), None)
        item.add_marker(pytest.mark.xdist_group(folder or item.nodeid.split("::")[0]))
