"""Tracks: linked objects from tables, TrackMate and GEFF files; divisions by one rule; lost ones censored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from biowm.core.errors import BadInput
from biowm.core.path import CENSORED, ENDED, RUNNING
from biowm.data.report import describe
from biowm.data.study import Study, load

# Frames 0 to 3. Lineage 7: 1 - 2, then 2 divides into 3 and 4; 3 goes on as 5. Lineage 8: 10 - 11 - 12 - 13.
TIMES = {1: 0, 2: 1, 3: 2, 4: 2, 5: 3, 10: 0, 11: 1, 12: 2, 13: 3}
EDGES = {7: [(1, 2), (2, 3), (4, 2), (3, 5)], 8: [(10, 11), (11, 12), (12, 13)]}  # one is written backwards
STUDY: dict[str, Any] = {
    "time": {"column": "POSITION_T", "unit": "h"},
    "subject": ["file", "track"],
    "channels": {"area": {"column": "AREA", "unit": "um^2", "link": "log"}},
    "groups": {"well": "file", "lineage": "lineage"},
    "tracks": {"divisions": "cut"},
}


def trackmate(file: Path, hours: float = 4.0, timeunits: str = "h", edges: dict[int, list] = EDGES) -> None:
    """A file as TrackMate writes it: spots 99 (of no track) and 98 (of a track that was filtered out) are extra."""
    times = TIMES | {98: 0, 97: 1, 99: 2}
    spots = {
        t: "".join(
            f'<Spot ID="{s}" name="ID{s}" AREA="{100 + s}.5" POSITION_X="1.0" POSITION_T="{t * hours}" FRAME="{t}"/>'
            for s, at in times.items() if at == t
        )
        for t in sorted(set(times.values()))
    }  # fmt: skip
    frames = "".join(f'<SpotsInFrame frame="{t}">{text}</SpotsInFrame>' for t, text in spots.items())
    tracks = "".join(
        f'<Track name="Track_{k}" TRACK_ID="{k}">'
        + "".join(f'<Edge SPOT_SOURCE_ID="{a}" SPOT_TARGET_ID="{b}" LINK_COST="1.0"/>' for a, b in links)
        + "</Track>"
        for k, links in (edges | {9: [(98, 97)]}).items()
    )
    kept = "".join(f'<TrackID TRACK_ID="{k}"/>' for k in edges)
    file.write_text(
        f'<?xml version="1.0" encoding="UTF-8"?><TrackMate version="7.11.1"><Log>x</Log>'
        f'<Model spatialunits="micron" timeunits="{timeunits}"><AllSpots nspots="{len(times)}">{frames}</AllSpots>'
        f"<AllTracks>{tracks}</AllTracks><FilteredTracks>{kept}</FilteredTracks></Model></TrackMate>"
    )


def geff(folder: Path, *, zarr_format: int = 2, inside: str = "", unit: str = "hour") -> None:
    """A graph as the specification says, with a property that some nodes lack and one with several numbers."""
    zarr = pytest.importorskip("zarr")
    root = zarr.open_group(str(folder), mode="w", zarr_format=zarr_format)
    graph = root.create_group(inside) if inside else root
    axes = [{"name": "t", "type": "time", "unit": unit}, {"name": "x", "type": "space", "unit": "micrometer"}]
    graph.attrs["geff"] = {"directed": True, "geff_version": "1.1.0", "axes": axes}
    ids = np.array(list(TIMES), np.uint64)
    links = np.array([e for some in EDGES.values() for e in some], np.uint64)
    area = 100.5 + ids.astype(float)
    props = {
        "t": np.array([4 * t for t in TIMES.values()]), "x": np.ones(len(ids)), "area": area,
        "color": np.ones((len(ids), 4)),
    }  # fmt: skip
    for name, values in [
        ("nodes/ids", ids),
        ("edges/ids", links),
        *((f"nodes/props/{n}/values", v) for n, v in props.items()),
    ]:
        graph.create_array(name, data=values)
    graph.create_array("nodes/props/area/missing", data=ids == 12)


def write(folder: Path, **changes: object) -> Path:
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | changes))
    return folder / "study.yaml"


def table(study: Study) -> dict[str, list[float]]:
    return {name: np.asarray(p.x)[:, 0].tolist() for name, p in zip(study.subjects, study.paths, strict=True)}


CUT = {
    "B2/7.1": [101.5, 102.5],  # the mother, until she divides
    "B2/7.2": [103.5, 105.5],
    "B2/7.3": [104.5],
    "B2/8": [110.5, 111.5, 112.5, 113.5],
}


def test_trackmate_files_are_read_with_linked_ids(tmp_path: Path):
    trackmate(tmp_path / "B2.xml")
    study = load(write(tmp_path, table="B*.xml", format="trackmate"))
    assert table(study) == CUT
    assert study.groups == {"well": ("B2",) * 4, "lineage": ("7", "7", "7", "8")}
    assert "spots of no kept track left out: 3" in str(study.repairs[0])


def test_wells_of_a_plate_map_hold_tracks(tmp_path: Path):
    """One file a well; what the well was given and whose cells they are comes from the map; lineages stay together."""
    for well in ("B2", "B3"):
        trackmate(tmp_path / f"{well}.xml")
    (tmp_path / "map.csv").write_text("well,donor,drug\nB2,d1,30 nM\nB03,d2,0\n")
    study = load(
        write(
            tmp_path, table="B*.xml", format="trackmate", plate_map={"table": "map.csv", "well": "file"},
            actions={"drug": {"unit": "nM"}}, groups={"well": "file", "donor": "donor"},
            split={"by": "donor", "test": 0.5, "calibrate": 0},
        )
    )  # fmt: skip
    assert study.groups == {"well": ("B2",) * 4 + ("B3",) * 4, "donor": ("d1",) * 4 + ("d2",) * 4}
    assert [float(p.plan.dose[0]) if len(p.plan.dose) and p.plan.card[0] >= 0 else 0 for p in study.paths][4:] == [
        0
    ] * 4
    assert [float(p.plan.dose[0]) for p in study.paths[:2]] == [30.0, 30.0]


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("inside", ["", "tracks"])
def test_geff_graphs_are_read_the_same(tmp_path: Path, zarr_format: int, inside: str):
    geff(tmp_path / "B2.zarr", zarr_format=zarr_format, inside=inside)
    channels = {"area": {"unit": "um^2", "link": "log"}}
    study = load(write(tmp_path, table="B2.zarr", format="geff", time={"column": "t", "unit": "h"}, channels=channels))
    expected = {name.replace("/7", "/1").replace("/8", "/2"): x for name, x in CUT.items()}
    expected["B2/2"] = [110.5, 111.5, 113.5]  # the area of node 12 is missing
    assert table(study) == expected
    assert any("color" in str(r) for r in study.repairs)


ROWS = "well,id,before,t,area\nB2,1,,0,101.5\nB2,2,1,4,102.5\nB2,3,2,8,103.5\nB2,4,2,8,104.5\nB2,5,3,12,105.5\n"
ROWS += "".join(f"B3,{k + 1},{k or ''},{4 * k},{20 + k}\n" for k in range(4))
LINKED = {
    "table": "tracks.csv",
    "subject": ["well", "track"],
    "time": {"column": "t", "unit": "h"},
    "channels": {"area": {"unit": "um^2", "link": "log"}},
    "groups": {"well": "well"},
    "tracks": {"node": ["well", "id"], "parent": "before", "divisions": "cut"},
}


def linked(folder: Path, rows: str = ROWS, **changes: object) -> Study:
    (folder / "tracks.csv").write_text(rows)
    return load(write(folder, **(LINKED | changes)))


def test_a_table_of_objects_and_where_they_came_from(tmp_path: Path):
    """Names of objects come again in another well."""
    assert table(linked(tmp_path)) == {
        "B2/1.1": [101.5, 102.5], "B2/1.2": [103.5, 105.5], "B2/1.3": [104.5], "B3/2": [20, 21, 22, 23],
    }  # fmt: skip


def test_two_that_merge_are_cut_too(tmp_path: Path):
    rows = "id,before,t,area\n1,,0,10\n2,,0,20\n3,1,1,31\n4,3,2,35\n"
    study = linked(tmp_path, rows, subject="track", groups={}, tracks=LINKED["tracks"] | {"node": "id"})
    assert table(study) == {"1": [10, 31, 35], "2": [20]}


def test_a_track_that_ends_before_its_well_is_censored_and_a_division_is_known(tmp_path: Path):
    study = linked(tmp_path, end={"column": "fate", "ended": ["divided"], "lost": "well"})
    fate = dict(zip(study.subjects, [int(p.event) for p in study.paths], strict=True))
    assert fate == {"B2/1.1": ENDED, "B2/1.2": RUNNING, "B2/1.3": CENSORED, "B3/2": RUNNING}
    assert "ended 1, censored 1" in describe(study)
    alone = linked(tmp_path, end={"lost": "well"})
    assert [int(p.event) for p in alone.paths] == [CENSORED, RUNNING, CENSORED, RUNNING]


def test_organoids_that_were_lost_are_censored(organoids: Path):
    """1,963 tracks of 42 wells, 558 of them read in all 19 frames."""
    study = load(
        organoids,
        {
            "subject": ["Dosage", "Replicate", "Organoid ID"], "time": {"column": "Time", "unit": "h"},
            "channels": {"area": {"column": "Area", "unit": "pixel^2", "link": "log", "floor": 1}},
            "actions": {"gemcitabine": {"column": "Dosage", "unit": "nM", "kind": "rate"}},
            "groups": {"well": ["Dosage", "Replicate"], "dose": "Dosage"}, "split": {"by": "well"},
            "end": {"lost": "well"},
        },
    )  # fmt: skip
    last = np.array([float(p.t[-1]) + s for p, s in zip(study.paths, study.starts, strict=True)])
    event = np.array([int(p.event) for p in study.paths])
    assert len(study.paths) == 1963
    assert len(set(study.groups["well"])) == 42
    assert sum(len(p.t) == 19 for p in study.paths) == 558
    np.testing.assert_array_equal(event == CENSORED, last < 72)


@pytest.fixture
def organoids() -> Path:
    from biowm.data.locate import data_roots

    found = [r / "tissue/organoid_gemcitabine/OrganoidMeasurements.csv" for r in data_roots()]
    there = next((f for f in found if f.is_file()), None)
    if there is None:
        pytest.skip("the organoid table is not here")
    return there


def refused(folder: Path, *parts: str, **changes: object) -> None:
    with pytest.raises(BadInput) as error:
        load(write(folder, **changes))
    said = str(error.value)
    assert "\n" not in said
    assert not [part for part in parts if part not in said], said


def test_a_division_that_nobody_declared_is_named(tmp_path: Path):
    trackmate(tmp_path / "B2.xml")
    one = {"table": "B2.xml", "format": "trackmate", "tracks": None}
    refused(tmp_path, "B2.xml", "row of spot 2", "a track that splits: 2 goes on as 3 and 4", "divisions: cut", **one)
    (tmp_path / "tracks.csv").write_text(ROWS)
    rule = {"node": ["well", "id"], "parent": "before"}
    refused(
        tmp_path, "tracks.csv", "row 3", "column id", "B2/2 goes on as B2/3 and B2/4", **(LINKED | {"tracks": rule})
    )


def test_what_else_is_wrong_with_links(tmp_path: Path):
    def table_refused(rows: str, *parts: str) -> None:
        (tmp_path / "tracks.csv").write_text(rows)
        refused(tmp_path, "tracks.csv", *parts, **LINKED)

    table_refused(ROWS + "B3,2,1,4,3\n", "row 11", "column id", "'B3/2' again", "each object once")
    table_refused(ROWS.replace("B2,5,3", "B2,5,9"), "row 6", "column before", "'B2/9'", "an object of the column id")
    table_refused(ROWS.replace("B2,5,3,12", "B2,5,3,8"), "row 4", "which are of one time")


def test_what_is_wrong_with_files_of_tracks(tmp_path: Path):
    one = {"table": "B2.xml", "format": "trackmate"}
    trackmate(tmp_path / "B2.xml", timeunits="sec")
    refused(tmp_path, "B2.xml", "column timeunits", "times in 'sec'", "expected h", **one)
    trackmate(tmp_path / "B2.xml", edges={7: [(1, 55)]})
    refused(tmp_path, "B2.xml", "spot '55', which is not there", **one)
    trackmate(tmp_path / "B2.xml", edges={})
    refused(tmp_path, "B2.xml", "no track", **one)
    (tmp_path / "B2.xml").write_text("<TrackMate><Model>")
    refused(tmp_path, "B2.xml", "a TrackMate file (XML)", **one)


def test_what_is_wrong_with_graphs(tmp_path: Path):
    import zarr

    one = {"table": "B2.zarr", "format": "geff", "time": {"column": "t", "unit": "h"}}
    geff(tmp_path / "B2.zarr", unit="second")
    refused(tmp_path, "B2.zarr", "times in 'second'", "expected h", **one)
    geff(tmp_path / "B2.zarr")
    refused(tmp_path, "B2.zarr", "no property 'frame'", **(one | {"time": {"column": "frame", "unit": "h"}}))
    graph = zarr.open_group(str(tmp_path / "B2.zarr"), mode="a")
    links = graph["edges/ids"]
    assert isinstance(links, zarr.Array)
    links[1, 1] = 77
    refused(tmp_path, "B2.zarr", "row 1 of edges/ids", "the edge [2, 77]", **one)
    del graph.attrs["geff"]
    refused(tmp_path, "B2.zarr", "0 groups with the attribute geff", **one)
