"""Images of one object in time (t, c, y, x): OME-Zarr, TIFF or a folder of numbered TIFF files, frame by frame.

A frame that is not there is never taken for an empty one. OME-NGFF 0.4 and 0.5: https://ngff.openmicroscopy.org.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float

from biowm.core import units
from biowm.core.errors import BadInput

from .faults import fault

_TIFF = (".tif", ".tiff")
_LENGTH, _TIME = "um", "h"


@dataclass(frozen=True)
class Stack:
    """Frames of one object: `times` in `clock`, names of `channels`, edge of a pixel in um (None: not said).

    `frame(i)` reads the i-th as float32 [c, y, x].
    """

    file: str
    times: Float[np.ndarray, " t"]
    clock: str
    channels: tuple[str, ...]
    size: tuple[int, int]
    pixel: float | None
    frame: Callable[[int], Float[np.ndarray, "c y x"]]

    def all(self) -> Float[np.ndarray, "t c y x"]:
        """Every frame, in memory."""
        return np.stack([self.frame(i) for i in range(len(self.times))])


def read_stack(
    file: str | Path, *, times: Sequence[float] | None = None, clock: str = _TIME,
    channels: Sequence[str] | None = None,
) -> Stack:  # fmt: skip
    """Open a stack of images; `times` (in `clock`) and names of `channels` where the file does not say them.

    Raises: BadInput where the file is no such stack, a frame is missing or of another size, the times are not told or
    do not grow, or a name or unit is not as expected.
    """
    path = Path(file)
    if not path.exists():
        raise fault("no such file", "an OME-Zarr folder, a TIFF file or a folder of numbered TIFF files", file=path)
    if path.is_dir():
        made = _zarr(path, clock) if _is_zarr(path) else _numbered(path)
    elif path.suffix.lower() in _TIFF:
        made = _tiff(path, clock)
    else:
        raise fault(f"a file ending in {path.suffix!r}", ".zarr, .tif, .tiff or a folder of them", file=path)
    names = made.channels if channels is None else tuple(channels)
    if len(names) != made.count:
        raise fault(f"{made.count} channels", f"{len(names)}: {', '.join(names)}", file=path)
    when = made.times if times is None else np.asarray(times, np.float64)
    if when is None:
        raise fault(f"{made.frames} frames without their times", "times of the frames, or a time step", file=path)
    if len(when) != made.frames:
        raise fault(f"{made.frames} frames", f"{len(when)}, one for each time", file=path)
    stuck = next((i + 1 for i, (a, b) in enumerate(pairwise(when)) if not a < b), None)
    if stuck is not None:
        raise fault(
            f"time {when[stuck]:g} after {when[stuck - 1]:g}", "times that grow", file=path, row=f"frame {stuck}"
        )
    return Stack(str(path), when, clock, names, made.size, made.pixel, made.frame)


@dataclass(frozen=True)
class _Made:
    """What a file holds, before names and times are checked."""

    frames: int
    count: int
    size: tuple[int, int]
    channels: tuple[str, ...]
    times: np.ndarray | None
    pixel: float | None
    frame: Callable[[int], np.ndarray]


def _is_zarr(path: Path) -> bool:
    return any((path / name).exists() for name in ("zarr.json", ".zgroup", ".zattrs", ".zarray"))


def _zarr(path: Path, clock: str) -> _Made:
    """The largest image of an OME-Zarr folder."""
    import zarr

    try:
        group = zarr.open_group(str(path), mode="r")
    except Exception as error:  # of many kinds, by what is broken
        raise fault(f"no zarr group ({type(error).__name__})", "an OME-Zarr image", file=path) from error
    attrs: Mapping[str, Any] = dict(group.attrs)
    meta = attrs.get("ome", attrs)
    if not meta.get("multiscales"):
        raise fault("no multiscales", "the metadata of an OME-Zarr image (OME-NGFF 0.4 or 0.5)", file=path)
    image = meta["multiscales"][0]
    axes = [a if isinstance(a, dict) else {"name": a} for a in image["axes"]]
    level = image["datasets"][0]
    names = "".join(a["name"] if len(a["name"]) == 1 else "?" for a in axes)
    array = group.get(level["path"])
    if not isinstance(array, zarr.Array):
        raise fault(f"no array {level['path']!r}", "the array that its metadata name", file=path)
    order = _order(names, array.shape, path)
    steps = [1.0] * len(axes)
    for part in (*level.get("coordinateTransformations", ()), *image.get("coordinateTransformations", ())):
        if part.get("type") == "scale":
            steps = [a * float(b) for a, b in zip(steps, part["scale"], strict=True)]
    length = array.shape[order["t"]] if "t" in order else 1
    _all_there(array, order, path)

    def frame(i: int) -> np.ndarray:
        index = tuple(i if n == "t" else slice(None) if n in "cyx" else 0 for n in names)
        kept = [n for n in names if n in "cyx"]
        return _as_cyx(np.asarray(array[index]), kept)

    times = None
    if "t" in order:
        said = axes[order["t"]].get("unit")
        times = np.arange(length) * steps[order["t"]] * (_factor(said, clock, path, "axis t") if said else 1.0)
        if not said and steps[order["t"]] == 1.0 and length > 1:
            times = None
    told = dict(attrs.get("biowm", {}))
    if "times" in told:
        times = np.asarray(told["times"], np.float64) * _factor(told["clock"], clock, path, "biowm/clock")
    width = axes[order["x"]].get("unit")
    pixel = steps[order["x"]] * _factor(width, _LENGTH, path, "axis x") if width else None
    count = array.shape[order["c"]] if "c" in order else 1
    labels = [c.get("label", f"channel {k}") for k, c in enumerate(meta.get("omero", {}).get("channels", ()))]
    names_of = tuple(labels) if len(labels) == count else tuple(f"channel {k}" for k in range(count))
    return _Made(length, count, (array.shape[order["y"]], array.shape[order["x"]]), names_of, times, pixel, frame)


def _all_there(array: Any, order: Mapping[str, int], path: Path) -> None:
    """Every frame has been written: one without a single chunk is missing, whatever it would be filled with."""
    if array.nchunks_initialized == array.nchunks or "t" not in order:
        return
    from zarr.core.sync import sync

    grid = [math.ceil(n / c) for n, c in zip(array.shape, array.chunks, strict=True)]
    at = order["t"]
    for t in range(grid[at]):
        one = [range(n) if k != at else (t,) for k, n in enumerate(grid)]
        keys = (array.metadata.encode_chunk_key(tuple(c)) for c in np.array(np.meshgrid(*one)).reshape(len(grid), -1).T)
        found = (sync(array.store.exists(f"{array.path}/{key}".lstrip("/"))) for key in keys)
        if not any(found):
            raise fault(
                "no chunk: it was never written", "every frame (an empty one is written as zeros)", file=path,
                row=f"frame {t * array.chunks[at]}",
            )  # fmt: skip


def _tiff(path: Path, clock: str) -> _Made:
    """One TIFF file, by the axes it names (OME-TIFF, ImageJ) or, of three dimensions, in time."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as opened:
            series = opened.series[0]
            axes, shape = series.axes.lower(), series.shape
            lost = next((k for k, page in enumerate(series.pages) if page is None), None)
            stated, info, ome = len(series.pages), opened.imagej_metadata or {}, opened.ome_metadata
            pages = len(opened.pages)
    except (tifffile.TiffFileError, IndexError, OSError, ValueError) as error:
        raise fault(f"no TIFF that can be read ({error})", "a whole TIFF file", file=path) from error
    for (
        unnamed
    ) in "iqz":  # a sequence of pages that nobody named, or depth of one file: in time where there is no other
        if "t" not in axes and axes.count(unnamed) == 1 and shape[axes.index(unnamed)] > 1:
            axes = axes.replace(unnamed, "t")
    axes = axes.replace("s", "c") if "c" not in axes else axes
    order = _order(axes, shape, path)
    sized = _ome_sizes(ome) if ome else {}
    frames, count = (shape[order[n]] if n in order else 1 for n in "tc")
    wanted = sized.get("T", frames) * sized.get("C", count)
    if lost is not None or frames * count < wanted or (stated > pages and len(axes) > 2):
        where = (lost if lost is not None else min(pages, frames * count)) // max(count, 1)
        raise fault("missing", f"{wanted // max(count, 1)} frames", file=path, row=f"frame {where}")
    step = info.get("finterval")
    times = None if step is None else np.arange(frames) * float(step) * _factor("s", clock, path, "finterval")
    if "TimeIncrement" in sized:
        unit = sized.get("TimeIncrementUnit", "s")
        times = np.arange(frames) * sized["TimeIncrement"] * _factor(unit, clock, path, "TimeIncrement")
    pixel = sized.get("PhysicalSizeX")
    if pixel is not None:
        pixel = pixel * _factor(sized.get("PhysicalSizeXUnit", "um"), _LENGTH, path, "PhysicalSizeX")
    whole = tifffile.memmap(path, mode="r") if _plain(path) else tifffile.imread(path)
    whole = whole.reshape(shape)

    def frame(i: int) -> np.ndarray:
        index = tuple(i if n == "t" else slice(None) if n in "cyx" else 0 for n in axes)
        return _as_cyx(np.asarray(whole[index]), [n for n in axes if n in "cyx"])

    names = tuple(sized.get("names", ())) or tuple(f"channel {k}" for k in range(count))
    size = (shape[order["y"]], shape[order["x"]])
    return _Made(frames, count, size, names if len(names) == count else tuple(f"channel {k}" for k in range(count)),
                 times, pixel, frame)  # fmt: skip


