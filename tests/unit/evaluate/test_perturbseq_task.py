"""Task perturbseq-mini on small screens with known truth: folds, rules, scores, and the verdict in the report."""

from __future__ import annotations

import io

import anndata
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from biowm.data.screens import Screen, load_screen
from biowm.evaluate import bench
from biowm.evaluate.leaderboard import leaderboard_html, leaderboard_markdown
from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks import perturbseq_mini as mini
from biowm.evaluate.tasks._clouds import Cloud, fold_of, learned_from, others, replicated, rules, shared, unseen

GENES, CELLS = 40, 30
SINGLES = ("KLF1", "MAP2K6", "TGFBR2", "MAPK1", "MAP2K3", "SLC38A2", "PLK4")
LINES = ("A", "B", "C")
LEVEL = 3.0  # of every gene in control cells, far enough above 0 that nothing is cut off


def effects(size: float, seed: int = 5) -> dict[str, np.ndarray]:
    return {g: size * np.random.default_rng([seed, i]).normal(size=GENES) for i, g in enumerate(SINGLES)}


def table(conditions: list[tuple[str, str]], size: float, seed: int, cells: int = CELLS) -> Screen:
    """Cells of spread .5 under (members, line); a member's effect is the same everywhere, lines differ, sets add."""
    draw, effect = np.random.default_rng(seed), effects(size)
    rows, labels, lines = [], [], []
    for members, line in conditions:
        n = 2 * cells if members == "control" else cells
        shift = sum((effect[m] for m in members.split("+") if m in effect), np.zeros(GENES))
        rows.append(LEVEL + 0.2 * LINES.index(line) + shift + 0.5 * draw.normal(size=(n, GENES)))
        labels += [members] * n
        lines += [line] * n
    obs = pd.DataFrame({"condition": labels, "cell_type": lines, "perturbation_type": "CRISPRa"})
    obs.index = [f"cell{i}" for i in range(len(obs))]
    found = anndata.AnnData(np.maximum(np.concatenate(rows), 0.01).astype(np.float32), obs=obs)
    found.var_names = [f"g{j}" for j in range(GENES)]
    context = {"cell_type": "cell_type"}
    return load_screen(found, {
        "study": "toy", "control": {"obs": "condition", "value": "control"}, "context": context,
        "actions": {"from": {"obs": "condition", "split": "+"}, "effect": "up"}, "layer": {"kind": "log1p"},
    })  # fmt: skip


def pairs(size: float = 1.0, seed: int = 0) -> Screen:
    sets = ["control", *SINGLES, *mini.DOUBLES]
    return table([(s, "A") for s in sets], size, seed)


def across(size: float, seed: int = 0) -> Screen:
    return table([(s, line) for line in LINES for s in ("control", *SINGLES)], size, seed)


def problem(doubles: float = 1.0, lines: float = 0.0, seed: int = 0) -> mini.Problem:
    asked = mini.folds(pairs(doubles, seed), across(lines, seed), seed)
    return mini.problem_of(asked, seed, splits=3, permutations=59)


def additive(asked: mini.Problem) -> mini.Prediction:
    return mini.Prediction(tuple(s for f in asked.folds for s in mini._said(f, rules(f)["additive"])))


@pytest.fixture(scope="module")
def plain() -> mini.Problem:
    return problem()


def test_folds_hold_out_what_is_asked_and_half_of_its_controls(plain: mini.Problem):
    assert [len(f.asked) for f in plain.folds] == [5, 7, 7, 7]
    for fold in plain.folds:
        assert not fold.known[np.isin(fold.screen.of, fold.asked)].any()
        assert (len(fold.ours), len(fold.theirs)) == (CELLS, CELLS)
        assert fold.known[fold.ours].all()
        assert not fold.known[fold.theirs].any()
        assert fold.screen.control[fold.screen.of[np.r_[fold.ours, fold.theirs]]].all()
        seen = learned_from(fold)
        assert len(seen.of) == fold.known.sum() == seen.cells.shape[0]
        assert {i for i, part in enumerate(seen.given_split) if part == "test"} == set(fold.asked)
        np.testing.assert_array_equal(seen.cells.rows(np.arange(5)), fold.cells[np.flatnonzero(fold.known)[:5]])
        assert not np.isin(unseen(fold).cells[:, 0], fold.cells[fold.known][:, 0]).any()
        assert len(replicated(fold).cells) == len(unseen(fold).cells) + len(fold.ours)
    assert set(plain.folds[0].ours) != set(problem(seed=1).folds[0].ours)
    with pytest.raises(ValueError, match="conditions of 2 contexts"):
        fold_of("x", across(0.0), plain.folds[1].cells, [1, 9], 0)


def test_rules_say_what_they_can_from_known_cells(plain: mini.Problem):
    fold, effect = plain.folds[0], effects(1.0)
    said, level = rules(fold), LEVEL * np.ones(GENES)
    assert set(said) == {"no change", "mean shift", "mean", "singles", "additive"}
    for c in fold.asked:
        parts = [effect[m] for m in fold.screen.members[c].split("+")]
        np.testing.assert_allclose(said["additive"][c].mean, level + sum(parts), atol=0.6)
        np.testing.assert_allclose(said["singles"][c].mean, level + sum(parts) / 2, atol=0.4)
        np.testing.assert_allclose(said["mean"][c].mean, level + np.mean(list(effect.values()), 0), atol=0.3)
        np.testing.assert_array_equal(said["no change"][c].mean, fold.mean(fold.ours))
        assert (said["additive"][c].cells >= 0).all()
    line = plain.folds[1]
    elsewhere = rules(line)
    assert (elsewhere["mean"], elsewhere["singles"]) == ({}, {})
    assert set(elsewhere["additive"]) == set(line.asked)
    assert len(rules(shared(fold))["no change"][fold.asked[0]].cells) == 2 * CELLS


