"""The cells of a fitted screen as plain data and arrays, and back: part of the artefact."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import numpy as np

from biowm.core.interval import Interval
from biowm.core.spec import spec_from_json, spec_to_json

from ..calibrate import Calibration
from .part import CellPart

Arrays = dict[str, np.ndarray]
_MODULES, _ARRAYS = ("encoder", "decoder", "pool", "escape"), ("loadings", "controls", "traits", "left")
_PLAIN = ("kind", "counted", "reproducible", "agreement")


def to_data(
    cells: CellPart, encode: Callable[[eqx.Module, str, Arrays], dict[str, Any]], arrays: Arrays
) -> dict[str, Any]:
    """Everything but the numbers of arrays, which go to `arrays` under names that start with cells/."""
    for name in _ARRAYS:
        arrays[f"cells/{name}"] = np.asarray(getattr(cells, name), order="C")
    trust = {f.name: getattr(cells.trust, f.name) for f in dataclasses.fields(cells.trust) if f.name != "scale"}
    for name in ("pointwise", "joint"):
        arrays[f"cells/trust/{name}"] = np.asarray(trust.pop(name), order="C")
    return {
        "spec": spec_to_json(cells.spec),
        **{name: getattr(cells, name) for name in _PLAIN},
        **{name: encode(getattr(cells, name), f"cells/{name}", arrays) for name in _MODULES},
        "trust": trust,
        "scale": encode(cells.trust.scale, "cells/scale", arrays),
        "replicate": dataclasses.asdict(cells.replicate),
        "gain": None if cells.gain is None else dataclasses.asdict(cells.gain),
    }


def from_data(data: dict[str, Any], decode: Callable[[dict[str, Any]], Any], arrays: Arrays) -> CellPart:
    """The inverse of `to_data`."""
    told = data["trust"]
    trust = Calibration(
        level=told["level"], subjects=told["subjects"], reach=tuple(told["reach"]), leads=tuple(told["leads"]),
        pointwise=arrays["cells/trust/pointwise"], joint=arrays["cells/trust/joint"], scale=decode(data["scale"]),
    )  # fmt: skip
    modules: dict[str, Any] = {name: decode(data[name]) for name in _MODULES}
    modules |= {name: arrays[f"cells/{name}"] for name in _ARRAYS}
    gain = None if data["gain"] is None else Interval(**data["gain"])
    return CellPart(
        spec=spec_from_json(data["spec"]), kind=data["kind"], counted=data["counted"],
        reproducible=data["reproducible"], agreement=tuple(data["agreement"]), gain=gain, trust=trust,
        replicate=Interval(**data["replicate"]),
        **modules,
    )  # fmt: skip
