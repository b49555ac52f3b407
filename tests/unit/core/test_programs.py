from __future__ import annotations

import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from biowm.core import programs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts mappings")


@pytest.fixture(autouse=True)
def long_ago(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(programs, "_last", -1e9)


def mappings() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


def test_room_is_made_and_programs_still_run():
    double = jax.jit(lambda x: jnp.sin(x) * 2)
    first = [double(jnp.ones(n)) for n in range(1, 40)]
    before = mappings()
    assert programs.make_room(most=before - 100)
    assert mappings() < before - 100
    assert [float(x[0]) for x in first] == [float(double(jnp.ones(n))[0]) for n in range(1, 40)]


def test_where_there_is_room_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax, "clear_caches", lambda: pytest.fail("dropped"))
    assert not programs.make_room(most=10**9)
    assert not programs.make_room(most=0), "looked twice within two seconds"


def test_only_the_main_thread_drops_them():
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(programs.make_room(most=0)))
    thread.start()
    thread.join()
    assert found == [False]


def test_by_default_half_of_the_limit_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "limit").write_text("100\n")
    (tmp_path / "maps").write_text("a mapping\n" * 51)
    monkeypatch.setattr(programs, "_LIMIT", tmp_path / "limit")
    monkeypatch.setattr(programs, "_MAPPED", tmp_path / "maps")
    dropped: list[bool] = []
    monkeypatch.setattr(jax, "clear_caches", lambda: dropped.append(True))
    assert programs.make_room()
    assert dropped == [True]
    (tmp_path / "maps").write_text("a mapping\n" * 50)
    monkeypatch.setattr(programs, "_last", -1e9)
    assert not programs.make_room()
