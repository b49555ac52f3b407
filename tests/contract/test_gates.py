"""The full gate suite on every registered world: a world joins by being registered."""

from __future__ import annotations

import pytest

from biowm.core import registry
from biowm.evaluate.certify import Report, certify
from biowm.evaluate.simulated import exam_of_world

pytestmark = pytest.mark.slow

# What a world is known not to pass, and why; a gate that is named here must fail, so that the list stays true.
KNOWN = {
    "patient/tumour": {
        "time": "its noise is that of whole days: two half days are less noisy than one, as published",
        "support": "volumes span nine orders of magnitude: a volume in mm^3 is like another patient's in cm^3",
    },
    "cell/treated": {
        "support": "concentrations rise from nothing: a thousandth of one is like another body's first minutes",
    },
}


# One worker puts all gates to a world, once.
WORLDS = [pytest.param(name, marks=pytest.mark.xdist_group(f"gates {name}")) for name in registry.names("worlds")]


@pytest.fixture(scope="module", params=WORLDS)
def certified(request: pytest.FixtureRequest) -> tuple[str, Report]:
    world = registry.get("worlds", request.param)()
    return request.param, certify(exam_of_world(world))


def test_every_gate_gives_its_verdict_and_only_what_is_known_fails(certified: tuple[str, Report]):
    name, report = certified
    assert set(report.verdicts) == set(registry.names("gates"))
    for gate, verdict in report.verdicts.items():
        assert verdict.detail, gate
        assert verdict.evidence.id in report.record.parents, gate
    failed = {gate for gate, verdict in report.verdicts.items() if verdict.status == "failed"}
    assert failed == set(KNOWN.get(name, {})), {gate: report.verdicts[gate].detail for gate in failed}


def test_levels_are_granted_by_records_of_gates_that_passed(certified: tuple[str, Report]):
    _, report = certified
    known = {verdict.evidence.id: verdict for verdict in report.verdicts.values()}
    for level in report.capability:
        assert all(known[record].status == "passed" for record in level.granted_by.values())
        assert level.next_needs or level.level == 3
