"""Simulated cells as AnnData: every column of the table is there, they say what they are, other tools score them."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pytest
from tests.support.tables_of_cells import cells, repeat

from biowm.core.errors import BadInput
from biowm.core.record import Record
from biowm.data.conditions import read_conditions
from biowm.data.screen_write import asked_obs, beside_controls, write_cells
from biowm.data.screens import Screen, load_screen

OBS = {
    "condition": repeat(["control", "A", "B", "A+B"], 20),
    "cell_type": ["K562", "A549"] * 40,
    "size": [i / 4 for i in range(80)],
    "depth": list(range(80)),
    "good": [i % 3 > 0 for i in range(80)],
    "note": ["text"] * 80,
}


def predicted(folder: Path, screen: Screen, text: str) -> anndata.AnnData:
    """Cells drawn from nothing, beside the screen's controls, written and read again."""
    (folder / "asked.csv").write_text(text)
    asked = read_conditions(folder / "asked.csv", screen.spec, screen.config)
    X = np.random.default_rng(0).gamma(1.0, 1.0, (int(asked.counts.sum()), screen.cells.shape[1])).astype(np.float32)
    X, obs = beside_controls(X, asked_obs(asked), screen)
    record = Record("simulate", {"study": screen.sha256}, {"on": "asked.csv"}, 3)
    out = folder / "new" / "predicted.h5ad"
    write_cells(out, X, obs, screen.genes_var, screen.config, record, kind=screen.kind, uns=screen.notes.uns)
    found = anndata.read_h5ad(out)
    assert found.uns["biowm"]["record"] == record.id == json.loads(found.uns["biowm"]["record_json"])["id"]
    np.testing.assert_array_equal(found.X.toarray(), X)
    return found


def test_predictions_keep_every_column_and_say_what_they_are(tmp_path: Path):
    table = cells(OBS, kind="log1p")
    screen = load_screen(table)
    found = predicted(tmp_path, screen, "perturbation,cell_type,cells\nA+B,K562,6\nB,K562,3\n")
    assert set(table.obs.columns) < set(found.obs.columns)
    new, real = found[found.obs["biowm_simulated"]], found[~found.obs["biowm_simulated"]]
    assert new.obs["condition"].tolist() == ["A+B"] * 6 + ["B"] * 3
    assert new.obs["depth"].isna().all()
    assert new.obs["good"].isna().all()
    kept = table.obs.index[(table.obs["condition"] == "control") & (table.obs["cell_type"] == "K562")]
    assert real.obs_names.tolist() == kept.tolist()  # the screen's own, of that context alone
    for column in table.obs:
        assert real.obs[column].tolist() == table.obs.loc[kept, column].tolist()
    np.testing.assert_allclose(real.X.toarray(), table[kept].X.toarray(), rtol=1e-6)
    assert found.var_names.tolist() == table.var_names.tolist()
    assert found.var["mean"].tolist() == table.var["mean"].tolist()
    assert found.uns["source"] == "made up"
    note = found.uns["biowm"]
    assert (bool(note["simulated"]), note["kind"], note["control"]) == (True, "log1p", "control")
    assert "log1p" in found.uns


def test_predictions_of_counts_say_so(tmp_path: Path):
    found = predicted(tmp_path, load_screen(cells(OBS)), "perturbation,cell_type\nA,A549\n")
    assert found.uns["biowm"]["kind"] == "counts"
    assert "log1p" not in found.uns


def test_simulated_control_cells_are_not_put_among_real_ones(tmp_path: Path):
    with pytest.raises(BadInput, match="simulated control cells"):
        predicted(tmp_path, load_screen(cells(OBS)), "perturbation,cell_type\ncontrol,A549\nA,A549\n")


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path):
    (tmp_path / "new").write_text("a file")
    with pytest.raises(BadInput, match=r"predicted\.h5ad.*a place for an h5ad file"):
        predicted(tmp_path, load_screen(cells(OBS)), "perturbation,cell_type\nA,A549\n")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of cell-eval and what it uses
def test_cell_eval_scores_what_is_written(tmp_path: Path, monkeypatch):
    from cell_eval import MetricsEvaluator

    monkeypatch.chdir(tmp_path)
    table = cells({k: v for k, v in OBS.items() if k in ("condition", "cell_type")}, genes=30, kind="log1p")
    table = table[table.obs["cell_type"] == "K562"].copy()
    screen = load_screen(table)
    found = predicted(tmp_path, screen, "perturbation,cells\nA,20\nB,20\nA+B,20\n")
    judge = MetricsEvaluator(
        adata_pred=found, adata_real=table, control_pert="control", pert_col="condition", num_threads=1,
        outdir=str(tmp_path / "scores"),
    )  # fmt: skip
    each, _ = judge.compute(profile="full")
    assert set(each["perturbation"].to_list()) == {"A", "B", "A+B"}
    scores = dict(zip(each["perturbation"].to_list(), each["pearson_delta"].to_list(), strict=True))
    start = table[table.obs["condition"] == "control"].X.toarray().mean(0)
    for label in ("A", "B", "A+B"):  # its deltas are from the real controls on both sides
        truth = table[table.obs["condition"] == label].X.toarray().mean(0) - start
        guess = found[found.obs["condition"] == label].X.toarray().mean(0) - start
        assert scores[label] == pytest.approx(np.corrcoef(truth, guess)[0, 1], abs=1e-4)
