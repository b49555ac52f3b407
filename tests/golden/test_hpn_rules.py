"""Simple rules of `hpn` land on their references, and no fold learns what it is asked about."""

from __future__ import annotations

import os

import numpy as np
import pytest

from biowm.core.errors import BadInput
from biowm.data import catalogue
from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks import hpn
from biowm.evaluate.tasks._hpn_rules import SPLITS, folds, rules
from biowm.evaluate.tasks._hpn_screen import NAMES, read, wells_of

FIGURES = {
    ("DMSO", "A"): 0.318, ("mean", "A"): 0.332, ("persistence", "A"): 0.430, ("DMSO", "C"): 0.331,
    ("persistence", "C"): 0.391, ("t0-anchored", "C"): 0.249, ("DMSO", "B"): 0.318, ("additive", "B"): 0.214,
    ("DMSO", "A:FGFRi"): 0.211,
}  # fmt: skip


@pytest.fixture(scope="module")
def screen():
    try:
        folder = catalogue.find("hpn")
    except BadInput:
        if os.environ.get("BIOWM_DATA"):
            raise
        pytest.skip("needs the real data: set BIOWM_DATA to the folder that holds cell/hpn_dream8")
    return read(folder)


def test_rules_land_on_the_references(screen):
    task, problem = hpn.Hpn(), hpn.Hpn().make(0, Setting())
    said = [dict(rules(screen, fold)) for fold in problem.folds]
    for (name, split), figure in FIGURES.items():
        scores = task.score(tuple(hpn._plain(a[name]) if name in a else None for a in said), problem)
        assert interval(scores[split, "rmse"]).value == pytest.approx(figure, abs=2e-3), (name, split)


def test_arrays_before_a_ligand_are_read_once(screen):
    start = screen.key[:, 3] == 0
    counts = [int((start & (screen.key[:, 0] == c)).sum()) for c in range(4)]
    assert counts == [59, 63, 75, 79]  # of 448 to 632 rows
    for c in range(4):
        rows = screen.y[start & (screen.key[:, 0] == c)]
        assert len(np.unique(rows, axis=0)) == len(rows)
    same = screen.mean[:, :, :, 0]
    np.testing.assert_array_equal(same, np.broadcast_to(same[:, :, :1], same.shape))


def test_scored_antibodies_are_those_of_the_board(screen):
    there = np.isfinite(screen.mean).any((1, 2, 3))
    assert there.sum(1).tolist() == [42, 41, 35, 37]
    assert len(screen.arms()) == 11


@pytest.mark.parametrize("split", SPLITS)
def test_nothing_asked_is_learned_from(screen, split):
    answers = {(c, a, s): 0 for c, a in screen.arms() for s in range(8)}
    for fold in folds(screen, split, False):
        wells = wells_of(screen, fold.apart)
        learned = fold.learned(wells)
        found = np.stack([wells.cell, wells.arm, wells.ligand], 1)[learned]
        later = ~wells.before[learned]
        asked = {tuple(k) for k in fold.asked.tolist()}
        for key in asked:
            answers[key] += 1
        assert not asked & {tuple(k) for k in found[later].tolist()}
        if not fold.apart:  # nor what was read of them before the ligand
            assert not asked & {tuple(k) for k in found.tolist()}
        arms, lines = set(fold.asked[:, 1].tolist()), set(fold.asked[:, 0].tolist())
        kept = found[later]
        if split in ("A", "A-strict", "C"):
            assert not arms & set(kept[:, 1].tolist())
        if split == "A-strict" and arms & {1, 2}:
            assert set(kept[:, 1].tolist()) == {0, NAMES.index("FGFRi")}
        if split == "A2":
            mine = kept[kept[:, 1] == min(arms)]
            assert len(mine)
            assert not lines & set(mine[:, 0].tolist())
    assert set(answers.values()) == {1}


def test_an_unseen_inhibitor_is_not_seen_before_the_ligand_either(screen):
    """The trap: the state before the ligand says most of what an inhibitor does."""
    for fold in (f for f in folds(screen, "A", False)):
        wells = wells_of(screen, fold.apart)
        learned = fold.learned(wells)
        arm = int(fold.asked[0, 1])
        values = np.asarray(wells.paths.x)[learned]
        own = screen.y[(screen.key[:, 1] == arm)]
        for y in own[:: len(own) // 7]:
            place = np.isfinite(y)
            assert not np.isclose(values[..., place], y[place], atol=1e-6).all(-1).any()
        spoiled = dict(rules(screen, fold))
        other = screen.mean.copy()
        other[:, arm] += 99.0
        changed = type(screen)(screen.antibodies, screen.key, screen.y, other)
        for name, answer in rules(changed, fold):
            np.testing.assert_array_equal(answer, spoiled[name])


def test_what_is_known_before_the_ligand_is_learned_from_where_it_is_given(screen):
    for fold in folds(screen, "C", False):
        wells = wells_of(screen, fold.apart)
        learned = fold.learned(wells)
        mine = wells.arm[learned] == fold.asked[0, 1]
        assert mine.sum() == len(fold.asked)
        assert wells.before[learned][mine].all()
        x, t = np.asarray(wells.paths.x)[learned][mine], np.asarray(wells.paths.t)[learned][mine]
        assert np.unique(t[np.isfinite(x).any(-1)]).tolist() == [1.0]


def test_everybody_answers_what_each_fold_asks(screen, monkeypatch):
    """Folds that learn from the same paths share one world, and ask about different conditions."""
    fits = []

    def plain(problem, fold, *_):
        return hpn._plain(problem.screen.mean[tuple(fold.asked.T)])

    monkeypatch.setattr(hpn, "_fitted", lambda *_: fits.append(1))
    monkeypatch.setattr(hpn, "_smooth", lambda *a: {"smoothed DMSO": plain(*a)})
    monkeypatch.setattr(hpn, "_answers", lambda *a: {"world": plain(*a)})
    task, problem = hpn.Hpn(), hpn.Hpn().make(0, Setting())
    answers = {a.name: a.prediction for a in task.contend(problem, lambda *_: None)}
    assert len(fits) == len(problem.folds) - 2  # FGFRi of A and A-strict, both AKT arms of A-strict
    for name in ("world", "smoothed DMSO"):
        scores = task.score(answers[name], problem)
        assert scores["A-strict", "rmse"].total.sum() == 0.0
        assert len(scores["A-strict", "rmse"].units) == 11


def test_a_table_with_another_inhibitor_is_refused(tmp_path):
    for cell in ("BT20", "BT549", "MCF7", "UACC812"):
        text = "Cell Line,Inhibitor,Stimulus,Timepoint,AKT_pS473\n" + f"{cell},DMSO,EGF,5,1.5\n{cell},X,EGF,5,1.5\n"
        (tmp_path / f"{cell}_main.csv").write_text(text)
    with pytest.raises(BadInput, match="row 3, column Inhibitor: found 'X'"):
        read(tmp_path)
