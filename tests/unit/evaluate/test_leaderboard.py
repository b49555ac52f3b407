"""The leaderboard: the best simple rule, the bound and the skill of every split, from files alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from biowm.core import registry
from biowm.core.errors import BadInput
from biowm.core.interval import Row
from biowm.evaluate.bench import Result, Spread, standings
from biowm.evaluate.leaderboard import leaderboard_html, leaderboard_markdown, read
from biowm.evaluate.task import Task


class Toy(Task):
    version, primary = "1", "mae"

    def make(self, seed, setting): ...
    def contend(self, problem, tell): ...
    def score(self, prediction, problem): ...


class Higher(Toy):
    primary, higher = "ccc", True


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._found, ("tasks", "toy"), Toy)
    monkeypatch.setitem(registry._found, ("tasks", "higher"), Higher)


def result(task: str, metric: str, values: dict[tuple[str, str], float], spread: float | None = None) -> Result:
    rows = tuple(Row(n, role, "h1", metric, v, v - 0.1, v + 0.1, 9) for (n, role), v in values.items())  # type: ignore[arg-type]
    apart = () if spread is None else (Spread("world", "h1", metric, spread),)
    return Result(task, "1", 2, 1.0, 9.0, "abc", None, rows, spread=apart)


VALUES = {("persistence", "baseline"): 2.0, ("ridge", "baseline"): 1.6, ("world", "ours"): 1.0, ("bayes", "floor"): 0.8}


def test_skill_is_the_way_from_the_best_rule_to_the_bound_that_can_be_reached():
    (found,) = standings(result("toy", "mae", VALUES | {("oracle", "floor"): 0.1}))
    assert (found.rule.name, found.bound.name if found.bound else "") == ("ridge", "bayes")
    assert found.skill == pytest.approx(0.75)
    up = {("knn", "baseline"): 0.5, ("mean", "baseline"): 0.2, ("world", "ours"): 0.7, ("replicates", "ceiling"): 0.9}
    (found,) = standings(result("higher", "ccc", up))
    assert found.rule.name == "knn"
    assert found.skill == pytest.approx(0.5)


def test_without_a_bound_there_is_no_skill():
    few = {k: v for k, v in VALUES.items() if k[1] != "floor"}
    (found,) = standings(result("toy", "mae", few))
    assert found.skill is None
    assert "| no bound |" in leaderboard_markdown([("toy.json", result("toy", "mae", few))])


def test_page_and_markdown_say_where_each_number_comes_from(tmp_path: Path):
    (tmp_path / "toy.json").write_text(json.dumps(result("toy", "mae", VALUES, 0.25).to_json()))
    results = read(tmp_path)
    text = leaderboard_markdown(results)
    assert "| h1 | mae | ridge | 1.600 [1.500, 1.700] | 1.000 [0.900, 1.100] | 0.800 [0.700, 0.900] | 0.75 |" in text
    assert "1.000 [0.900, 1.100] +- 0.250" in text
    assert "toy.json: version 1, 2 seeds, 1 s, commit abc." in text
    page = leaderboard_html(results)
    assert "ahead of the best simple rule in 1 of 1 splits" in page
    assert "toy.json" in page


def test_other_files_are_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="found no result"):
        read(tmp_path)
    (tmp_path / "zz.json").write_text('{"task": "toy"}')
    with pytest.raises(BadInput, match=r"zz\.json"):
        read(tmp_path)
