"""The tutorials are run as they are written, in order, in one folder."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

TUTORIALS = sorted(
    (Path(__file__).parents[2] / "docs" / "tutorials").glob("*.md"), key=lambda file: int(file.stem.split("-")[0])
)
BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_there_is_a_tutorial_for_each_capability():
    assert [t.stem.split("-", 1)[1] for t in TUTORIALS] == [
        "your-table",
        "what-if",
        "plan",
        "certify",
        "bench",
        "your-own-mechanism",
        "your-own-model",
        "virtual-cohort",
        "next-experiments",
        "screens-as-anndata",
        "plates-and-tracks",
    ]


@pytest.mark.slow
def test_every_block_runs(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    module = ModuleType("tutorial")  # a real one: dataclasses look theirs up by name
    monkeypatch.setitem(sys.modules, "tutorial", module)
    for tutorial in TUTORIALS:
        blocks = BLOCK.findall(tutorial.read_text(encoding="utf-8"))
        assert blocks, tutorial
        for block in blocks:
            exec(compile(block, str(tutorial), "exec", dont_inherit=True), vars(module))