def _numbered(path: Path) -> _Made:
    """A folder of TIFF files, one frame each, by the last number in their names."""
    import tifffile

    files = [f for f in sorted(path.iterdir()) if f.suffix.lower() in _TIFF]
    found: dict[int, Path] = {}
    for file in files:
        digits = re.findall(r"\d+", file.stem)
        if not digits:
            raise fault("no number in its name", "frames named by their number", file=file)
        if int(digits[-1]) in found:
            raise fault(f"a second frame {int(digits[-1])}", f"one ({found[int(digits[-1])].name})", file=file)
        found[int(digits[-1])] = file
    if not found:
        raise fault("no TIFF file", "an OME-Zarr image, or numbered TIFF files", file=path)
    numbers = sorted(found)
    gap = next((n for n in range(numbers[0], numbers[-1]) if n not in found), None)
    if gap is not None:
        raise fault(
            "missing", f"a file for every frame from {numbers[0]} to {numbers[-1]}", file=path, row=f"frame {gap}"
        )

    def frame(i: int) -> np.ndarray:
        read = np.asarray(tifffile.imread(found[numbers[i]]))
        if read.shape != first:
            raise fault(f"{read.shape}", f"{first}, as the first frame", file=found[numbers[i]])
        return _as_cyx(read, names)

    first = tuple(tifffile.imread(found[numbers[0]]).shape)
    names = ["y", "x"] if len(first) == 2 else ["c", "y", "x"]
    if len(first) not in (2, 3):
        raise fault(f"{len(first)} dimensions", "y, x or c, y, x", file=found[numbers[0]])
    count = first[0] if len(first) == 3 else 1
    channels = tuple(f"channel {k}" for k in range(count))
    return _Made(len(numbers), count, (first[-2], first[-1]), channels, None, None, frame)


