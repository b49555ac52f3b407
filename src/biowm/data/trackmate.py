"""TrackMate files (XML): spots with their features, and the edges that link them into tracks.

Source: Tinevez et al. 2017, doi:10.1016/j.ymeth.2016.09.016.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
from jaxtyping import Shaped

from biowm.core import units

from .config import StudyConfig
from .faults import fault
from .layouts import Tracks
from .tables import Repair
from .tracks import linked

_TIME = "POSITION_T"
_CLOCKS = {"sec": "s", "frame": "reading", "frames": "reading"}


def read(
    path: Path, content: bytes, study: StudyConfig, repairs: list[Repair]
) -> tuple[pd.DataFrame, Shaped[np.ndarray, " rows"]]:
    """A row a spot of the tracks that were kept: its features, track, parent, lineage (TRACK_ID) and fate.

    Spots of no kept track are left out (noted). Raises BadInput for a file that is none, an edge to a spot that is not
    there, times in another unit than the study's, and a track that splits where that is not declared.
    """
    try:
        root = ElementTree.fromstring(content)
    except ElementTree.ParseError as error:
        raise fault(str(error), "a TrackMate file (XML)", file=path) from None
    model = root.find("Model")
    if root.tag != "TrackMate" or model is None:
        raise fault(f"the element {root.tag}", "TrackMate with a Model", file=path)
    _same_clock(path, model.get("timeunits"), study)
    spots = {spot.get("ID", ""): dict(spot.attrib) for spot in model.iterfind("AllSpots/SpotsInFrame/Spot")}
    kept = {track.get("TRACK_ID") for track in model.iterfind("FilteredTracks/TrackID")}
    filtered = model.find("FilteredTracks") is not None
    of: dict[str, str] = {}
    edges: list[tuple[str, str]] = []
    for track in model.iterfind("AllTracks/Track"):
        name = track.get("TRACK_ID", "")
        if filtered and name not in kept:
            continue
        for edge in track.iterfind("Edge"):
            ends = (edge.get("SPOT_SOURCE_ID", ""), edge.get("SPOT_TARGET_ID", ""))
            bad = next((e for e in ends if e not in spots), None)
            if bad is not None:
                raise fault(f"an edge to spot {bad!r}, which is not there", "spots of AllSpots", file=path, row=name)
            edges.append(ends)
            of.update(dict.fromkeys(ends, name))
    if not of:
        raise fault("no track", "at least one, with edges", file=path)
    if len(spots) > len(of):
        repairs.append(Repair("spots of no kept track left out", len(spots) - len(of), str(path)))
    names = [name for name in spots if name in of]
    rows = np.array([f"of spot {name}" for name in names], dtype=object)
    t = np.array([_number(path, spots[n].get(_TIME, spots[n].get("FRAME", "")), rows[i]) for i, n in enumerate(names)])
    at = {name: i for i, name in enumerate(names)}
    links = np.array([[at[a], at[b]] for a, b in edges])

    def refuse(i: int, found: str, expected: str) -> Exception:
        return fault(found, expected, file=path, row=rows[i], column="ID")

    found = linked(names, t, links, study.tracks or Tracks(), [of[n] for n in names], refuse)
    frame = pd.DataFrame([spots[n] for n in names], dtype=object)
    return frame.assign(file=path.name.split(".")[0], **found.columns()), rows


def _number(path: Path, text: str, row: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise fault(repr(text), "a time", file=path, row=row, column=_TIME) from None


def _same_clock(path: Path, said: str | None, study: StudyConfig) -> None:
    """Raise BadInput where times are read in another unit than the file says."""
    if study.time.column != _TIME or not said:
        return
    try:
        same = units.factor(_CLOCKS.get(said, said), study.time.unit) == 1
    except units.UnitError:
        same = False
    if not same:
        expected = f"{study.time.unit}, as the study says of {_TIME} (key time.unit)"
        raise fault(f"times in {said!r}", expected, file=path, row="Model", column="timeunits")
