"""Conditions that are asked as a table, and what is wrong with them in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support.tables_of_cells import DRUGS, cells, repeat

from biowm.core.errors import BadInput
from biowm.data.conditions import Conditions, read_conditions
from biowm.data.screens import Screen, load_screen

SETS = {"condition": repeat(["control", "A", "B", "A+B"], 4), "perturbation_type": ["CRISPRa"] * 16}
GENES = load_screen(cells({**SETS, "cell_type": ["K562", "A549"] * 8}))
BOTH = load_screen(
    cells({"condition": repeat(["control", "A", "A"]), "perturbation_type": repeat(["none", "CRISPRa", "CRISPRi"])})
)
DRUG = load_screen(cells(DRUGS))


def ask(folder: Path, text: str, screen: Screen, **more) -> Conditions:
    file = folder / "asked.csv"
    file.write_text(text)
    return read_conditions(file, screen.spec, screen.config, **more)


def test_sets_contexts_and_counts(tmp_path: Path):
    asked = ask(
        tmp_path, "perturbation,cell_type,cells\nB+A,K562,7\n,A549,\nA,A549,2\ncontrol,K562,1\n", GENES, cells=5
    )
    assert asked.names == (
        "B+A, cell_type=K562", "control, cell_type=A549", "A, cell_type=A549", "control, cell_type=K562",
    )  # fmt: skip
    assert asked.members == ("B+A", "", "A", "")
    np.testing.assert_array_equal(asked.dose, [[1, 1], [0, 0], [1, 0], [0, 0]])
    np.testing.assert_array_equal(asked.traits, [[0, 1], [1, 0], [1, 0], [0, 1]])
    assert asked.hours.tolist() == [1.0] * 4
    assert asked.counts.tolist() == [7, 5, 2, 1]
    assert asked.obs["condition"].tolist() == ["B+A", "control", "A", "control"]
    assert asked.obs["cell_type"].tolist() == ["K562", "A549", "A549", "K562"]


def test_the_tables_own_columns_mean_the_same(tmp_path: Path):
    text = "perturbation,dose_value,dose_unit,celltype,time\naspirin,500,nM,A549,48\naspirin+taxol,1+2,uM,A549,1 d\n"
    asked = ask(tmp_path, text, DRUG)
    np.testing.assert_allclose(asked.dose, [[0.5, 0], [1, 2]])
    assert asked.hours.tolist() == [48.0, 24.0]
    assert asked.obs["dose_value"].tolist() == ["0.5", "1+2"]
    assert asked.obs["dose_unit"].tolist() == ["uM", "uM"]
    same = ask(tmp_path, "perturbation,dose,time\naspirin,500 nM,48 h\naspirin+taxol,1 uM+2 uM,24 h\n", DRUG)
    np.testing.assert_allclose(same.dose, asked.dose)
    assert same.names == ("aspirin=0.5 uM, celltype=A549, 48 h", "aspirin=1 uM+taxol=2 uM, celltype=A549, 24 h")


def test_the_conditions_of_a_screen_are_asked_back_as_they_are(tmp_path: Path):
    rows = [f"{m or 'control'},{'K562' if t[1] else 'A549'}" for m, t in zip(GENES.members, GENES.traits, strict=True)]
    asked = ask(tmp_path, "\n".join(["condition,cell_type", *rows]), GENES)
    assert asked.names == GENES.conditions
    np.testing.assert_array_equal(asked.dose, GENES.dose)
    np.testing.assert_array_equal(asked.traits, GENES.traits)


def test_a_target_that_went_both_ways_needs_its_direction(tmp_path: Path):
    with pytest.raises(BadInput, match="no direction of A, expected up or down"):
        ask(tmp_path, "perturbation\nA\n", BOTH)
    for text in ("perturbation,dose\nA,up\nA,down\n", "perturbation,perturbation_type\nA,CRISPRa\nA,CRISPRi\n"):
        assert ask(tmp_path, text, BOTH).dose.tolist() == [[1.0], [-1.0]]


@pytest.mark.parametrize(
    ("screen", "text", "words"),
    [
        (GENES, "perturbation,cell_type\nA,K562\nA+X1,K562\n", ("row 3", "'X1'", "there are: A, B")),
        (GENES, "perturbation,cell_type\nA,K56\n", ("row 2", "column cell_type", "'K56'", "did you mean 'K562'")),
        (GENES, "perturbation,cell_type\nA,\n", ("row 2", "column cell_type", "no value", "A549, K562")),
        (GENES, "perturbation\nA\n", ("column cell_type", "no such column", "A549, K562")),
        (GENES, "cell_type\nK562\n", ("column condition", "no such column", "there are: cell_type")),
        (GENES, "pertubation,cell_type\nA,K562\n", ("unknown column", "did you mean 'perturbation'")),
        (GENES, "perturbation,condition,cell_type\nA,A,K562\n", ("condition beside perturbation",)),
        (GENES, "perturbation,cell_type\nA+A,K562\n", ("row 2", "'A+A'", "each perturbation once")),
        (GENES, "perturbation,cell_type\nA+,K562\n", ("row 2", "'A+'")),
        (GENES, "perturbation,cell_type\nA+B,K562\nB+A,K562\n", ("row 3", "the condition of row 2 again")),
        (GENES, "perturbation,cell_type,cells\nA,K562,2.5\n", ("column cells", "'2.5'", "a whole number")),
        (GENES, "perturbation,cell_type,cells\nA,K562,0\n", ("column cells", "'0'", "at least 1")),
        (GENES, "perturbation,cell_type,dose\nA,K562,down\n", ("column dose", "A down", "expected up")),
        (GENES, "perturbation,cell_type,dose\nA,K562,2 uM\n", ("column dose", "'2 uM'", "has no dose")),
        (GENES, "perturbation,cell_type,time\nA,K562,24\n", ("column time", "'24'", "such as '24 d'")),
        (DRUG, "perturbation,dose,time\naspirin,5,24 h\n", ("row 2", "column dose", "'5'", "'1 uM'")),
        (DRUG, "perturbation,dose,time\naspirin,,24 h\n", ("column dose", "no dose of aspirin", "'1 uM'")),
        (DRUG, "perturbation,dose,time\naspirin,5 mg,24 h\n", ("column dose", "unit mismatch")),
        (DRUG, "perturbation,dose,time\naspirin,0 uM,24 h\n", ("column dose", "above 0")),
        (DRUG, "perturbation,dose,time\naspirin+taxol,1 uM+2 uM+3 uM,24 h\n", ("one for each of 2 members",)),
        (DRUG, "perturbation,dose\naspirin,5 uM\n", ("column time", "no time", "'24 h'")),
        (DRUG, "perturbation,dose,time\naspirin,5 uM,-2\n", ("column time", "0 or later")),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_place(tmp_path: Path, screen, text, words):
    with pytest.raises(BadInput) as caught:
        ask(tmp_path, text, screen)
    message = str(caught.value)
    assert "asked.csv" in message
    assert "\n" not in message
    for word in words:
        assert word in message
