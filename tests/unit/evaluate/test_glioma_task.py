"""Task glioma-rt on a small book of curves: the reader, the protocols, the simple rules and the scores."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from openpyxl import Workbook

from biowm.core.concordance import concordance
from biowm.core.errors import BadInput
from biowm.data.curves import read_curves
from biowm.evaluate.metrics import interval
from biowm.evaluate.task import Setting
from biowm.evaluate.tasks._radiated import MEMBERS, PARTS, candidates
from biowm.evaluate.tasks._wells import PROTOCOLS, Well, folds, foretell, path_of, read_wells
from biowm.evaluate.tasks.glioma_rt import RULES, GliomaRt, Problem, _by_rule, splits, truths, validated

SHEETS = {
    " two fractions of 8 Gy": 2,
    "four fraction of 4 Gy": 4,
    "two fractions of 10 Gy": 2,
    "Three fractions of 6.7 Gy": 3,
}
TIMES = 40


def growth(start: float, fractions: int, every: int) -> list[float]:
    return (start * (1 + 0.1 * fractions * np.arange(TIMES) * every / 100)).tolist()


def book(file: Path, spoiled: object = None) -> Path:
    """Four schemes of one line, four training curves and one validation curve each, and a sheet of another assay."""
    made = Workbook()
    made.active.title = "9L gammaH2AX"
    made.active.append(["fixed and stained 0.5h after radiation", 1.0])
    for title, n in SHEETS.items():
        sheet = made.create_sheet(title)
        sheet.append(["All numbers represent confluence"])
        for part, starts in (("Training", (0.1, 0.12, 0.2, 0.4)), ("Validation", (0.15,))):
            sheet.append(["9L, collected every 6 hours"])
            sheet.append([part])
            sheet.append(["Time: 0", *range(6, 6 * TIMES - 6, 6)])  # one time fewer than there are readings
            for start in starts:
                sheet.append(growth(start, n, 6))
            sheet.append([])
    if spoiled is not None:
        sheet.cell(6, 3).value = spoiled
    made.save(file)
    return file


@pytest.fixture(scope="module")
def wells(tmp_path_factory: pytest.TempPathFactory) -> tuple[Well, ...]:
    return read_wells(book(tmp_path_factory.mktemp("glioma") / "book.xlsx"))


@pytest.fixture
def problem(wells: tuple[Well, ...]) -> Problem:
    return Problem(wells, ("9L",), PROTOCOLS, seed=0, draws=10)


def test_the_book_is_read_whole(wells: tuple[Well, ...]):
    assert len(wells) == 20
    first = wells[0]
    assert (first.line, first.scheme, first.campaign, first.interval, first.part) == (
        "9L",
        "2x8",
        "16 Gy",
        6.0,
        "train",
    )
    assert first.doses == ((0.0, 8.0), (24.0, 8.0))
    np.testing.assert_allclose(first.t, 6.0 * np.arange(TIMES))
    np.testing.assert_allclose(first.y, growth(0.1, 2, 6))
    assert {w.campaign for w in wells if w.scheme == "3x6.7"} == {"20 Gy"}
    assert len({w.name for w in wells}) == 20


def test_a_word_among_the_readings_is_refused_with_its_place(tmp_path: Path):
    file = book(tmp_path / "book.xlsx", "lost")
    with pytest.raises(BadInput, match=r"6 of sheet 'Three fractions of 6.7 Gy'.*'lost' in a curve.*a number"):
        read_curves(file, file.read_bytes())
    empty = tmp_path / "empty.xlsx"
    Workbook().save(empty)
    with pytest.raises(BadInput, match="no sheet named like"):
        read_curves(empty, empty.read_bytes())


def test_paths_are_thinned_and_keep_every_fraction(wells: tuple[Well, ...]):
    path = path_of(wells[5], 12.0)
    assert np.all(np.diff(path.t) == 12.0)
    np.testing.assert_allclose(path.x[:, 0], wells[5].y[::2], rtol=1e-6)
    assert np.asarray(path.plan.dose)[: len(wells[5].doses)].tolist() == [4.0] * 4
    np.testing.assert_array_equal(path.traits, [1.0, 0.0])


def test_folds_leave_out_what_they_say(wells: tuple[Well, ...]):
    for fold in folds(wells, "9L", "scheme-out"):
        assert not {wells[i].scheme for i in fold.train} & {wells[i].scheme for i in fold.test}
    for fold in folds(wells, "9L", "dose-out"):
        assert not {wells[i].campaign for i in fold.train} & {wells[i].campaign for i in fold.test}
    (whole,) = folds(wells, "9L", "in")
    assert [wells[i].part for i in (*whole.train, *whole.test)] == ["train"] * 16 + ["test"] * 4


def test_neighbours_of_the_same_scheme_are_exact_where_growth_is_proportional(wells: tuple[Well, ...]):
    (fold,) = folds(wells, "9L", "in")
    well = wells[fold.test[0]]
    np.testing.assert_allclose(foretell("knn", wells, fold, well, 0.0), well.y, rtol=1e-9)
    np.testing.assert_allclose(foretell("growth", wells, fold, well, 0.0), well.y, rtol=1e-9)
    np.testing.assert_allclose(foretell("mean", wells, fold, well, 0.0), well.y * 0.205 / 0.15, rtol=1e-9)
    np.testing.assert_allclose(foretell("persistence", wells, fold, well, 12.0), well.y[2])


def test_an_unseen_scheme_is_foretold_from_the_other_of_its_dose(wells: tuple[Well, ...]):
    fold = next(f for f in folds(wells, "9L", "scheme-out") if wells[f.test[0]].scheme == "2x8")
    said = foretell("knn", wells, fold, wells[fold.test[0]], 0.0)
    np.testing.assert_allclose(said, growth(0.15, 4, 6), rtol=1e-9)


def test_concordance_is_lins_with_biased_moments_over_what_was_seen():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 50)).astype(np.float32)
    expected = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
    seen = jnp.arange(60) < 50
    longer = [jnp.concatenate([jnp.asarray(v), jnp.full(10, jnp.nan)]) for v in (x, y)]
    assert float(concordance(*longer, seen)) == pytest.approx(expected, abs=1e-5)
    assert float(concordance(longer[0], longer[0], seen)) == pytest.approx(1.0, abs=1e-5)


def test_scores_of_the_rules(problem: Problem):
    assert splits(problem) == ["in/9L", "scheme-out/9L", "dose-out/9L", "dose-out-72h/9L"]
    task = GliomaRt()
    said = {rule: {split: _by_rule(problem, split, rule) for split in splits(problem)} for rule in RULES}
    exact = task.score(said["knn"], problem)
    assert interval(exact["in/9L", "ccc"]).value == pytest.approx(1.0, abs=1e-4)
    assert interval(exact["in/9L", "rmse"]).value == pytest.approx(0.0, abs=1e-6)
    assert interval(exact["scheme-out/9L", "ccc"]).value < 0.95
    assert len(exact["in/9L", "coverage90"].units) == 0  # a rule promises no band
    still = task.score(said["persistence"], problem)
    assert interval(still["dose-out-72h/9L", "ccc"]).value == pytest.approx(0.0, abs=1e-4)
    late = truths(problem, "dose-out-72h/9L")
    assert np.isnan(late[:, :13]).all()
    assert np.isfinite(late[:, 13:TIMES]).all()
    assert [w.part for w in validated(problem, "dose-out-72h/9L")] == ["test"] * 4


def test_the_parts_that_are_told_apart_are_among_those_that_run():
    names = [c.name for c in candidates()]
    assert set(PARTS.values()) | set(MEMBERS.values()) <= set(names)
    assert len(names) == len(set(names))


def test_quick_says_what_it_leaves_out():
    assert "without scheme-out" in GliomaRt().scope(Setting("quick"))
    assert GliomaRt().scope(Setting()) == ""
