"""Whatever the layout (plates, tracks, a row a reading): the one long table that everything else reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from biowm.core.record import digest

from . import geff, plate_map, plates, tables, trackmate, tracks
from .config import StudyConfig
from .locate import locate
from .tables import Repair, Table


def read(
    paths: Sequence[Path], study: StudyConfig, base: Path, data: str | Path | None, name: object
) -> tuple[Table, str]:
    """The long table of all files, with what the plate map and the links of tracks say; and the hash of all."""
    if study.layout == "plate":
        table, content = plates.read(paths, study)
    elif study.format in ("trackmate", "geff"):
        table, content = _tracks(paths, study)
    else:
        table, content = tables.read(paths, study.format, study.columns)
    return described(table, content, study, base, data, name)


def described(
    table: Table, content: str, study: StudyConfig, base: Path, data: str | Path | None, name: object
) -> tuple[Table, str]:
    """A long table with its links made tracks and the columns of its plate map, and the hash of all."""
    table = tracks.of_table(table, study)
    if study.plate_map is None:
        return table, content
    found, more = plate_map.read(locate(study.plate_map.table, base, data, name), study.plate_map, study)
    return plate_map.joined(table, found, study.plate_map, study), digest([content, more])


def _tracks(paths: Sequence[Path], study: StudyConfig) -> tuple[Table, str]:
    """The objects of TrackMate files or GEFF folders, one below the other."""
    repairs: list[Repair] = []
    frames, rows, contents = [], [], []
    for path in paths:
        if study.format == "geff":
            frame, row, content = geff.read(path, study, repairs)
        else:
            read = path.read_bytes()
            frame, row = trackmate.read(path, read, study, repairs)
            content = digest(read)
        frames.append(frame)
        rows.append(row)
        contents.append(content)
    whole = pd.concat(frames, ignore_index=True)
    header = frozenset(whole.columns)
    number = np.repeat(np.arange(len(paths), dtype=np.int32), [len(f) for f in frames])
    files = tuple(map(str, paths))
    return Table(whole, files, number, np.concatenate(rows), (header,) * len(files), repairs), digest(contents)
