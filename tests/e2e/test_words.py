"""Without assignment information two words appear in no output; with it, only beside what they rest on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from .conftest import Said, biowm

CAUSAL = re.compile(r"effect|benefit", re.IGNORECASE)
WHO = ("--subject", "s03", "--horizon", "3 d")
ASKED: dict[str, tuple[object, ...]] = {
    "simulate": ("--do", "drug=2 mg/d@0:3 d", "--against", "zero", "--draws", 40, *WHO),
    "plan": ("--goal", "minimise total drug while psa <= 200", *WHO),
    "engine": ("--arm", "control: ", "--arm", "treated: drug=2 mg/d@0:3 d", "--outcome", "mean psa at 3 d", "--horizon",
               "3 d", "--size", 10, "--trials", 50, "--patients", 100),
}  # fmt: skip


def ask(name: str, artefact: Path, *more: object) -> Said:
    return biowm(*(("engine", "cohort") if name == "engine" else (name,)), artefact, *ASKED[name], *more)


@pytest.mark.parametrize("how", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize("name", ASKED)
def test_no_causal_word_without_assignment(name: str, how: tuple[str, ...], artefact: Path):
    said = ask(name, artefact, *how)
    assert said.code in (0, 3), said.err
    assert said.out
    assert not (found := CAUSAL.findall(said.out + said.err)), found


def test_no_causal_word_in_the_report(artefact: Path):
    page = (artefact / "report.html").read_text(encoding="utf-8")
    assert "Estimand: psa of subject" in page
    assert not (found := CAUSAL.findall(page)), found


def test_the_text_says_what_the_difference_rests_on(artefact: Path):
    said = ask("simulate", artefact)
    for part in (
        "no causal claim",
        "Estimand: psa of subject s03",
        "Assignment: not declared",
        "Overlap of",
        "Tipping",
    ):
        assert part in said.out, part
