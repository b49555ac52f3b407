"""Where data files are: beside the study file, in a data folder, or in the user's cache."""

from __future__ import annotations

import os
import re
from pathlib import Path

from platformdirs import user_cache_path

from biowm.core.errors import BadInput


def data_roots(data: Path | str | None = None) -> tuple[Path, ...]:
    """The folders searched for data, in order: `data`, $BIOWM_DATA, the user cache."""
    named = [data, os.environ.get("BIOWM_DATA")]
    return (*(Path(n).expanduser() for n in named if n), user_cache_path("biowm") / "data")


def natural(text: str) -> list[tuple[int, int, str]]:
    """A sort key under which 'p2' comes before 'p10'."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.findall(r"\d+|\D+", text)]


def _store(path: Path) -> bool:
    """Whether a folder is a zarr store: a screen, a graph of tracks."""
    marks = ("zarr.json", ".zgroup", ".zattrs")
    return path.is_dir() and (path.suffix in (".zarr", ".geff") or any((path / m).is_file() for m in marks))


def locate(pattern: str, base: Path, data: Path | str | None = None, study: object = None) -> tuple[Path, ...]:
    """The files that a path or glob means: under `base` (the study's folder), else in the first data root with any.

    Raises BadInput, naming the folders searched and the way to point at another.
    """
    roots = (base, *data_roots(data))
    for root in roots:
        path = root / Path(pattern).expanduser()
        if path.is_file() or _store(path) or (path / "data").is_dir():  # the last: a MEDS folder
            return (path,)
        if any(mark in pattern for mark in "*?["):
            anchor = Path(path.anchor) if path.is_absolute() else Path()
            found = [p for p in anchor.glob(str(path.relative_to(anchor))) if p.is_file() or _store(p)]
            if found:
                return tuple(sorted(found, key=lambda p: natural(str(p))))
    searched = ", ".join(str(r) for r in roots)
    raise BadInput(
        f"no data file {pattern!r} (key table of {study or 'the study'}): looked in {searched}. "
        "Point --data or the variable BIOWM_DATA at the folder that holds it; "
        "`biowm data list` names the sets that `biowm data get NAME` fetches; `biowm data ingest` makes MEDS folders."
    )
