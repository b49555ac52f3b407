"""Task gi-fewshot on a small map of guides: the reader, the split, the simple rules, designs and scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from biowm.core.errors import BadInput
from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks import _gi_design
from biowm.evaluate.tasks._gi_design import at_random, balanced, crossing, reached
from biowm.evaluate.tasks._gi_rules import Map, read, rules, some
from biowm.evaluate.tasks._screens import Said, unpromised
from biowm.evaluate.tasks.gi_fewshot import Design, GiFewshot, Problem, correlated, learned, spec_of

GENES = 8
NAMES = [f"G{g}_{k}" for g in range(GENES) for k in range(2)] + ["non-targeting"]
ALONE = np.append(np.linspace(-1, -0.1, 2 * GENES), 0.0)
BONUS = np.append(np.tile([0.3, -0.3], GENES), 0.0)  # what a guide does in pairs beyond what it does alone


def write(folder: Path, spoiled: str = "") -> Path:
    """Two replicates that agree: singles, plus the bonus of both guides, plus a quarter of their product."""
    whole = ALONE[:, None] + ALONE + BONUS[:, None] + BONUS + 0.25 * np.outer(ALONE, ALONE)
    lines = ["\tgene", *(f"{n}\t{n.split('_')[0] if '_' in n else 'negative'}" for n in NAMES)]
    (folder / "CRISPRa_K562_sgRNA_to_gene.txt").write_text("\n".join(lines))
    lines = ["\tb.mean\tb.std", *(f"{n}\t{float(v)}\t0.1" for n, v in zip(NAMES, ALONE, strict=True))]
    (folder / "CRISPRa_K562_replicate1_singlePhenotypes_abbaAveraged.txt").write_text("\n".join(lines))
    for r in (1, 2):
        names = [spoiled or NAMES[0], *NAMES[1:]] if r == 2 else NAMES
        rows = ["\t".join([n, *map(str, row.tolist())]) for n, row in zip(names, whole, strict=True)]
        text = "\n".join(["\t" + "\t".join(NAMES), *rows])
        (folder / f"CRISPRa_K562_replicate{r}_phenotypeMatrix_abbaAveraged.txt").write_text(text)
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Map:
    return read(write(tmp_path_factory.mktemp("gi")))


def test_pairs_are_of_different_genes_and_controls_are_left_out(whole: Map):
    assert whole.guides == tuple(NAMES[:-1])
    assert len(whole.pairs) == 4 * GENES * (GENES - 1) // 2
    assert (whole.gene[whole.pairs[:, 0]] != whole.gene[whole.pairs[:, 1]]).all()
    i, j = whole.pairs[17]
    assert whole.first[17] == pytest.approx(ALONE[i] + ALONE[j] + BONUS[i] + BONUS[j] + 0.25 * ALONE[i] * ALONE[j])


def test_tables_of_different_guides_are_refused(tmp_path: Path):
    with pytest.raises(BadInput, match="different guides"):
        read(write(tmp_path, "somebody else"))


def test_the_split_keeps_pairs_of_genes_together(whole: Map):
    train = some(whole, 0.25, 0)
    assert not set(whole.duo[train]) & set(whole.duo[~train])
    assert train.sum() == 4 * round(0.25 * GENES * (GENES - 1) / 2)
    assert (train != some(whole, 0.25, 1)).any()


def test_simple_rules_find_what_they_can_hold(whole: Map):
    train = some(whole, 0.6, 0)
    said = dict(rules(whole, train))
    a, b = ALONE[whole.pairs].T
    np.testing.assert_allclose(said["additive"], a + b)
    miss = {name: np.abs(answer - whole.second)[~train].max() for name, answer in said.items()}
    assert miss["quadratic"] == pytest.approx(0.6, abs=0.1)  # both guides' bonus
    assert miss["guide effects"] < 0.2  # held, but for the penalty
    assert miss["guide effects + low rank"] < 0.2


def test_rules_learn_from_what_is_given_alone(whole: Map):
    train = some(whole, 0.5, 0)
    other = Map(**{**vars(whole), "first": np.where(train, whole.first, 99.0), "second": whole.second + 99.0})
    for (name, one), (_, two) in zip(rules(whole, train), rules(other, train), strict=True):
        np.testing.assert_array_equal(one, two, err_msg=name)


def test_what_pairs_bring_to_a_correlation_adds_up_to_it():
    x, y = np.random.default_rng(0).normal(size=(2, 4000))
    y = 0.8 * x + 0.6 * y
    shares = correlated(x, y)
    assert shares.mean() == pytest.approx(np.corrcoef(x, y)[0, 1])
    assert shares.std() == pytest.approx(1 - 0.8**2, rel=0.05)  # the spread of r for normal pairs, times the root of n
    assert not correlated(np.ones(5), y[:5]).any()


def test_scores_are_counted_by_pair_of_genes(whole: Map):
    train = some(whole, 0.25, 0)
    problem = Problem(whole, {"25%": train}, 0, 8, False)
    truth = whole.second[~train, None]
    found = GiFewshot().score({"25%": Said(truth + 0.1, truth - 1, truth + 1)}, problem)
    assert interval(found["25%", "pearson"]).value == pytest.approx(1.0)
    assert interval(found["25%", "rmse"]).value == pytest.approx(0.1)
    assert interval(found["25%", "coverage90"]).value == 1.0
    assert interval(found["25%", "coverage90_same_replicate"]).value == 1.0  # both replicates read the same here
    none = GiFewshot().score({"25%": unpromised(truth)}, problem)
    assert np.isnan(interval(none["25%", "coverage90"]).value)
    assert len(found["25%", "rmse"].units) == len(truth) / 4
    design = GiFewshot().score({"active": Design({0.94: 400.0, 0.945: 600.0})}, problem)
    assert interval(design["active", "pairs_to_0.940"]).value == 400.0


def test_singles_are_learned_from_first_and_guides_aim_at_their_genes(whole: Map):
    train = some(whole, 0.25, 0)
    paths = learned(whole, train)
    assert len(paths.t) == len(whole.guides) + train.sum()
    assert (np.asarray(paths.plan.card)[: len(whole.guides)] >= 0).sum() == len(whole.guides)
    np.testing.assert_allclose(paths.x[len(whole.guides) :, 1, 0], whole.first[train], rtol=1e-6)
    assert np.isnan(paths.x[:, 0]).all()
    assert [c.target for c in spec_of(whole).actions[:3]] == ["G0", "G0", "G1"]


def test_a_balanced_design_reads_every_gene_alike(whole: Map, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_gi_design, "BUDGETS", (8, 12))
    order = balanced(whole, 0)
    assert len(set(order.tolist())) == 12
    for k, most in ((4, 0), (8, 2), (12, 2)):  # two of the least read may have been read together
        times = np.bincount(np.concatenate([order[:k] // GENES, order[:k] % GENES]), minlength=GENES)
        assert np.ptp(times) <= most
    assert set(order.tolist()) <= set(at_random(whole, 0).tolist())


def test_a_mark_is_reached_between_two_budgets(whole: Map, monkeypatch: pytest.MonkeyPatch):
    assert crossing(np.array([1.0, 2, 3]), np.array([0.1, 0.3, 0.5]), 0.4) == pytest.approx(2.5)
    assert np.isnan(crossing(np.array([1.0, 2]), np.array([0.1, 0.3]), 0.4))
    assert np.isnan(crossing(np.array([1.0, 2]), np.array([0.5, 0.6]), 0.4))
    monkeypatch.setattr(_gi_design, "BUDGETS", (8, 12))

    def answer(whole: Map, train: np.ndarray) -> np.ndarray:
        return whole.second if train.sum() == 4 * 12 else -whole.second

    found = reached(whole, at_random(whole, 0), answer)
    assert found[0.94] == pytest.approx(8 + 4 * 1.94 / 2)


def test_quick_says_what_it_leaves_out():
    assert "without active" in GiFewshot().scope(Setting("quick"))
    assert GiFewshot().scope(Setting()) == ""