def _order(names: str, shape: Sequence[int], path: Path) -> dict[str, int]:
    """Where each axis is; BadInput where there is one too many, or no image."""
    order = {n: k for k, n in enumerate(names)}
    odd = [n for n in names if n not in "tcyx" and shape[order[n]] != 1]
    if odd or not {"y", "x"} <= set(order) or len(order) < len(names):
        found = f"axes {', '.join(f'{n} ({shape[k]})' for k, n in enumerate(names))}"
        raise fault(found, "t, c, y, x (z of length 1)", file=path)
    return order


def _as_cyx(read: np.ndarray, names: Sequence[str]) -> Float[np.ndarray, "c y x"]:
    """Channels first, as float32."""
    if "c" not in names:
        read, names = read[None], ["c", *names]
    return np.ascontiguousarray(np.moveaxis(read, [names.index(n) for n in "cyx"], [0, 1, 2]), np.float32)


def _factor(unit: str, wanted: str, path: Path, column: str) -> float:
    try:
        return units.factor(unit, wanted)
    except units.UnitError as error:
        raise fault(str(error), f"a unit of {wanted}", file=path, column=column) from None


def _plain(path: Path) -> bool:
    """Whether the pixels lie in one piece, uncompressed, so that a frame is read without the others."""
    import tifffile

    with tifffile.TiffFile(path) as opened:
        return bool(opened.series[0].dataoffset) and bool(opened.pages[0].is_memmappable)


def _ome_sizes(text: str) -> dict[str, Any]:
    """Sizes, step and pixel of the first image in OME-XML."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise BadInput(f"OME-XML that cannot be read: {error}") from error
    pixels = next((e for e in root.iter() if e.tag.endswith("}Pixels") or e.tag == "Pixels"), None)
    if pixels is None:
        return {}
    found: dict[str, Any] = {n: int(pixels.get(f"Size{n}", 1)) for n in "TC"}
    for name in ("TimeIncrement", "PhysicalSizeX"):
        if pixels.get(name) is not None:
            found[name] = float(pixels.get(name, "nan"))
            found[f"{name}Unit"] = (pixels.get(f"{name}Unit") or {"T": "s", "P": "um"}[name[0]]).replace("µ", "u")
    names = [e.get("Name") for e in pixels if e.tag.endswith("Channel")]
    return found | ({"names": names} if names and all(names) else {})
