"""Artefacts: a fitted world as a folder of JSON and safetensors, written atomically, read back only if unaltered.

`world.json` holds the structure of every model (classes by registered name, never code) and the hashes of the
other files, and its own. Nothing is ever unpickled.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path as File
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from biowm.core import registry
from biowm.core.errors import BadInput, place
from biowm.core.interval import Row
from biowm.core.mechanism import Mechanism
from biowm.core.mechanism_units import Factors, Wiring
from biowm.core.path import Path
from biowm.core.record import Record, digest, record_from_json, versions
from biowm.core.schedule import Schedule
from biowm.core.spec import WorldSpec, spec_from_json, spec_to_json
from biowm.core.world import World
from biowm.models.blend import blend
from biowm.models.scale import Scale
from biowm.models.tracker import Frame

from .calibrate import Calibration
from .cells.saved import from_data, to_data
from .envelope import Envelope
from .fitted import Cohort, Fitted
from .horizons import Horizons
from .race import Race, RaceRow
from .stages import write_atomic

FORMAT = 6
UNNAMED = '@register("mechanisms", "a-name") above its class: an artefact holds names, never code'
_PARTS: dict[str, type[eqx.Module]] = {"Frame": Frame, "Scale": Scale, "Wiring": Wiring, "Factors": Factors}
_NAMES = {"weights": "weights.safetensors", "calibration": "calibration.json", "metrics": "metrics.json"}
_HISTORIES, _RECORD = "histories.safetensors", "record.json"
Arrays = dict[str, np.ndarray]


def save_fitted(fitted: Fitted, folder: File, *, keep_data: bool = True) -> None:
    """Write a fitted world to `folder`; `world.json` is written last, so that a crash leaves no half artefact.

    `keep_data` False leaves the subjects' histories out (their metrics and calibration stay).
    """
    arrays: Arrays = {}
    body: dict[str, Any] = {
        "format": FORMAT,
        "versions": versions(),
        "spec": spec_to_json(fitted.spec),
        "horizons": dataclasses.asdict(fitted.horizons),
        "study": fitted.study,
        "race": dataclasses.asdict(fitted.race),
        "members": {name: _encode(world, f"members/{name}", arrays) for name, world in fitted.members.items()},
        "halves": [
            {name: _encode(world, f"halves/{i}/{name}", arrays) for name, world in half.items()}
            for i, half in enumerate(fitted.half_members)
        ],
        "envelope": _encode_fields(fitted.envelope, "envelope", arrays),
    }
    if fitted.cells is not None:
        body["cells"] = to_data(fitted.cells, _encode, arrays)
    files = {
        _NAMES["weights"]: save(arrays),
        _NAMES["calibration"]: _json(_calibrations(fitted)),
        _NAMES["metrics"]: _json({"rows": [r.to_json() for r in fitted.rows]}),
        _RECORD: _json(fitted.record.to_json()),
    }
    if fitted.cohort is not None and keep_data:
        c = fitted.cohort
        body["cohort"] = {"subjects": c.subjects, "split": c.split, "starts": c.starts, "groups": dict(c.groups)}
        files[_HISTORIES] = save(_path_arrays(c.paths))
    else:
        (folder / _HISTORIES).unlink(missing_ok=True)  # those of an earlier fit in the same folder
    for name, content in files.items():
        write_atomic(folder / name, content)
    body["sha256"] = {name: digest(content) for name, content in files.items() if name != _RECORD}
    write_atomic(folder / "world.json", _json({"id": digest(body), **body}))


def load_fitted(folder: File | str) -> Fitted:
    """Read a fitted world back.

    Raises: BadInput where the folder holds no artefact, a file is missing, truncated or altered (by hash), or a
    pickle is offered in its place.
    """
    folder = File(folder)
    body = _open(folder)
    files = {name: _checked(folder, name, sha) for name, sha in body["sha256"].items()}
    record = _record(folder / _RECORD)
    try:
        arrays = load(files[_NAMES["weights"]])
        spec = spec_from_json(body["spec"])
        members = {name: _world(data, arrays, spec) for name, data in body["members"].items()}
        first, second = ({name: _world(data, arrays, spec) for name, data in half.items()} for half in body["halves"])
        race = _race(body["race"])
        calibrations = _read_calibrations(json.loads(files[_NAMES["calibration"]]), members)
        rows = tuple(Row(**r) for r in json.loads(files[_NAMES["metrics"]])["rows"])
        cohort = None
        if "cohort" in body:
            c = body["cohort"]
            paths = _path_from(load(files[_HISTORIES]))
            groups = {name: tuple(values) for name, values in c["groups"].items()}
            cohort = Cohort(tuple(c["subjects"]), paths, tuple(c["split"]), tuple(c["starts"]), groups)
        horizons = {**body["horizons"], "values": tuple(body["horizons"]["values"])}
        return Fitted(
            spec=spec,
            world=blend(spec, members, race.weights()),
            rules_free=blend(spec, members, dict(race.rules_free)),
            members=members,
            race=race,
            calibration=calibrations.pop("world"),
            rules_calibration=calibrations,
            horizons=Horizons(**horizons),
            envelope=_envelope(body["envelope"], arrays),
            half_members=(first, second),
            cohort=cohort,
            rows=rows,
            record=record,
            study=body["study"],
            cells=from_data(body["cells"], lambda data: _decode(data, arrays, spec), arrays)
            if "cells" in body
            else None,
        )
    except (KeyError, TypeError, ValueError, SafetensorError, OSError) as error:
        raise BadInput(
            place(file=folder, found=f"{type(error).__name__}: {error}", expected="a whole artefact of `biowm fit`")
        ) from error


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=1, default=_plain) + "\n").encode()


def _plain(value: Any) -> Any:
    return np.asarray(value).tolist()


def _open(folder: File) -> dict[str, Any]:
    if folder.is_file():
        head = folder.read_bytes()[:2]
        what = "a pickle" if head[:1] == b"\x80" else "a file"
        raise BadInput(
            place(file=folder, found=what, expected="the folder that `biowm fit` wrote; pickles are never read")
        )
    file = folder / "world.json"
    if not file.exists():
        raise BadInput(
            place(file=folder, found="no world.json", expected="the folder that `biowm fit STUDY.yaml --out DIR` wrote")
        )
    try:
        body = json.loads(file.read_bytes())
        claimed = body.pop("id")
        sound = digest(body) == claimed
    except (ValueError, KeyError, TypeError, AttributeError):
        sound = False
        body = {}
    if not sound:
        raise BadInput(
            place(
                file=file,
                found="a truncated or altered file (its hash does not match)",
                expected="the file as it was written",
            )
        )
    if body["format"] != FORMAT:
        raise BadInput(place(file=file, found=f"format {body['format']}", expected=f"format {FORMAT}"))
    return body


def _checked(folder: File, name: str, sha: str) -> bytes:
    file = folder / name
    if not file.exists():
        raise BadInput(
            place(file=file, found="nothing", expected=f"the file that world.json names (sha256 {sha[:12]})")
        )
    content = file.read_bytes()
    if digest(content) != sha:
        what = "a pickle" if content[:1] == b"\x80" else f"sha256 {digest(content)[:12]}"
        raise BadInput(
            place(file=file, found=what, expected=f"sha256 {sha[:12]}: the file is truncated or was altered")
        )
    return content


def _record(file: File) -> Record:
    """The record, which carries its own hash: it holds the time, which two equal fits do not share."""
    try:
        return record_from_json(json.loads(file.read_bytes()))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            place(file=file, found=f"{type(error).__name__}: {error}", expected="the record as it was written")
        ) from error


def _encode(module: eqx.Module, name: str, arrays: Arrays) -> dict[str, Any]:
    """A module as data: its registered class, and its fields."""
    kind = type(module).__name__
    if isinstance(module, Mechanism):
        name_of = registry.name_of(type(module))
        if name_of is None:
            raise BadInput(f"mechanism {kind}: found no name, expected {UNNAMED}")
        return {"mechanism": name_of, "fields": _encode_fields(module, name, arrays)}
    if _class(kind) is not type(module):
        raise TypeError(f"{kind} is not a registered model: it cannot be saved")
    return {"class": kind, "fields": _encode_fields(module, name, arrays)}


def _encode_fields(item: Any, name: str, arrays: Arrays) -> dict[str, Any]:
    return {f.name: _value(getattr(item, f.name), f"{name}/{f.name}", arrays) for f in dataclasses.fields(item)}


def _value(value: Any, name: str, arrays: Arrays) -> Any:
    if isinstance(value, WorldSpec):
        return {"spec": True}
    if isinstance(value, eqx.Module):
        return _encode(value, name, arrays)
    if isinstance(value, jax.Array | np.ndarray):
        arrays[name] = np.asarray(value, order="C")  # `ascontiguousarray` would make vectors of scalars
        return {"array": name}
    if isinstance(value, tuple):
        return {"tuple": [_value(v, f"{name}/{i}", arrays) for i, v in enumerate(value)]}
    if isinstance(value, str | int | float | bool) or value is None:
        return {"plain": value}
    raise TypeError(f"{name}: {type(value).__name__} cannot be saved")


def _decode(data: dict[str, Any], arrays: Arrays, spec: WorldSpec) -> Any:
    if "spec" in data:
        return spec
    if "mechanism" in data:
        fields = {name: _decode(v, arrays, spec) for name, v in data["fields"].items()}
        return registry.get("mechanisms", data["mechanism"])(**fields)
    if "class" in data:
        fields = {name: _decode(v, arrays, spec) for name, v in data["fields"].items()}
        return _class(data["class"])(**fields)
    if "array" in data:
        return jnp.asarray(arrays[data["array"]])
    if "tuple" in data:
        return tuple(_decode(v, arrays, spec) for v in data["tuple"])
    return data["plain"]


def _class(kind: str) -> type[eqx.Module]:
    return _PARTS[kind] if kind in _PARTS else registry.get("models", kind)


def _world(data: dict[str, Any], arrays: Arrays, spec: WorldSpec) -> World:
    world = _decode(data, arrays, spec)
    if not isinstance(world, World):
        raise TypeError(f"found a {type(world).__name__}, expected a world")
    return world


def _race(data: dict[str, Any]) -> Race:
    rows = tuple(RaceRow(**r) for r in data["rows"])
    free = tuple((name, weight) for name, weight in data["rules_free"])
    return Race(rows, data["rules_weight"], data["best_rule"], data["blend_crps"], free)


def _calibrations(fitted: Fitted) -> dict[str, Any]:
    """All calibrations as plain data; they share the scale of the members."""
    found = {"world": fitted.calibration, **fitted.rules_calibration}
    return {
        name: {f.name: getattr(c, f.name) for f in dataclasses.fields(c) if f.name != "scale"}
        for name, c in found.items()
    }


def _read_calibrations(data: dict[str, Any], members: dict[str, World]) -> dict[str, Calibration]:
    scale = members["persistence"].frame.scale  # type: ignore[attr-defined]
    return {
        name: Calibration(
            level=c["level"], subjects=c["subjects"], reach=tuple(c["reach"]), leads=tuple(c["leads"]),
            pointwise=np.array(c["pointwise"]), joint=np.array(c["joint"]), scale=scale,
        )
        for name, c in data.items()
    }  # fmt: skip


def _envelope(data: dict[str, Any], arrays: Arrays) -> Envelope:
    fields: dict[str, Any] = {n: arrays[v["array"]] if "array" in v else v["plain"] for n, v in data.items()}
    return Envelope(**fields)


def _path_arrays(paths: Path) -> Arrays:
    plan = {f"plan/{f.name}": np.asarray(getattr(paths.plan, f.name)) for f in dataclasses.fields(paths.plan)}
    rest = {name: np.asarray(getattr(paths, name)) for name in ("t", "x", "traits", "event")}
    return {name: np.asarray(a, order="C") for name, a in {**plan, **rest}.items()}


def _path_from(arrays: Arrays) -> Path:
    plan = Schedule(*(arrays[f"plan/{f.name}"] for f in dataclasses.fields(Schedule)))
    return Path(arrays["t"], arrays["x"], plan, arrays["traits"], arrays["event"])
