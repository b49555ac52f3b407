"""What is wrong with a table of cells is said in one line: file, cell, column, what was found, what was expected."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from tests.support.tables_of_cells import DRUGS, GEARS, PERTURBENCH, SCPERTURB, cells, repeat

from biowm.core.errors import BadInput
from biowm.data import study
from biowm.data.load import load
from biowm.data.screens import load_screen


def refused(table: anndata.AnnData | Path, *words: str, **config) -> str:
    """The message, one line, that holds these words."""
    with pytest.raises(BadInput) as caught:
        load_screen(table, {"regime": "cloud", **config})
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize(
    ("words", "guess"),
    [(["Control", "A"], "'Control'"), (["non-targeting", "A"], "'non-targeting'"), (["contrl", "A"], "'contrl'")],
)
def test_an_unknown_control_names_the_likely_label(words, guess):
    table = cells({"perturbation": repeat(words)})
    refused(table, "column perturbation", "no cell with 'control'", f"did you mean {guess}")
    refused(table, f"did you mean {guess}", schema="scperturb")
    given = {"control": {"obs": "perturbation", "value": "control"}, "actions": {"from": {"obs": "perturbation"}}}
    refused(table, f"did you mean {guess}", **given)


def test_no_control_at_all_lists_what_there_is():
    refused(cells({"perturbation": repeat(["B", "A"])}), "no cell with 'control'", "there are: A, B")


def test_a_context_without_controls_is_named():
    obs = {**PERTURBENCH, "cell_type": [*repeat(["K562"] * 3), *["A549"] * 3]}
    refused(
        cells(obs), "no control cells of cell_type=A549", "at least 2 cells with 'control' in every context", "where"
    )


def test_a_target_that_is_knocked_out_and_turned_down_is_two_things():
    obs = {**SCPERTURB, "perturbation": repeat(["control", "A", "A", "B"]), "nperts": repeat([0, 1, 1, 1])}
    kinds = {**obs, "perturbation_type": repeat(["CRISPRi", "CRISPRi", "CRISPR-KO", "CRISPRi"])}
    refused(cells(kinds), "A both turned down and knocked out", "expected one of the two", "where")
    ways = {**obs, "perturbation_type": repeat(["CRISPRi", "CRISPRi", "CRISPRa", "CRISPRi"])}
    assert load_screen(cells(ways), {"regime": "cloud"}).spec.actions[0].low == -1.0


def test_two_words_for_control_in_one_table_are_refused():
    obs = {**PERTURBENCH, "condition": repeat(["control", "A+ctrl", "B", "A+B"])}
    message = refused(cells(obs), "row cell3", "'ctrl' as a member of 'A+ctrl'", "value: [control, ctrl]")
    assert "expected perturbations, or the control 'control'" in message
    both = {"control": {"obs": "condition", "value": ["control", "ctrl"]}, "schema": "perturbench"}
    assert load_screen(cells(obs), both).members == ("", "A", "A+B", "B")


@pytest.mark.parametrize("label", ["A+", "+A", "A++B"])
def test_an_empty_member_is_refused(label):
    refused(cells({**PERTURBENCH, "condition": repeat(["control", "A", label, "A+B"])}), "row cell6", repr(label))


def test_an_empty_condition_is_refused():
    obs = {**PERTURBENCH, "condition": [*repeat(["control", "A", "B"]), "A+B", None, " "]}
    refused(cells(obs), "row cell10", "column condition", "no value")


def test_a_member_twice_is_refused():
    refused(cells({**PERTURBENCH, "condition": repeat(["control", "A", "B", "A+A"])}), "'A+A'", "once in a set")


@pytest.mark.parametrize(
    ("value", "config", "words"),
    [
        (0.5, {"kind": "counts"}, ("0.5", "whole counts", "kind: log1p")),
        (-1.0, {}, ("-1", "no reading below 0")),
        (np.nan, {}, ("nan", "a number")),
        (np.inf, {"kind": "log1p"}, ("inf", "a number")),
        (21.5, {"kind": "log1p"}, ("21.5", "at most 20", "kind: counts")),
    ],
)
def test_numbers_that_are_not_what_they_are_said_to_be(value, config, words):
    table = cells(PERTURBENCH, kind="counts" if config.get("kind") != "log1p" else "log1p")
    x = table.X.toarray()
    x[7, 2] = value
    table.X = sparse.csr_matrix(x)
    refused(table, "row cell7", "column g2 of X", *words, layer=config)


def test_counts_said_to_be_log1p_are_refused():
    refused(cells(PERTURBENCH), "whole numbers alone", "kind: counts", layer={"kind": "log1p"})
    table = cells(PERTURBENCH)
    table.layers["raw counts"] = table.X * 100
    refused(table, "layer raw counts", "at most 20", layer={"kind": "log1p", "name": "raw counts"})


def test_gene_names_used_twice_are_refused_with_the_names():
    table = cells(PERTURBENCH)
    table.var["symbol"] = ["TP53", "KRAS", "TP53", "KRAS"]
    refused(table, "genes named more than once: KRAS, TP53", "column var, symbol", genes={"name": "symbol"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table.var_names = ["a", "b", "a", "c"]
    refused(table, "genes named more than once: a", "column var_names")


def test_cells_named_twice_are_read_and_said():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        table = cells(PERTURBENCH)
        table.obs_names = ["cell"] * 12
        screen = load_screen(table)
    assert screen.cells.shape == (12, 4)
    assert any("obs_names used more than once" in r.what and r.count == 11 for r in screen.repairs)


def test_files_that_are_no_whole_h5ad(tmp_path: Path):
    whole, cut, text = tmp_path / "whole.h5ad", tmp_path / "cut.h5ad", tmp_path / "text.h5ad"
    cells(PERTURBENCH).write_h5ad(whole)
    cut.write_bytes(whole.read_bytes()[:-2000])
    text.write_text("perturbation,gene\n")
    for file in (cut, text):
        refused(file, f"file {file}", "a whole h5ad file")
    import h5py

    with h5py.File(tmp_path / "other.h5ad", "w") as other:
        other["data"] = np.zeros(3)
    refused(tmp_path / "other.h5ad", "no obs and no var", "an AnnData table")
    refused(tmp_path / "none.h5ad", "no data file", "none.h5ad")


def test_columns_on_disk_are_refused_with_the_way_out(tmp_path: Path):
    table = cells(PERTURBENCH)
    table.X = table.X.tocsc()
    table.write_h5ad(tmp_path / "csc.h5ad")
    refused(tmp_path / "csc.h5ad", "X in columns (CSC)", "adata.X.tocsr()")
    assert load_screen(table).cells.rows(np.arange(2)).shape == (2, 4)  # in memory it is turned


def test_a_layer_that_is_not_there(tmp_path: Path):
    table = cells(PERTURBENCH)
    table.layers["counts"] = table.X
    table.write_h5ad(tmp_path / "t.h5ad")
    for source in (table, tmp_path / "t.h5ad"):
        refused(source, "no layer 'count'", "did you mean 'counts'", layer={"name": "count"})


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"where": {"dose_valu": 1}}, ("no column 'dose_valu'", "did you mean 'dose_value'", "key where")),
        ({"context": {"line": "cell_tpe"}}, ("no column 'cell_tpe'", "did you mean 'celltype'", "context.line")),
        ({"dose": {"obs": "dosage"}}, ("no column 'dosage'", "key dose.obs")),
        ({"where": {"celltype": "HeLa"}}, ("no cell with HeLa", "there are: A549")),
        ({"genes": {"highly_variable": True}}, ("no column 'highly_variable'", "column var")),
        ({"split": {"column": "perturbation"}}, ("one of train, calibrate, test",)),
        ({"split": {"by": "celtype"}}, ("split.by 'celtype'", "did you mean 'celltype'")),
        ({"schema": "gears"}, ("no column 'condition'", "schema gears")),
    ],
)
def test_names_that_are_not_in_the_table(config, words):
    refused(cells(DRUGS), *words, **config)


def test_doses_need_a_unit():
    obs = {k: v for k, v in DRUGS.items() if k != "dose_unit"}
    refused(cells(obs), "doses without a unit", "column dose_value", "row cell3")
    assert load_screen(cells(obs), {"dose": {"obs": "dose_value", "unit": "nM"}}).spec.actions[0].unit == "nM"
    blank = {**DRUGS, "dose_unit": repeat([np.nan, "uM", None, "uM"])}
    refused(cells(blank), "no unit of dose 1000", "column dose_unit", "row cell6")
    refused(cells({**DRUGS, "dose_unit": repeat([None, "uM", "uMM", "uM"])}), "uMM", "column dose_unit")
    refused(cells({**DRUGS, "dose_unit": repeat([None, "uM", "mg", "uM"])}), "aspirin", "unit mismatch")


@pytest.mark.parametrize(("dose", "words"), [(0.0, "a dose of 0"), (-3.0, "a dose of -3"), ("much", "'much'")])
def test_doses_that_are_none(dose, words):
    obs = {**DRUGS, "dose_value": pd.Series(repeat([np.nan, 1.0, dose, 5.0]), dtype=object).astype(str)}
    refused(cells(obs), words, "column dose_value", "row cell6")


def test_a_dose_for_each_member():
    obs = {**PERTURBENCH, "dose": repeat(["1", "2", "1", "1+2+3"])}
    refused(cells(obs), "3 doses of 2 members ('A+B')", "one each", dose={"obs": "dose", "unit": "uM"})


def test_times_are_numbers_or_say_their_unit():
    assert load_screen(cells({**DRUGS, "time": repeat(["1 d", "24 h", "24", "24"])})).hours.tolist() == [24.0] * 3
    refused(cells({**DRUGS, "time": repeat(["24", "24", "soon", "24"])}), "column time", "row cell6", "soon")
    refused(cells({**DRUGS, "time": repeat([24, 24, -1, 24])}), "a time in h, 0 or later")


def test_a_part_for_each_condition():
    obs = {**PERTURBENCH, "part": ["train", "test", "train"] * 4}
    refused(cells(obs), "test and train for cells of A", "column part", split={"column": "part"})


def test_keys_that_are_not_known():
    refused(cells(PERTURBENCH), "unknown key 'contxt'", "did you mean 'context'", contxt={})
    refused(cells(PERTURBENCH), "unknown key 'shema'", "did you mean 'schema'", shema="gears")
    refused(cells(PERTURBENCH), "key schema", "'norman'", schema="norman")
    refused(cells(PERTURBENCH), "unknown key 'form'", "did you mean 'from'", actions={"form": {"obs": "condition"}})


def test_a_screen_is_no_study_of_paths(tmp_path: Path):
    file = tmp_path / "s.yaml"
    file.write_text("table: x.h5ad\nregime: cloud\n")
    with pytest.raises(BadInput, match="regime cloud: a screen of cells"):
        study.load(file)
    file.write_text("table: x.h5ad\nsubject: a\ntime: {column: t, unit: d}\nchannels: {x: {unit: mg}}\nlayer: {}\n")
    with pytest.raises(BadInput, match="regime: cloud"):
        load(file)


def test_without_the_extra_the_message_says_what_to_install(monkeypatch, tmp_path: Path):
    cells(SCPERTURB).write_h5ad(tmp_path / "s.h5ad")
    monkeypatch.setitem(sys.modules, "anndata", None)
    refused(tmp_path / "s.h5ad", "no package anndata", "pip install 'biowm[cell]'")


def test_a_table_of_no_known_kind_says_which_are_known():
    message = refused(
        cells({"gene": repeat(["a", "b"])}), "scperturb", "vcc (target_gene with 'non-targeting')", "gene"
    )
    assert "the keys control and actions" in message


def test_gears_tables_under_another_schema_are_told_apart():
    refused(cells(GEARS), "no cell with 'control'", "did you mean 'ctrl'", schema="perturbench")
