"""A day of all thirty patients with type 1 diabetes, and what simglucose 0.2.11 says happens to their glucose.

`python -m tests.support.glucose_day` writes `glucose_day.csv` anew (five minutes; extra `[peers]`): glucose (mg/dL) of
every patient at the end of each half hour, integrated by simglucose itself (dopri5) from its own parameters.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from biowm.evaluate.tasks._simglucose import simglucose, trace
from biowm.worlds.patient import glucose_patients

FILE = Path(__file__).with_suffix(".csv")
MINUTES, EVERY = 24 * 60, 30
# g of carbohydrate by minute; the third is served while the second is still eaten.
MEALS = {7 * 60: 45.0, 12 * 60: 90.0, 12 * 60 + 15: 20.0, 16 * 60: 15.0, 19 * 60: 80.0}
OFF = (21 * 60, 23 * 60)  # the pump is off


def basals(i: int) -> np.ndarray:
    """The basal rate (U/h) in each minute of patient `i`."""
    minute = np.arange(MINUTES)
    return np.where((minute >= OFF[0]) & (minute < OFF[1]), 0.0, glucose_patients.basal(glucose_patients.VALUES)[i])


def carbs() -> np.ndarray:
    """What is served (g) in each minute."""
    served = np.zeros(MINUTES)
    served[list(MEALS)] = list(MEALS.values())
    return served


def boluses(i: int) -> np.ndarray:
    """Insulin (U) for each meal, by the patient's own rule, in its minute."""
    return carbs() / glucose_patients.CARB_RATIO[i]


def reference() -> np.ndarray:
    """What simglucose says: glucose (mg/dL) of each patient every half hour."""
    return np.loadtxt(FILE, delimiter=",", comments=None, usecols=range(1, MINUTES // EVERY + 1))


def ask(name: str) -> np.ndarray:
    """The same for one patient from the package, if it is installed."""
    peer = simglucose()
    if peer is None:
        raise ModuleNotFoundError("simglucose: install the extra [peers]")
    i = glucose_patients.NAMES.index(name)
    return trace(peer, name, basals(i) / 60 + boluses(i), carbs())[EVERY - 1 :: EVERY]


if __name__ == "__main__":
    with FILE.open("w") as file:
        for patient in glucose_patients.NAMES:
            print(patient, file=sys.stderr)
            print(patient, *(f"{value:.4f}" for value in ask(patient)), sep=",", file=file, flush=True)
