"""Plate maps: every replicate in its well, parted from the others, controls among them, and what does not fit."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from tests.support.screen import drugs

from biowm.core.errors import BadInput
from biowm.core.futures import Support
from biowm.plan.plates import FORMATS, PlateMap, Well, plates
from biowm.plan.proposal import Proposal, Proposed


def batch(n: int, contexts: tuple[str, ...] = ("",)) -> Proposal:
    rows = tuple(
        Proposed(k + 1, (f"g{k}", f"h{k}"), ("1 uM", "2 uM"), contexts[k % len(contexts)], 0.0, 1.0, 0.1, (1, 1),
                 Support("edge", ()))
        for k in range(n)
    )  # fmt: skip
    return Proposal(drugs(), rows, "information", ("up",), "up", "", 24.0, 100, 10)


def samples(found: PlateMap) -> dict[int, list[Well]]:
    by: dict[int, list[Well]] = {}
    for well in found.wells:
        if well.role == "sample":
            by.setdefault(well.rank, []).append(well)
    return by


@pytest.mark.parametrize(
    ("n", "size", "replicates", "controls", "edge"),
    [(20, 96, 3, 16, True), (12, 96, 3, 16, False), (26, 96, 3, 18, True), (100, 384, 3, 32, False),
     (40, 96, 4, 8, True), (5, 96, 1, 0, True), (1, 96, 8, 2, True), (7, 96, 12, 12, True)],
)  # fmt: skip
def test_every_replicate_has_a_well_of_its_own(n: int, size: int, replicates: int, controls: int, edge: bool):
    found = plates(batch(n), size=size, replicates=replicates, controls=controls, edge=edge, seed=3)
    rows, columns = FORMATS[size]
    assert len(found.wells) == size * found.plates
    assert len({(w.plate, w.name) for w in found.wells}) == len(found.wells)
    by = samples(found)
    assert sorted(by) == list(range(1, n + 1))
    for rank, wells in by.items():
        assert sorted(w.replicate for w in wells) == list(range(1, replicates + 1))
        assert {w.set for w in wells} == {f"g{rank - 1}+h{rank - 1}"}
        assert {w.doses for w in wells} == {"1 uM + 2 uM"}
        on = Counter(w.plate for w in wells)
        assert max(on.values()) == -(-replicates // found.plates)  # as many plates as can be
    for p in range(1, found.plates + 1):
        assert sum(w.role == "control" for w in found.wells if w.plate == p) == controls
    if not edge:
        outer = [w for w in found.wells if w.row in ("A", chr(ord("A") + rows - 1)) or w.column in (1, columns)]
        assert {w.role for w in outer} == {"empty"}
    usable = (rows - 2 * (not edge)) * (columns - 2 * (not edge))
    assert found.plates == -(-n * replicates // (usable - controls))


@pytest.mark.parametrize("n", [8, 20, 26])
def test_replicates_on_one_plate_share_no_row_and_no_column(n: int):
    for seed in range(5):
        found = plates(batch(n), controls=16, seed=seed)
        assert found.shared == 0
        for wells in samples(found).values():
            assert len({w.row for w in wells}) == len(wells)
            assert len({w.column for w in wells}) == len(wells)


def test_what_cannot_be_parted_is_counted():
    found = plates(batch(1), replicates=14, controls=0)  # fourteen on twelve columns and eight rows
    (wells,) = samples(found).values()
    rows, columns = (Counter(getattr(w, name) for w in wells) for name in ("row", "column"))
    assert found.shared == sum(rows[w.row] > 1 or columns[w.column] > 1 for w in wells) > 0


def test_controls_lie_all_over_the_plate_and_in_every_context():
    found = plates(batch(24, ("line=A", "line=B")), controls=16, seed=1)
    controls = [w for w in found.wells if w.role == "control"]
    third = Counter((w.column - 1) // 4 for w in controls)
    assert sorted(third.values()) == [5, 5, 6]  # three blocks, one for each replicate
    assert Counter(w.context for w in controls) == {"line=A": 8, "line=B": 8}


def test_the_seed_is_all_there_is_to_chance():
    one, same, other = (plates(batch(12), seed=s).table() for s in (0, 0, 1))
    assert one.equals(same)
    assert not one.equals(other)
    assert list(one.columns[:8]) == ["plate", "well", "row", "column", "set", "doses", "role", "replicate"]
    assert one["well"].iloc[0] == "A1"
    assert one["well"].iloc[-1] == "H12"
    assert plates(batch(2), size=384).table()["well"].iloc[-1] == "P24"
    empty = one[one["role"] == "empty"]
    assert (empty[["set", "doses", "replicate", "rank"]] == "").to_numpy().all()


def test_wells_are_taken_alike():
    """Over many seeds no well is preferred for a set."""
    times = np.zeros((8, 12))
    for seed in range(200):
        for w in plates(batch(6), controls=0, seed=seed).wells:
            times[ord(w.row) - ord("A"), w.column - 1] += w.role == "sample"
    expected = 200 * 18 / 96
    assert abs(times - expected).max() < 5 * np.sqrt(expected)


@pytest.mark.parametrize(
    ("how", "said"),
    [({"size": 48}, "96 or 384"), ({"controls": 96}, "no well is left"), ({"controls": 60, "edge": False}, "60 wells"),
     ({"replicates": 0}, "--replicates"), ({"controls": -1}, "--controls")],
)  # fmt: skip
def test_what_does_not_fit_is_refused(how: dict, said: str):
    with pytest.raises(BadInput, match=said):
        plates(batch(3), **how)
