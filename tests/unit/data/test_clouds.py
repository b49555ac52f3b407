"""Screens of single cells: what the tables of the common tools mean, and that nothing in them is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.tables_of_cells import DRUGS, GEARS, PERTURBENCH, SCPERTURB, VCC, cells, repeat

from biowm.core.do import parse_do
from biowm.core.errors import BadInput
from biowm.core.spec import ActionCard, spec_from_json, spec_to_json
from biowm.data import screen_config
from biowm.data.load import load
from biowm.data.screen_report import describe_screen
from biowm.data.screen_write import write_screen
from biowm.data.screens import Screen, load_screen


def told(screen: Screen) -> str:
    return "\n".join(map(str, screen.repairs))


def sets(screen: Screen) -> dict[str, dict[str, float]]:
    """The doses of each condition, by its name."""
    names = [card.name for card in screen.spec.actions]
    return {
        name: {names[a]: float(row[a]) for a in np.flatnonzero(row)}
        for name, row in zip(screen.conditions, screen.dose, strict=True)
    }


@pytest.mark.parametrize(
    ("obs", "schema", "dose", "context"),
    [
        (SCPERTURB, "scperturb", -1.0, ", cell_line=K562"),
        (PERTURBENCH, "perturbench", 1.0, ", cell_type=K562"),
        (GEARS, "gears", 1.0, ", cell_type=K562"),
    ],
)
def test_sets_are_read_from_the_tables_of_each_tool_without_a_key(obs, schema, dose, context):
    table = cells(obs)
    before = table.copy()
    screen = load(table)
    assert isinstance(screen, Screen)
    assert sets(screen) == {
        f"control{context}": {},
        f"A{context}": {"A": dose},
        f"A+B{context}": {"A": dose, "B": dose},
        f"B{context}": {"B": dose},
    }
    assert screen.members == ("", "A", "A+B", "B")
    assert screen.control.tolist() == [True, False, False, False]
    assert np.bincount(screen.of).tolist() == [3, 3, 3, 3]
    assert screen.hours.tolist() == [1.0] * 4
    assert f"schema told from the columns of obs: {schema}" in told(screen)
    assert "taken as 1 d" in told(screen)
    assert screen.genes == ("g0", "g1", "g2", "g3")
    assert screen.kind == "counts"
    np.testing.assert_array_equal(screen.cells.rows(np.arange(12)), before.X.toarray())
    pd.testing.assert_frame_equal(table.obs, before.obs)  # nothing is done to the user's own object


def test_a_challenge_table_has_batches_but_no_context():
    screen = load_screen(cells(VCC))
    assert screen.conditions == ("control", "A", "B")
    assert screen.traits.shape == (3, 0)
    assert screen.batches == ("x", "y")
    assert screen.batch.tolist() == [0, 1, 0] * 3
    assert screen.labels == ("non-targeting", "A", "B")


def test_drugs_have_doses_in_one_unit_and_times():
    screen = load_screen(cells({**DRUGS, "time": repeat([24, 24, 24, 24])}))
    assert sets(screen) == {
        "control, celltype=A549": {},
        "aspirin=1 uM, celltype=A549": {"aspirin": 1.0},
        "taxol=5 uM, celltype=A549": {"taxol": 5.0},
    }  # 1000 nM is 1 uM: one condition
    assert np.bincount(screen.of).tolist() == [3, 6, 3]
    assert screen.spec.actions[0] == ActionCard("aspirin", "uM", "set-member", 0.0, 1.0)
    assert screen.spec.clock == "h"
    assert screen.hours.tolist() == [24.0] * 3
    assert load_screen(cells(DRUGS)).conditions[-1] == "taxol=5 uM, celltype=A549, 72 h"


def test_explicit_keys_win_over_the_schema():
    config = {
        "regime": "cloud",
        "schema": "perturbench",
        "control": {"obs": "arm", "value": "none"},
        "context": {},
        "time": {"at": 7, "unit": "d"},
        "actions": {"from": {"obs": "condition"}, "effect": "knock-out"},
    }
    obs = {**PERTURBENCH, "arm": repeat(["none", "given", "given", "given"])}
    screen = load_screen(cells(obs), config)
    assert screen.conditions == ("control", "A", "A+B", "B")
    assert screen.hours.tolist() == [7.0] * 4
    assert screen.dose.min() == -1
    assert {card.effect for card in screen.spec.actions} == {"knock-out"}


def test_a_gene_and_the_perturbation_of_it_go_by_one_name():
    table = cells(GEARS)
    table.var["gene_name"] = ["A", "B", "C", "D"]
    screen = load_screen(table)
    assert screen.genes == ("A", "B", "C", "D")
    assert [card.name for card in screen.spec.actions] == ["A", "B"]
    assert spec_from_json(spec_to_json(screen.spec)) == screen.spec


def test_what_goes_down_is_given_by_its_word():
    screen = load_screen(cells(SCPERTURB))
    assert screen.spec.actions[0] == ActionCard("A", "", "set-member", -1.0, 0.0, "A", None, "down")
    for text, dose in (("A=down", -1.0), ("A=on", -1.0), ("A=-1", -1.0)):
        assert [e.dose for e in parse_do([text], screen.spec, 1.0)] == [dose]
    with pytest.raises(BadInput, match="at least -1 and at most 0"):
        parse_do(["A=1"], screen.spec, 1.0)


def test_one_set_written_in_several_ways_is_one_and_said():
    obs = {**GEARS, "condition": repeat(["ctrl", "A+ctrl", "ctrl+A", "A+B"])}
    screen = load_screen(cells(obs))
    assert screen.members == ("", "A", "A+B")
    assert "A+ctrl = ctrl+A" in told(screen)


def test_both_directions_of_one_target_are_told_apart():
    obs = {"condition": repeat(["control", "A", "A"]), "perturbation_type": repeat(["none", "CRISPRa", "CRISPRi"]),
           "cell_type": repeat(["K562"] * 3)}  # fmt: skip
    screen = load_screen(cells(obs))
    assert sorted(sets(screen).items()) == [
        ("A down, cell_type=K562", {"A": -1.0}), ("A up, cell_type=K562", {"A": 1.0}), ("control, cell_type=K562", {}),
    ]  # fmt: skip
    assert (screen.spec.actions[0].low, screen.spec.actions[0].high) == (-1.0, 1.0)
    both = parse_do(["A=up@0:0.5 d", "A=down@0.5 d"], screen.spec, 1.0)
    assert [e.dose for e in both] == [1.0, -1.0]


def test_conditions_of_one_cell_are_left_out_and_said():
    obs = {"target_gene": [*repeat(["non-targeting", "A"]), "B"]}
    screen = load_screen(cells(obs))
    assert screen.members == ("", "A")
    assert screen.cells.shape == (6, 4)
    assert "fewer than 2 cells left out: 1" in told(screen)
    assert "B" in told(screen)


def test_where_keeps_some_cells_and_genes_may_be_chosen():
    table = cells({**PERTURBENCH, "dataset": ["a", "b", "b"] * 4}, genes=6)
    table.var["highly_variable"] = [True, False, True, True, False, True]
    screen = load_screen(table, {"where": {"dataset": "b"}, "genes": {"highly_variable": True}})
    assert screen.cells.shape == (8, 4)
    kept = [i for i in range(12) if i % 3]
    np.testing.assert_array_equal(screen.cells.rows(np.arange(8)), table.X.toarray()[kept][:, [0, 2, 3, 5]])
    assert screen.genes == ("g0", "g2", "g3", "g5")


def test_the_top_genes_are_those_that_vary_most_among_controls():
    table = cells(PERTURBENCH, genes=5, kind="log1p")
    x = table.X.toarray()
    x[3:, 4] = np.tile([0.1, 9.0, 4.0], 3)  # varies most, but not among the controls
    x[:3, 4] = 0.3
    table.X = x
    best = np.sort(np.argsort(-x[:3].var(0))[:2])
    screen = load_screen(table, {"genes": {"top": 2}})
    assert screen.cells.genes.tolist() == best.tolist()
    assert 4 not in best


def test_a_split_of_the_table_is_kept():
    obs = {**PERTURBENCH, "part": [*("train", "test", "train"), *repeat(["train", "test", "calibrate"])]}
    screen = load_screen(cells(obs), {"split": {"column": "part"}})
    assert dict(zip(screen.members, screen.given_split, strict=True)) == {
        "": "train", "A": "train", "B": "test", "A+B": "calibrate",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:Writing zarr v2:UserWarning")  # by anndata, of its own default
@pytest.mark.parametrize("ending", ["h5ad", "zarr"])
@pytest.mark.parametrize("dense", [False, True])
def test_files_and_folders_are_read_as_the_object_is(tmp_path: Path, ending, dense):
    table = cells(SCPERTURB)
    if dense:
        table.X = table.X.toarray()
    table.layers["logs"] = table.X.copy() / 7
    file = tmp_path / f"screen.{ending}"
    table.write_h5ad(file) if ending == "h5ad" else table.write_zarr(file)
    study = tmp_path / "screen.yaml"
    study.write_text(f"table: screen.{ending}\nregime: cloud\nlayer: {{name: logs, kind: log1p}}\n")
    screen, held = load(study), load_screen(table, {"layer": {"name": "logs"}})
    assert isinstance(screen, Screen)
    assert screen.config.study == "screen"
    assert screen.kind == held.kind == "log1p"
    assert screen.conditions == held.conditions
    index = np.array([7, 2, 2, 11])
    np.testing.assert_array_equal(screen.cells.rows(index), held.cells.rows(index))
    np.testing.assert_allclose(screen.cells.rows(index), np.asarray(table[index].to_df(layer="logs")), rtol=1e-6)


def test_an_object_that_is_backed_by_a_file_stays_there(tmp_path: Path):
    cells(SCPERTURB).write_h5ad(tmp_path / "s.h5ad")
    backed = anndata.read_h5ad(tmp_path / "s.h5ad", backed="r")
    screen, whole = load_screen(backed), load_screen(cells(SCPERTURB))
    np.testing.assert_array_equal(screen.cells.rows(np.arange(12)), whole.cells.rows(np.arange(12)))
    backed.file.close()


def test_the_study_that_was_read_can_be_read_again():
    screen = load_screen(cells(SCPERTURB))
    for form in (screen.config.model_dump_json(), screen.config.model_dump_json(exclude_defaults=True, by_alias=True)):
        assert screen_config.parse_filled(json.loads(form)) == screen.config


WORDS = st.sampled_from(["A", "B", "C"])


@settings(max_examples=8, deadline=None)
@given(
    st.lists(st.sets(WORDS, max_size=2), min_size=1, max_size=6),
    st.sampled_from(["K562", "A549"]),
    st.integers(1, 3),
)
def test_any_table_is_written_again_as_it_was(tmp_path_factory, given_sets, line, times):
    """Whatever the sets: all of obs, var, uns and every reading come back, and mean the same."""
    words = ["control", *("+".join(sorted(s)) or "control" for s in given_sets)]
    n = len(words) * (times + 1)
    obs = {
        "condition": repeat(words, times + 1), "cell_type": [line] * n, "size": list(np.arange(n) / 8),
        "plate": [i % 3 for i in range(n)], "kept": [i % 2 == 0 for i in range(n)], "note": ["free text"] * n,
    }  # fmt: skip
    table = cells(obs)
    screen = load_screen(table)
    file = tmp_path_factory.mktemp("again") / "again.h5ad"
    write_screen(screen, file)
    again = anndata.read_h5ad(file)
    assert list(again.obs.columns) == list(table.obs.columns)
    for column in table.obs:
        assert again.obs[column].tolist() == table.obs[column].tolist()
    assert again.obs_names.tolist() == table.obs_names.tolist()
    pd.testing.assert_frame_equal(again.var, table.var)
    assert again.uns["source"] == "made up"
    np.testing.assert_array_equal(again.X.toarray(), table.X.toarray())
    other = load_screen(file, {"regime": "cloud"})
    assert other.conditions == screen.conditions
    np.testing.assert_array_equal(other.of, screen.of)
    np.testing.assert_array_equal(other.dose, screen.dose)


def test_data_check_says_what_confounds():
    obs = {"target_gene": repeat(["non-targeting", "A", "B", "A"], 4), "batch": repeat(["x", "y", "x", "y"], 4)}
    text = describe_screen(load_screen(cells(obs)))
    assert "16 cells, 4 genes (g0, g1, g2, g3)" in text
    assert "all cells: 16 cells, 4 of them control, 2 conditions given something" in text
    assert "batches without control cells: 1 of 2 (y)" in text
    assert "conditions in one batch only, confounded with it: 2 of 2 (A, B)" in text
    assert "counts" in text
    assert "kind of the readings not declared" in text


def test_the_small_real_screen():
    file = Path(os.environ.get("BIOWM_DATA", "")) / "cell/perturbench_devel/devel.h5ad"
    if not file.is_file():
        pytest.skip("no data folder")
    screen = load_screen(file, {"regime": "cloud"})
    assert screen.cells.shape == (5961, 500)
    assert screen.kind == "log1p"
    assert screen.control.sum() == 4
    assert int((screen.dose < 0).any(1).sum()) == 27  # nine knock-downs in three lines
    assert "KLF1+MAP2K6, cell_type=k562" in screen.conditions
    assert screen.sparsity == pytest.approx(0.929, abs=0.001)
