"""What a difference may be called: a causal word takes an assumption, overlap of both sides and support."""

from __future__ import annotations

import json

import pytest

from biowm.core.contrast import Reach, claim
from biowm.plan.contrast import assignment_of, wording

NEAR, FAR = (Reach(name, n, n >= 10, (), ()) for name, n in (("treated", 31.0), ("untreated", 2.0)))
GIVEN = json.dumps({"assignment": {"kind": "protocol", "given": ["psa"]}})


@pytest.mark.parametrize(
    ("study", "kind", "assumes"),
    [
        (None, "not declared", ""),
        ("{}", "not declared", ""),
        (json.dumps({"assignment": {"kind": "protocol"}}), "protocol", ""),
        (GIVEN, "protocol", "beside the recorded history of psa nothing moved both"),
        (json.dumps({"assignment": {"kind": "randomised"}}), "randomised", "assigned at random"),
    ],
)
def test_the_study_declares_what_must_be_assumed(study: str | None, kind: str, assumes: str):
    found = assignment_of(study)
    assert found.kind == kind
    assert bool(found.assumption) == bool(assumes)
    assert assumes in found.assumption


@pytest.mark.parametrize(
    ("study", "reaches", "outside", "word", "why"),
    [
        (GIVEN, (NEAR, NEAR), (), "effect", ""),
        (None, (NEAR, NEAR), (), "association", "does not say by what"),
        (GIVEN, (), (), "simulation", "not known"),
        (GIVEN, (NEAR, FAR), (), "simulation", "fewer than 10 training subjects were treated like 'untreated'"),
        (GIVEN, (NEAR, NEAR), ("'treated' is outside the data",), "simulation", "'treated' is outside"),
    ],
)
def test_each_thing_that_lacks_takes_the_word_away(study, reaches, outside, word, why):
    found, reasons = wording(assignment_of(study), reaches, outside)
    assert found == word
    assert why in "; ".join(reasons)
    assert ("effect" in claim(found, reasons)) == (word == "effect")
