"""Writing MEDS 0.4: the folder, its metadata, and futures that were simulated, marked as such in every row."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from biowm.core import units
from biowm.core.futures import Futures
from biowm.core.record import versions

from .codes import Codes
from .config import StudyConfig
from .faults import fault
from .meds_folder import standard
from .meds_keys import CODE, MICROSECOND, SUBJECT, TIME, VALUE

VERSION = "0.4"
MARK = "SIMULATED"  # what the code of every simulated event begins with
_MORE = ("simulated", "source_subject_id", "draw", "arm")


def check_free(root: Path) -> None:
    """Raise BadInput where there is something already."""
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise fault("something there", "a new folder: nothing is written over", file=root)


def new_folder(root: Path) -> None:
    """Make the folders of a MEDS data set. Raises BadInput where there is something already."""
    check_free(root)
    for name in ("data", "metadata"):
        (root / name).mkdir(parents=True, exist_ok=True)


def write_metadata(
    root: Path,
    codes: Sequence[Mapping[str, Any]],
    *,
    name: str,
    licence: str | None = None,
    cite: str | None = None,
    more: Sequence[str] = (),
) -> None:
    """Write codes.parquet (rows with code, description, parent_codes) and dataset.json.

    `cite` is what to cite for the data (description_uri), `more` are the columns beyond those of the standard.
    """
    meds = standard()
    schema = meds.CodeMetadataSchema.schema()
    table = pa.Table.from_pylist([{f.name: row.get(f.name) for f in schema} for row in codes], schema=schema)
    pq.write_table(table, root / "metadata" / "codes.parquet")
    said = {
        "dataset_name": name,
        "etl_name": "biowm",
        "etl_version": versions()["biowm"],
        "meds_version": VERSION,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "license": licence,
        "description_uri": cite,
        "other_extension_columns": list(more) or None,
    }
    said = {key: value for key, value in said.items() if value is not None}
    meds.DatasetMetadataSchema.validate(said)
    (root / "metadata" / "dataset.json").write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, eq=False)
class Forecast:
    """Futures of one subject, simulated from `now` on, in the study's clock counted from 1970-01-01."""

    subject: str
    now: float
    futures: Futures


def write_futures(root: Path, study: StudyConfig, forecasts: Sequence[Forecast]) -> None:
    """Write simulated futures as a MEDS folder, and what they predict as labels under predictions/.

    Each draw is a virtual subject of its own (1, 2, ...) beside the one it continues (source_subject_id). Codes begin
    with SIMULATED//, and every row says simulated. predictions/CHANNEL@HORIZON.parquet hold the median at the horizon
    (LabelSchema, float_value). Raises BadInput where `root` holds something.
    """
    meds = standard()
    new_folder(root)
    codes: dict[str, dict[str, Any]] = {}
    first = 1
    for forecast in forecasts:
        arms = {"do": forecast.futures} | ({"against": forecast.futures.against} if forecast.futures.against else {})
        for arm, futures in arms.items():
            subjects = range(first, first + len(futures.draws))
            table = _shard(_rows(study, forecast, futures, codes), subjects, arm, int(forecast.subject))
            meds.DataSchema.validate(table)
            pq.write_table(table, root / "data" / f"{first}.parquet")
            first = subjects.stop
    _write_predictions(root / "predictions", study.time.unit, forecasts)
    use = study.use
    write_metadata(
        root, list(codes.values()), name=f"{study.study}, simulated", licence=use.licence, cite=use.cite, more=_MORE
    )


def _rows(study: StudyConfig, forecast: Forecast, futures: Futures, codes: dict[str, dict[str, Any]]) -> pd.DataFrame:
    """What happens to each draw: columns draw, us (since 1970), code, value; `codes` hears of new ones."""
    draw = np.arange(len(futures.draws))
    pieces = []
    for j in futures.spec.targets:
        channel = futures.spec.channels[j]
        code = _called(channel.name, study.channels[channel.name].code, f"{channel.name} in {channel.unit}", codes)
        value = futures.draws[:, :, j]
        index = pd.MultiIndex.from_product([draw, futures.times], names=["draw", "t"])
        pieces.append(pd.DataFrame({"code": code, "value": value.ravel()}, index=index).reset_index())
    for entry in futures.plan:
        name, dose = entry["action"], entry["dose"]
        action = study.actions[name]
        start = _called(name, action.code, f"{name} in {entry['unit']}", codes)
        marks = [(entry["onset"], start, dose)]
        if action.kind != "bolus":
            stop = _called(f"{name}//STOP", action.stop, f"end of {name}", codes)
            marks.append((entry["stop"], stop, np.nan))
        pieces += [pd.DataFrame({"draw": draw, "t": t, "code": code, "value": v}) for t, code, v in marks]
    whole = pd.concat(pieces, ignore_index=True)
    ahead = np.maximum(whole["t"].to_numpy(float), 0.0) * units.factor(study.time.unit, MICROSECOND)
    return whole.assign(us=_moment(forecast.now, study.time.unit) + np.rint(ahead).astype(np.int64))


def _called(name: str, codes: Codes, what: str, there: dict[str, dict[str, Any]]) -> str:
    """The code of simulated events: the study's own where it is one and the same thing, else the name in the study."""
    (first, unit), *more = codes.items() or [(name, None)]
    own = not more and unit is None and "*" not in first
    code = f"{MARK}//{first if own else name}"
    there[code] = {CODE: code, "description": f"simulated by BioWM: {what}", "parent_codes": list(codes) or None}
    return code


def _shard(rows: pd.DataFrame, subjects: range, arm: str, source: int) -> pa.Table:
    rows = rows.sort_values(["draw", "us"], kind="stable")
    draw = rows["draw"].to_numpy()
    return pa.table(
        {
            SUBJECT: pa.array(np.array(subjects)[draw], pa.int64()),
            TIME: pa.array(rows["us"].to_numpy(), pa.int64()).cast(pa.timestamp("us")),
            CODE: pa.array(rows["code"], pa.string()),
            VALUE: pa.array(rows["value"].to_numpy(np.float32), pa.float32(), from_pandas=True),
            "simulated": pa.array(np.ones(len(rows), bool)),
            "source_subject_id": pa.array(np.full(len(rows), source), pa.int64()),
            "draw": pa.array(draw, pa.int64()),
            "arm": pa.array([arm] * len(rows), pa.string()),
        }
    )


def _write_predictions(folder: Path, clock: str, forecasts: Sequence[Forecast]) -> None:
    """The median of each channel at the horizon, one row for each subject and prediction time."""
    labels = standard().LabelSchema
    folder.mkdir()
    first = forecasts[0].futures
    for j in first.spec.targets:
        table = pa.table(
            {
                SUBJECT: pa.array([int(f.subject) for f in forecasts], pa.int64()),
                "prediction_time": pa.array([_moment(f.now, clock) for f in forecasts], pa.int64()).cast(
                    pa.timestamp("us")
                ),
                "float_value": pa.array([float(f.futures.median[-1, j]) for f in forecasts], pa.float32()),
            }
        )
        labels.validate(table)
        pq.write_table(table, folder / f"{first.spec.channels[j].name}@{first.times[-1]:g}{clock}.parquet")


def _moment(t: float, clock: str) -> int:
    """A time of a path in microseconds since 1970, to the second: single precision knows it no better."""
    return round(t * units.factor(clock, "s")) * 1_000_000
