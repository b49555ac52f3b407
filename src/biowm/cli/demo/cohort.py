"""A simulated cohort written down as a stranger would have it (a table and a study file), and the truth about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path as File

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import yaml
from jaxtyping import Float

from biowm.core.path import Path, take
from biowm.core.schedule import Entry, Schedule, entries, schedule
from biowm.worlds.patient.cohort import cohort, truth
from biowm.worlds.patient.tumour import SPEC

PATIENTS, DAYS, SCAN, GAMMA = 250, 61, 5, 2.0
STUDY = {
    "study": "tumour",
    "table": "cohort.csv",
    "subject": "patient",
    "time": {"column": "day", "unit": "d"},
    "channels": {"volume": {"unit": "cm^3", "link": "log", "low": 0, "high": 1151, "floor": 0.001}},
    "actions": {"chemo": {"kind": "switch"}, "radio": {"kind": "switch"}},
    "traits": {"type": {"kind": "category"}},
    "assignment": {"kind": "observed", "given": ["volume"]},
}


@dataclass(frozen=True)
class Simulated:
    """The cohort as simulated: stacked paths, and the key that gives every patient's truth."""

    key: jax.Array
    paths: Path

    def outcome(self, patient: str, now: float, plan: Sequence[Entry], times: Float[np.ndarray, " t"]) -> np.ndarray:
        """The true volumes (cm3) of a patient at `times` (days after `now`), had `plan` been given from `now` on.

        Until `now` the patient is treated as it was. Every day's chance is the one of the patient's own path.
        """
        row = int(patient[1:])
        past = [e._replace(stop=min(e.stop, now)) for e in entries(take(self.paths.plan, row)) if e.onset < now]
        plans = stack_plans([*past, *plan])
        daily = np.asarray(truth(self.key, jnp.array([row]), plans, DAYS))[0]
        return np.interp(now + times, np.arange(DAYS), daily)[:, None]


def stack_plans(rows: Sequence[Entry]) -> Schedule:
    """One schedule with a leading axis, padded to one size for all so that the simulator is compiled once."""
    return jax.tree.map(lambda leaf: leaf[None], schedule(rows, size=64))


def simulate_cohort(seed: int) -> Simulated:
    """Patients whose doctors treat large tumours more often: what was given and what followed are confounded."""
    key = jax.random.key(seed)
    return Simulated(key, cohort(key, PATIENTS, GAMMA, DAYS))


def write_study(simulated: Simulated, folder: File) -> File:
    """Write cohort.csv (a row a day; a scan every fifth day) and study.yaml; returns the study file."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = [_patient(simulated.paths, row) for row in range(PATIENTS)]
    pd.concat(frames).to_csv(folder / "cohort.csv", index=False)
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    return file


def _patient(paths: Path, row: int) -> pd.DataFrame:
    """One patient's rows until the last day of life or follow-up."""
    volume = paths.x[row, :, 0]
    last = int(np.flatnonzero(np.isfinite(volume))[-1])
    day = np.arange(last + 1)
    scanned = (day % SCAN == 0) | (day == last)
    given = {card.name: np.zeros(last + 1, int) for card in SPEC.actions}
    for e in entries(take(paths.plan, row)):
        given[SPEC.actions[e.card].name][(day >= e.onset) & (day < e.stop)] = 1
    return pd.DataFrame(
        {
            "patient": f"P{row:03d}",
            "day": day,
            "volume": np.where(scanned, volume[: last + 1], np.nan),
            **given,
            "type": int(np.argmax(paths.traits[row])) + 1,
        }
    )
