"""The patient of the package simglucose, to compare with: its traces, and how long they take (extra `[peers]`)."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from types import ModuleType

import numpy as np
from jaxtyping import Float


def simglucose() -> ModuleType | None:
    """Its module of patients; None where the package (or the setuptools that it needs) is not installed.

    The package as a whole imports a gym that no longer works, so that its own first file is left out.
    """
    spec = importlib.util.find_spec("simglucose")
    if spec is None or importlib.util.find_spec("pkg_resources") is None:
        return None
    sys.modules.setdefault("simglucose", importlib.util.module_from_spec(spec))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pkg_resources is on its way out
        return importlib.import_module("simglucose.patient.t1dpatient")


def trace(
    peer: ModuleType, name: str, insulin: Float[np.ndarray, " t"], carbs: Float[np.ndarray, " t"]
) -> Float[np.ndarray, " t"]:
    """Glucose (mg/dL) of a patient after each minute, given insulin (U) and served carbohydrate (g) in that minute."""
    patient, found = peer.T1DPatient.withName(name), []
    for units, grams in zip(insulin, carbs, strict=True):
        patient.step(peer.Action(insulin=float(units), CHO=float(grams)))
        found.append(float(patient.observation.Gsub))
    return np.array(found)
