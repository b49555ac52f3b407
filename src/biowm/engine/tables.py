"""Tables of virtual patients: every row says that it is simulated."""

from __future__ import annotations

from pathlib import Path as File

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .trial import Trial


def patients_table(trial: Trial) -> pd.DataFrame:
    """A row a virtual patient: traits, the reading at the start of each channel, the outcome under either arm."""
    n = len(trial.outcome)
    table: dict[str, object] = {"patient": [f"V{i:05d}" for i in range(n)], "simulated": np.ones(n, bool)}
    for trait, place in zip(trial.spec.traits, trial.spec.trait_places, strict=True):
        block = trial.newcomers.traits[:, place]
        level = (
            np.where(block.any(1), np.array(trait.levels)[block.argmax(1)], "") if trait.kind == "category" else None
        )
        table[trait.name] = block[:, 0] if level is None else level
    for j, channel in enumerate(trial.spec.channels):
        table[f"{channel.name} at start"] = trial.x[:, 0, 0, j]
    for a, arm in enumerate(trial.design.arms):
        table[f"{trial.design.outcome}, {arm.name}"] = trial.outcome[:, a]
    return pd.DataFrame(table)


def readings_table(trial: Trial) -> pd.DataFrame:
    """A row a virtual patient, arm and time (the world's clock, from the start): a reading of every channel."""
    n, arms, times, _ = trial.x.shape
    patient, arm, time = (grid.ravel() for grid in np.indices((n, arms, times)))
    table = {
        "patient": np.array([f"V{i:05d}" for i in range(n)])[patient],
        "arm": np.array([a.name for a in trial.design.arms])[arm],
        f"time ({trial.spec.clock})": np.asarray(trial.times)[time],
        "simulated": np.ones(len(patient), bool),
    }
    flat = trial.x.reshape(len(patient), -1)
    return pd.DataFrame(table | {f"{c.name} ({c.unit})": flat[:, j] for j, c in enumerate(trial.spec.channels)})


def write_tables(trial: Trial, folder: File) -> tuple[File, File]:
    """Write virtual_patients.csv and virtual_readings.parquet, whose metadata says SIMULATED too; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    patients, readings = folder / "virtual_patients.csv", folder / "virtual_readings.parquet"
    patients_table(trial).to_csv(patients, index=False)
    table = pa.Table.from_pandas(readings_table(trial), preserve_index=False)
    mark = {b"biowm": b"SIMULATED", b"biowm_record": trial.record.id.encode()}
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), **mark}), readings)
    return patients, readings
