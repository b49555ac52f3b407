"""The bench on a toy task whose numbers are known."""

import io
import json
import os
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
from rich.console import Console

from biowm.core import registry
from biowm.core.errors import BadInput
from biowm.evaluate import bench
from biowm.evaluate.metrics import METRICS, tally
from biowm.evaluate.task import Answer, Setting, Task


@dataclass(frozen=True)
class Toss:
    seed: int
    world_wins: bool


class Toy(Task[Toss, float]):
    """Errors are given: the simple rule is always off by 1."""

    version = "7"
    primary = "mae"
    variants = ("lucky",)

    def make(self, seed, setting):
        return Toss(seed, setting.variant == "lucky")

    def contend(self, problem, tell):
        yield Answer("persistence", "baseline", 1.0)
        yield Answer("mean", "baseline", 3.0)
        yield Answer("world", "ours", 0.5 + problem.seed if problem.world_wins else 2.0)

    def score(self, prediction, problem):
        return {("next", "mae"): tally(METRICS["mae"], np.full(4, prediction), ["a", "a", "b", "c"])}

    def scope(self, setting):
        return "quick: half" if setting.effort == "quick" else ""


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(registry._found, ("tasks", "toy"), Toy)


def test_the_json_object_is_exactly_the_contract():
    heard = []
    body = bench.run("toy", Setting(variant="lucky"), seeds=2, progress=lambda *told: heard.append(told)).to_json()
    assert list(body) == [
        "task",
        "version",
        "seeds",
        "seconds",
        "peak_mb",
        "commit",
        "data_sha256",
        "rows",
        "machine",
        "spread",
    ]
    assert list(body["machine"]) == ["system", "architecture", "cores", "python", "jax", "backend"]
    assert 1 <= body["machine"]["cores"] <= (os.cpu_count() or 1)
    assert list(body["rows"][0]) == ["name", "role", "split", "metric", "value", "low", "high", "n"]
    assert (body["task"], body["version"], body["seeds"], body["data_sha256"]) == ("toy", "7", 2, None)
    world = next(r for r in body["rows"] if r["name"] == "world")
    assert (world["value"], world["n"]) == (1.0, 4)
    assert body["peak_mb"] > 10
    assert heard[0] == ("seed 0: persistence", 0.0)
    assert bench.result_from_json(json.loads(json.dumps(body))).to_json() == body
    older = {key: value for key, value in body.items() if key != "machine"}
    assert bench.result_from_json(older).to_json() == older | {"machine": None}


def copied(thing):
    return pickle.loads(pickle.dumps(thing))  # noqa: S301


def test_an_executor_gives_the_same_rows():
    def backwards(job, items, done):
        """What another process does: job and results are pickled, in whatever order they end."""
        found = {i: copied(copied(job)(items[i])) for i in reversed(items)}
        for i in items:
            done(i)
        return [found[i] for i in items]

    heard = []
    elsewhere = bench.run(
        "toy",
        Setting(variant="lucky"),
        seeds=3,
        progress=lambda *told: heard.append(told),
        executor=backwards,
    )
    assert elsewhere.rows == bench.run("toy", Setting(variant="lucky"), seeds=3).rows
    assert heard == [("seed 0 is done", 1 / 3), ("seed 1 is done", 2 / 3), ("seed 2 is done", 1.0)]


def test_quick_is_one_seed_and_says_what_was_left_out():
    result = bench.run("toy", Setting(effort="quick"))
    assert (result.seeds, result.version) == (1, "7 (quick: half)")
    assert bench.run("toy", Setting()).seeds == 5


def test_a_winning_simple_rule_is_named_first():
    lost = bench.run("toy", Setting(), seeds=1)
    assert bench.winners(lost) == ["next: best simple rule persistence 1.000 (mae) wins; world 2.000"]
    won = bench.run("toy", Setting(variant="lucky"), seeds=1)
    assert bench.winners(won) == ["next: best simple rule persistence 1.000 (mae); world 0.500 is ahead"]
    paper = Console(width=120, record=True, file=io.StringIO())
    paper.print(lost)
    text = paper.export_text()
    assert text.index("persistence 1.000") < text.index("mean") < text.index("2.000 [2.000, 2.000]")


def test_seeds_lie_apart_and_that_is_said_apart():
    result = bench.run("toy", Setting(variant="lucky"), seeds=3)
    spread = {(s.name, s.metric): s.sd for s in result.spread}
    assert spread["world", "mae"] == pytest.approx(1.0)  # .5, 1.5 and 2.5
    assert spread["persistence", "mae"] == 0.0
    assert bench.run("toy", Setting(), seeds=1).spread == ()


@pytest.mark.parametrize(
    ("name", "setting", "seeds", "said"),
    [
        ("tpy", Setting(), 1, "toy"),
        ("toy", Setting(variant="unlucky"), 1, "lucky"),
        ("toy", Setting(), 0, "at least 1"),
    ],
)
def test_bad_requests_say_what_is_expected(name, setting, seeds, said):
    with pytest.raises(BadInput, match=said):
        bench.run(name, setting, seeds=seeds)


def test_missing_data_say_how_to_get_them(tmp_path, monkeypatch):
    monkeypatch.delenv("BIOWM_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BadInput, match="biowm data get ias"):
        bench.run("ias", Setting(data=tmp_path), seeds=1)
