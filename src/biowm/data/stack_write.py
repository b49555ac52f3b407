"""Images written as OME-Zarr (OME-NGFF 0.5), a frame at a time: of one object, or of an ensemble of its futures.

An ensemble is an axis `member` of its own. An image may have one axis besides time and space, so that every channel of
an ensemble is an image of its own under one root (the layout of several images that bioformats2raw writes).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from biowm.core.record import Record

_NAMES = {"h": "hour", "min": "minute", "s": "second", "d": "day"}  # units as OME-NGFF spells them
_DAYS = {"month": 30.4375, "wk": 7.0}  # that it does not have


@dataclass(frozen=True)
class Frames:
    """What a file will hold: `times` in `clock`, channels, size of a frame (y, x), edge of a pixel in um, members."""

    times: Float[np.ndarray, " t"]
    clock: str
    channels: tuple[str, ...]
    size: tuple[int, int]
    pixel: float = 1.0
    members: int | None = None


class StackWriter:
    """An open OME-Zarr folder; `write(i, frame)` puts the frame of time i, [c, y, x] or [n, c, y, x] of an ensemble.

    Raises: FileExistsError where there is something already.
    """

    def __init__(self, folder: str | Path, what: Frames, record: Record | None = None) -> None:
        import zarr

        self._what, path = what, Path(folder)
        if path.exists():
            raise FileExistsError(f"{path} is there already")
        root = zarr.open_group(str(path), mode="w", zarr_format=3)
        t, (y, x) = len(what.times), what.size
        kept: dict[str, Any] = {"times": np.asarray(what.times, float).tolist(), "clock": what.clock}
        kept |= {} if record is None else {"record": record.to_json()}
        if what.members is None:
            root.attrs.update({"ome": self._image("image", "c", what.channels), "biowm": kept})
            self._arrays = [_array(root, (t, len(what.channels), y, x))]
        else:
            root.attrs.update({"ome": {"version": "0.5", "bioformats2raw.layout": 3}, "biowm": kept})
            self._arrays = []
            for k, name in enumerate(what.channels):
                group = root.create_group(str(k))
                group.attrs.update({"ome": self._image(name, "member", (name,)), "biowm": kept})
                self._arrays.append(_array(group, (t, what.members, y, x)))

    def write(self, i: int, frame: Float[np.ndarray, "*n c y x"]) -> None:
        """One frame of every channel (and member)."""
        if self._what.members is None:
            self._arrays[0][i] = np.asarray(frame, np.float32)
            return
        for k, array in enumerate(self._arrays):
            array[i] = np.asarray(frame, np.float32)[:, k]

    def _image(self, name: str, other: str, channels: Sequence[str]) -> dict[str, Any]:
        """The metadata of one image; times that are not evenly spaced are in `biowm`, their mean step here."""
        what = self._what
        unit, per = ("day", _DAYS[what.clock]) if what.clock in _DAYS else (_NAMES[what.clock], 1.0)
        step = float(np.diff(what.times).mean()) * per if len(what.times) > 1 else 1.0
        axes = [
            {"name": "t", "type": "time", "unit": unit},
            {"name": "c", "type": "channel"} if other == "c" else {"name": other, "type": "ensemble"},
            *({"name": n, "type": "space", "unit": "micrometer"} for n in "yx"),
        ]
        scale = [{"type": "scale", "scale": [step, 1.0, what.pixel, what.pixel]}]
        shown = [
            {"label": c, "color": "FFFFFF", "window": {"min": 0, "max": 1, "start": 0, "end": 1}} for c in channels
        ]
        datasets = [{"path": "0", "coordinateTransformations": scale}]
        image = {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": datasets}]}
        return image | ({"omero": {"channels": shown}} if other == "c" else {})


def write_stack(
    folder: str | Path, x: Float[np.ndarray, "*n t c y x"], what: Frames, record: Record | None = None
) -> None:
    """All frames at once: [t, c, y, x] of one object, [n, t, c, y, x] of an ensemble."""
    writer = StackWriter(folder, what, record)
    for i in range(len(what.times)):
        writer.write(i, x[..., i, :, :, :])


def _array(group: Any, shape: tuple[int, int, int, int]) -> Any:
    """One chunk a frame and channel; empty ones are written, too: what is not there is missing."""
    return group.create_array(
        "0", shape=shape, chunks=(1, 1, *shape[2:]), dtype="float32", dimension_names=None,
        config={"write_empty_chunks": True},
    )  # fmt: skip
