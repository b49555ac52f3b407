"""What a user pays before anything happens, and what `import biowm` offers."""

from __future__ import annotations

import importlib
import importlib.util
import os
import resource
import statistics
import subprocess
import sys
import types

import pytest

import biowm

HEAVY = ("jax", "numpy", "pandas", "matplotlib", "scipy", "equinox")
WORK = pytest.mark.skipif(
    importlib.util.find_spec("biowm.cli.main") is None, reason="the command line is not there yet"
)


def _seconds(*command: str) -> float:
    """Median processor time of three runs: a busy machine does not change it."""

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "COLUMNS": "100"})
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    return statistics.median(once() for _ in range(3))


def _loaded(code: str) -> set[str]:
    script = f"import sys; {code}; print(*{{m.split('.')[0] for m in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )


def test_importing_is_quick_and_loads_nothing_heavy():
    assert _seconds(sys.executable, "-c", "import biowm") < 1.0
    assert not _loaded("import biowm") & set(HEAVY)


@WORK
def test_help_is_quick_and_does_not_load_jax():
    assert _seconds(sys.executable, "-m", "biowm", "--help") < 1.0
    assert "jax" not in _loaded("import biowm.cli.main")


def test_the_package_lists_its_verbs():
    assert set(biowm.__all__) == {
        "__version__", "bench", "certify", "cite", "cohort", "fit", "load", "plan", "propose", "simulate",
    }  # fmt: skip
    assert set(biowm.__all__) <= set(dir(biowm))
    with pytest.raises(AttributeError, match="frobnicate"):
        _ = biowm.frobnicate


def test_verbs_come_from_the_api(monkeypatch):
    api = types.ModuleType("biowm.api")
    for verb in set(biowm.__all__) - {"__version__", "cite"}:
        setattr(api, verb, lambda verb=verb: verb)
    monkeypatch.setitem(sys.modules, "biowm.api", api)
    assert [getattr(biowm, verb)() for verb in ("fit", "plan")] == ["fit", "plan"]


def test_the_verb_plan_outlives_an_import_of_the_room(monkeypatch):
    api = types.ModuleType("biowm.api")
    api.plan = lambda: "verb"
    monkeypatch.setitem(sys.modules, "biowm.api", api)
    room = importlib.import_module("biowm.plan")
    biowm.plan = room  # what the import system does
    assert biowm.plan() == "verb"


def test_the_version_is_that_of_the_distribution():
    from importlib.metadata import version

    assert biowm.__version__ == version("biowm")
