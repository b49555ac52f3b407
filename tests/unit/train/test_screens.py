"""A screen of single cells, from counts to an artefact that foretells cells of unseen pairs."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from biowm import api
from biowm.core.errors import BadInput
from biowm.data.screens import Screen, load_screen
from biowm.models.cells.decoder import CellEncoder
from biowm.models.cells.reading import read_cells
from biowm.train import screens
from biowm.train.cells.decoder_fit import fit_decoder
from biowm.train.cells.escape_fit import fit_escape
from biowm.train.cells.part import population
from biowm.train.cells.predict import predict_cells, predict_means
from biowm.train.cells.signal import controls, find_signal, means, offsets
from biowm.train.cells.sums import APART, QUARTERS, parts_of, sum_cells
from biowm.train.screens import split_conditions

from ...support import cells as planted


def loaded(size: float = 1.0, seed: int = 0, **config) -> Screen:
    return load_screen(planted.screen_of_cells(size, seed), {**planted.CONFIG, **config})


def summed(screen: Screen, apart: bool = False):
    learned = np.ones(len(screen.conditions), bool)
    return sum_cells(screen, parts_of(screen, 0, apart), learned, 0)


def test_sums_are_those_of_the_cells():
    screen = loaded()
    parts = parts_of(screen, 0)
    sums = summed(screen, apart=True)
    y = read_cells(screen.cells.rows(np.arange(len(screen.of))), "counts").log1p
    for c in (0, 3):
        for q in (*QUARTERS, APART):
            here = (screen.of == c) & (parts == q)
            np.testing.assert_allclose(sums.total[q, c], y[here].sum(0), rtol=1e-4, atol=1e-3)
            assert sums.cells[q, c] == here.sum()
    assert not sums.cells[APART, ~screen.control].any(), "only control cells are kept apart"
    assert sums.cells[APART, screen.control].all()
    kept = parts != APART
    centred = y - np.stack([y[kept & (screen.of == c)].mean(0) for c in range(len(screen.conditions))])[screen.of]
    np.testing.assert_allclose(sums.gram, centred[kept].T @ centred[kept], rtol=2e-2, atol=0.5)


def test_nothing_is_kept_apart_where_there_is_nothing_to_measure_from_it(monkeypatch):
    seen: list[bool] = []

    def noted(screen: Screen, seed: int, apart: bool) -> np.ndarray:
        seen.append(apart)
        raise ValueError("far enough")

    monkeypatch.setattr(screens, "parts_of", noted)
    whole = loaded()
    split = tuple("test" if m == "M0+M1" else "train" for m in whole.members)
    kept = np.flatnonzero(whole.of != whole.members.index("M0+M1"))
    without = dataclasses.replace(whole, of=whole.of[kept], batch=whole.batch[kept], cells=whole.cells.only(kept))
    for screen in (whole, without):
        with pytest.raises(ValueError, match="far enough"):
            screens.fit_screen(dataclasses.replace(screen, given_split=split))
    assert seen == [True, False]


def test_what_batches_add_is_found_and_taken_off():
    screen = loaded()
    sums = summed(screen)
    one = np.zeros(len(screen.conditions), int)
    offset = offsets(sums, screen.control, one)
    y = read_cells(screen.cells.rows(np.arange(len(screen.of))), "counts").log1p
    treated = ~screen.control[screen.of]
    apart = [y[treated & (screen.batch == b)].mean(0) for b in (0, 1)]
    assert np.corrcoef(offset[0] - offset[1], apart[0] - apart[1])[0, 1] > 0.8
    freed = means(sums, offset, QUARTERS)
    assert np.isfinite(freed).all()
    assert controls(freed, sums.cells[:APART].sum(0), screen.control, one).shape == freed.shape


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nothing_planted_is_no_signal(seed):
    screen = loaded(size=0.0, seed=seed)
    sums, one = summed(screen), np.zeros(len(screen.conditions), int)
    found = find_signal(sums, offsets(sums, screen.control, one), screen.control, one, ~screen.control, seed)
    assert found.reproducible == 0
    assert found.gain.high < 0, "noise says less of noise than a mean does"
    assert found.directions.shape == (planted.GENES, 1)


def test_planted_effects_are_directions_of_the_signal():
    screen = loaded()
    sums, one = summed(screen), np.zeros(len(screen.conditions), int)
    found = find_signal(sums, offsets(sums, screen.control, one), screen.control, one, ~screen.control, 0)
    assert found.reproducible >= 4
    np.testing.assert_allclose(found.directions.T @ found.directions, np.eye(found.directions.shape[1]), atol=1e-6)
    assert max(found.p[:4]) < 0.01
    assert found.gain.low > 0


def test_the_decoder_learns_levels_batches_and_dispersions_from_disk():
    screen = loaded()
    sums, one = summed(screen), np.zeros(len(screen.conditions), int)
    offset = offsets(sums, screen.control, one)
    encoder = CellEncoder(jnp.zeros(planted.GENES), jnp.zeros((planted.GENES, 1)), jnp.asarray(offset, jnp.float32))
    heard: list[float] = []
    decoder = fit_decoder(screen, screen.control[screen.of], sums, encoder, 0, heard.append)
    assert heard[-1] == pytest.approx(1.0)
    rows = np.flatnonzero(screen.control[screen.of])
    x = screen.cells.rows(rows)
    size = jnp.asarray(read_cells(x, "counts").size, jnp.float32)
    said = jax.vmap(decoder.mean)(jnp.zeros((len(rows), 1)), size, jnp.asarray(screen.batch[rows], jnp.int32))
    assert np.corrcoef(np.log(said.mean(0)), np.log(x.mean(0)))[0, 1] > 0.99
    apart = np.asarray(decoder.batch[1] - decoder.batch[0])
    true = np.random.default_rng(4).normal(0, 0.3, (2, planted.GENES))
    assert np.corrcoef(apart, true[screen.batches.index("batch 1")] - true[screen.batches.index("batch 0")])[0, 1] > 0.7


def test_cells_that_do_not_answer_are_found_and_their_share_has_to_be_earned():
    rng = np.random.default_rng(0)
    conditions, n = 8, 120
    base = rng.normal(0, 1, (conditions, n, 3)).astype(np.float32)
    shift = rng.normal(0, 3, (conditions, 1, 3))
    dose = np.eye(conditions, dtype=np.float32)
    weight = np.ones((conditions, n), np.float32)
    half = rng.random((conditions, n, 1)) < 0.5
    some = (rng.normal(0, 1, (conditions, n, 3)) + np.where(half, shift, 0.0)).astype(np.float32)
    found, gain = fit_escape(base, some, weight, dose, seed=0)
    assert gain is not None
    assert gain.low > 0
    np.testing.assert_allclose(jax.vmap(found.share)(jnp.asarray(dose)).mean(), 0.5, atol=0.12)
    every = (rng.normal(0, 1, (conditions, n, 3)) + shift).astype(np.float32)
    none, _ = fit_escape(base, every, weight, dose, seed=0)
    assert float(jax.vmap(none.share)(jnp.asarray(dose)).max()) < 0.1


def test_controls_are_never_held_out_and_splits_go_by_what_is_declared():
    screen = loaded(split={"by": "perturbation", "test": 0.4, "calibrate": 0.2})
    split = split_conditions(screen, 0)
    assert (split[screen.control] == "train").all()
    assert (split == "test").sum() == round(0.4 * (~screen.control).sum())
    whole = dataclasses.replace(screen, given_split=tuple(["test"] * len(screen.conditions)))
    assert (split_conditions(whole, 0)[screen.control] == "train").all()


def test_of_known_lines_a_share_of_conditions_is_tested_and_never_controls():
    table = planted.screen_of_cells(lines=("A549", "K562", "HeLa"))
    config = {**planted.CONFIG, "split": {"by": "cell_line", "test": 0.34, "calibrate": 0.0, "within": 0.25}}
    screen = load_screen(table, config)
    split, lines = split_conditions(screen, 0), screen.traits.argmax(1)
    held = [int(((split == "test") & (lines == k)).sum()) for k in range(3)]
    assert (max(held), sum(held)) == (11, 11 + round(0.25 * 22))
    assert (split[screen.control] == "train").all()


@pytest.mark.slow
def test_a_line_nobody_learned_from_is_told_from_those_that_were(tmp_path):
    table = planted.screen_of_cells(lines=("A549", "K562", "HeLa", "RPE1"))
    config = {**planted.CONFIG, "split": {"by": "cell_line", "test": 0.25, "calibrate": 0.0, "within": 0.25}}
    found = api.fit(load_screen(table, config), out=tmp_path)
    report = api.certify(found)
    context, closure = report.verdicts["context"], report.verdicts["closure"]
    tested = context.evidence.metrics["unseen_to_met"]["cell_line"]
    lines = context.evidence.metrics["contexts"]["cell_line"].values()
    assert [r["subjects"] for r in lines if not r["met_in_training"]] == [11]
    assert sum(r["subjects"] for r in lines) == 11 + 8
    assert 1.0 < tested["world"]["value"] < 1.6, "a line of which only controls were read is harder"
    assert closure.status == "passed"
    assert "one after another" in closure.detail


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    screen = loaded()
    pairs = ("M0+M1", "M2+M3")
    screen = dataclasses.replace(screen, given_split=tuple("test" if m in pairs else "train" for m in screen.members))
    folder = tmp_path_factory.mktemp("cells")
    return screen, api.fit(screen, out=folder), api.open_fitted(folder), folder


@pytest.mark.slow
def test_unseen_pairs_are_foretold_better_than_by_the_mean_and_by_no_change(fitted):
    _, made, _, folder = fitted
    rows = {(r.name, r.split, r.metric): r.value for r in made.rows}
    assert rows["world", "genes", "pearson_delta"] > 0.85
    assert rows["world", "genes", "rmse_delta"] < 0.6 * rows["persistence", "genes", "rmse_delta"]
    assert rows["world", "genes", "energy"] < 0.3 * rows["no change", "genes", "energy"]
    assert "above split-half noise" in made.cells.verdict
    assert made.cells.verdict in (folder / "report.html").read_text()


@pytest.mark.slow
def test_the_artefact_says_the_same_again(fitted):
    screen, made, again, _ = fitted
    rows = [screen.members.index("M0+M1")]
    asked = screen.dose[rows], screen.traits[rows], screen.hours[rows]
    first, second = (predict_cells(f, *asked, 30, jax.random.key(0)) for f in (made, again))
    np.testing.assert_array_equal(first, second)
    assert first.shape == (1, 30, planted.GENES)
    np.testing.assert_array_equal(first, np.rint(np.maximum(first, 0)))
    assert len(np.unique(predict_cells(made, *asked, 400, jax.random.key(0))[0], axis=0)) == 400, "no cell comes twice"
    wanted = predict_means(made, *asked, jax.random.key(0))[0]
    cells = read_cells(predict_cells(made, *asked, 400, jax.random.key(0))[0], "counts")
    apart = np.abs(cells.log1p.mean(0) - wanted).mean()  # foretold means do not quite add up to a composition
    assert apart < 0.06 * wanted.mean(), "cells have the mean that is foretold"


@pytest.mark.slow
def test_other_batch_labels_change_the_reading_and_not_the_response(fitted):
    screen, made, _, _ = fitted
    rows = [screen.members.index("M2+M3")]
    asked = screen.dose[rows], screen.traits[rows], screen.hours[rows]
    swapped = dataclasses.replace(
        made,
        cells=dataclasses.replace(
            made.cells, pool=dataclasses.replace(made.cells.pool, batch=1 - made.cells.pool.batch)
        ),
    )
    key = jax.random.key(0)
    np.testing.assert_array_equal(predict_means(made, *asked, key), predict_means(swapped, *asked, key))
    assert not np.array_equal(predict_cells(made, *asked, 50, key), predict_cells(swapped, *asked, 50, key))


@pytest.mark.slow
def test_genes_of_a_population_are_simulated_with_a_band_and_a_contrast(fitted):
    _, made, again, _ = fitted
    told = api.simulate(made, context=["cell_line=K562"], do=["M0=up", "M1=up"], against=["M0=up"], draws=64)
    assert told.spec.channels[0].name == "gene 0"
    assert told.support.verdict in ("inside", "edge")
    assert told.contrast is not None
    assert ((told.low <= told.median) & (told.median <= told.high)).all()
    assert population(again).spec == made.cells.spec


@pytest.mark.slow
def test_a_table_of_conditions_becomes_cells_beside_real_controls(fitted, tmp_path):
    import anndata

    _, made, _, _ = fitted
    table = tmp_path / "conditions.csv"
    table.write_text("perturbation,cell_line,cells\nM0+M1,K562,25\nM0+M5,K562,\n")
    found = api.simulate_conditions(made, table, tmp_path / "out.h5ad", cells=10)
    assert [s.verdict for s in found.support] == ["edge", "edge"]
    written = anndata.read_h5ad(tmp_path / "out.h5ad")
    count = written.obs["perturbation"].value_counts()
    assert (count["M0+M1"], count["M0+M5"]) == (25, 10)
    assert count["control"] >= planted.CONTROLS * 0.7
    assert not written.obs["biowm_simulated"][written.obs["perturbation"] == "control"].any()
    table.write_text("perturbation,cell_line\nM9,K562\n")
    with pytest.raises(BadInput, match="M9"):
        api.simulate_conditions(made, table, tmp_path / "out.h5ad")
