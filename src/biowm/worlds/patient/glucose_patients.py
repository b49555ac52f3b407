"""The thirty published virtual patients with type 1 diabetes: ten adolescents, ten adults, ten children.

Source: Kovatchev et al. 2009, doi:10.1177/193229680900300106 (the patients that come with the UVA/Padova simulator of
2008), as distributed with simglucose 0.2.11 by Jinyu Xie (https://github.com/jxx123/simglucose; MIT licence, copied
beside this file as `glucose_patients.LICENSE`). `glucose_patients.csv` holds its tables `vpatient_params.csv`, without
the columns that the equations do not use, and `Quest.csv` (CR and CF), number for number.
"""

from __future__ import annotations

import csv
from importlib import resources
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float

from biowm.core.arrays import AnyArray

GROUPS = ("adolescent", "adult", "child")


class Parameters(NamedTuple):
    """What one patient is, by the names of the papers; also the columns of the table, in their order."""

    BW: Array  # kg, body weight
    kabs: Array  # 1/min, from the gut into the blood
    kmax: Array  # 1/min, emptying of the stomach: fastest,
    kmin: Array  # 1/min, slowest,
    b: Array  # and the shares of a meal at which it is halfway between them, falling
    d: Array  # and rising again
    f: Array  # share of the carbohydrate that reaches the blood
    Vg: Array  # dL/kg, volume of glucose
    Vi: Array  # L/kg, volume of insulin
    Ib: Array  # pmol/L, insulin in the blood at the basal rate
    Km0: Array  # mg/kg, half-saturation of glucose uptake
    Vm0: Array  # mg/kg/min, most glucose uptake at the basal rate,
    Vmx: Array  # mg/kg/min per pmol/L, and what insulin adds to it
    k1: Array  # 1/min, glucose from blood to tissue
    k2: Array  # 1/min, and back
    p2u: Array  # 1/min, delay of insulin's effect on uptake
    m1: Array  # 1/min, insulin from liver to blood
    m2: Array  # 1/min, and back
    m4: Array  # 1/min, insulin cleared from the blood
    m30: Array  # 1/min, insulin cleared by the liver
    ki: Array  # 1/min, delay of insulin's effect on production (twice)
    kp1: Array  # mg/kg/min, glucose production at no glucose and no insulin,
    kp2: Array  # 1/min, less per glucose,
    kp3: Array  # mg/kg/min per pmol/L, less per insulin
    ke1: Array  # 1/min, excretion by the kidney
    ke2: Array  # mg/kg, of glucose above this
    Fsnc: Array  # mg/kg/min, uptake by brain and red cells
    kd: Array  # 1/min, insulin under the skin: falls apart into monomers
    ka1: Array  # 1/min, into the blood as dimers and hexamers,
    ka2: Array  # 1/min, as monomers
    ksc: Array  # 1/min, delay of glucose under the skin
    Gpb: Array  # mg/kg, glucose in the blood at the basal rate,
    Gtb: Array  # mg/kg, in tissue
    Ipb: Array  # pmol/kg, insulin in the blood,
    Ilb: Array  # pmol/kg, in the liver
    isc1ss: Array  # pmol/kg, under the skin
    isc2ss: Array  # pmol/kg, as monomers
    u2ss: Array  # pmol/kg/min, the basal rate


def value(own: Float[AnyArray, "*b p"], name: str) -> Float[AnyArray, "*b"]:
    """One parameter by its name, from the values of all along the last axis."""
    return own[..., Parameters._fields.index(name)]


def _table() -> tuple[tuple[str, ...], Float[np.ndarray, "30 p"], Float[np.ndarray, "30 2"]]:
    text = resources.files("biowm.worlds.patient").joinpath("glucose_patients.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))

    def columns(names: tuple[str, ...]) -> np.ndarray:
        return np.array([[float(row[name]) for name in names] for row in rows])

    return tuple(row["Name"] for row in rows), columns(Parameters._fields), columns(("CR", "CF"))


NAMES, VALUES, _RULES = _table()  # adolescent#001 to child#010, and the values of each
CARB_RATIO = _RULES[:, 0]  # g of carbohydrate that 1 U of insulin covers: the patient's own rule of thumb
CORRECTION = _RULES[:, 1]  # mg/dL by which 1 U of insulin lowers glucose: another
GROUP = np.array([[name.startswith(group) for group in GROUPS] for name in NAMES], np.float32)  # [30, 3], one-hot


def basal(own: Float[AnyArray, "*b p"]) -> Float[AnyArray, "*b"]:
    """The rate (U/h) of insulin that keeps a patient's glucose where it is between meals."""
    return value(own, "u2ss") * value(own, "BW") / 100  # 6,000 pmol are 1 U