def test_rules_do_not_look_at_what_is_held_out(plain: mini.Problem):
    for fold in (plain.folds[0], plain.folds[2]):
        spoiled = np.where(fold.known[:, None], fold.cells, np.float32(99.0))
        other = fold_of(fold.split, fold.screen, spoiled, fold.asked, 0)
        for name, by in rules(fold).items():
            for c, cloud in by.items():
                np.testing.assert_array_equal(cloud.mean, rules(other)[name][c].mean, err_msg=name)


def test_scores_are_signed_and_against_split_controls(plain: mini.Problem):
    task, fold = mini.PerturbseqMini(), plain.folds[0]
    control = fold.mean(fold.ours)
    backwards = {c: Cloud(2 * control - a.mean, a.cells) for c, a in rules(fold)["additive"].items()}
    for clouds, value in ((rules(fold)["additive"], 1.0), (backwards, -1.0), (rules(fold)["no change"], 0.0)):
        found = task.score(mini.Prediction(tuple(mini._said(fold, clouds))), plain)
        assert interval(found[mini.NORMAN, "pearson_delta"]).value == pytest.approx(value, abs=0.05)
    together = mini.Prediction(tuple(mini._said(shared(fold), others(fold), "pearson_delta_shared")))
    assert set(task.score(together, plain)) == {(mini.NORMAN, "pearson_delta_shared")}


def test_distances_rank_the_truth_before_the_rules_before_nothing(plain: mini.Problem):
    task, fold = mini.PerturbseqMini(), plain.folds[0]
    truth = {c: Cloud(fold.mean(fold.rows(c)), fold.cells[fold.rows(c)]) for c in fold.asked}
    for metric in ("energy", "energy_pca", "mmd"):
        value = [
            interval(task.score(mini.Prediction(tuple(mini._said(fold, clouds))), plain)[mini.NORMAN, metric]).value
            for clouds in (truth, rules(fold)["additive"], rules(fold)["mean shift"])
        ]
        assert value == sorted(value)
        assert value[2] > 5 * abs(value[1])


def test_the_verdict_is_computed(plain: mini.Problem):
    """Signal in pairs, none across lines; planted across lines it is found there too."""
    task = mini.PerturbseqMini()
    planted = problem(lines=0.6)
    for asked, across_lines in ((plain, 0.0), (planted, 1.0)):
        for said in (mini.Prediction(tuple(mini._halved(asked)), replicates=True), additive(asked)):
            found = task.score(said, asked)
            assert interval(found[mini.NORMAN, "verdict"]).value == 1.0
            assert interval(found[mini.MCFALINE, "verdict"]).value == across_lines
    still = mini.Prediction(tuple(s for f in planted.folds for s in mini._said(f, rules(f)["no change"])))
    assert interval(task.score(still, planted)[mini.MCFALINE, "verdict"]).value == 0.0


def test_the_report_says_where_there_is_no_signal_and_warns_of_shared_controls(plain, monkeypatch):
    monkeypatch.setattr(mini.PerturbseqMini, "make", lambda self, seed, setting: problem(lines=0.0, seed=seed))
    named = {"world": "additive", "world:no-rules": "no change"}
    monkeypatch.setattr(mini, "_worlds", lambda asked, tell: {
        name: [s for f in asked.folds for s in mini._said(f, rules(f)[rule])] for name, rule in named.items()
    })  # fmt: skip
    result = bench.run("perturbseq-mini", Setting(), seeds=1)
    paper = Console(width=200, record=True, file=io.StringIO())
    paper.print(result)
    lines = paper.export_text().splitlines()
    assert any(line.startswith("mcfaline-control: no signal above split-half noise") for line in lines)
    assert any(line.startswith("norman-doubles: best simple rule") for line in lines)
    (trap,) = (line for line in lines if line.startswith("mcfaline-control: warning"))
    assert "pearson_delta_shared is no evidence" in trap
    value = {(r.name, r.split, r.metric): r.value for r in result.rows}
    assert value["world", mini.MCFALINE, "verdict"] == value["ceiling", mini.MCFALINE, "verdict"] == 0.0
    assert value["others", mini.MCFALINE, "pearson_delta_shared"] > 0.4
    assert abs(value["others", mini.MCFALINE, "pearson_delta_split"]) < 0.15
    assert value["world", mini.NORMAN, "pearson_delta_minus_additive"] == 0.0
    standing = {s.split: s for s in bench.standings(result)}
    assert not standing[mini.MCFALINE].signal
    assert not standing[mini.MCFALINE].ahead
    assert standing[mini.MCFALINE].skill is None
    assert "no signal above split-half noise" in leaderboard_markdown([("a.json", result)])
    assert "in 0 of 1 splits" in leaderboard_html([("a.json", result)])  # a negative control is no split to win
