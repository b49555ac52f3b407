"""Trials of a drug whose parameters are known, as the NONMEM tables that a site would send.

Amounts move by the matrix exponential of the equations, not by the formulas of `core/mechanisms/pharmacokinetics.py`.
Half of the subjects of a trial into the vein get infusions (RATE), all get more doses (ADDL, II); sampling times are
each subject's own, and levels below the limit of quantification are flagged (CENS).
"""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
import pandas as pd
from scipy.linalg import expm

from biowm.core import registry
from biowm.core.mechanism import parameters
from biowm.core.mechanism_units import Declared, wire
from biowm.core.path import Path, stack
from biowm.data.study import from_frame
from biowm.models.candidate import material
from biowm.models.trunks.mechanism import Mechanistic
from biowm.models.trunks.mechanism_climb import Free, at
from biowm.models.trunks.mechanism_start import blank

LIMIT = 1.0  # mg/L


@dataclass(frozen=True)
class Drug:
    """What is true of a drug: typical values, variances of the logarithm between subjects, sd of log readings."""

    mechanism: str
    truth: dict[str, float]
    variance: dict[str, float]
    noise: float = 0.15

    @property
    def oral(self) -> bool:
        return "absorption" in self.truth

    @property
    def study(self) -> dict:
        """How its tables are read."""
        actions = {"dose": {"unit": "mg", "kind": "bolus"}}
        if not self.oral:
            actions["infusion"] = {"unit": "mg/h", "kind": "rate"}
        return {
            "study": self.mechanism,
            "format": "nonmem",
            "subject": "ID",
            "time": {"column": "TIME", "unit": "h"},
            "horizons": ["4 h", "12 h"],
            "channels": {"concentration": {"unit": "mg/L", "link": "log", "low": 0, "lloq": LIMIT}},
            "actions": actions,
            "mechanism": self.mechanism,
        }


_TWO = {"exchange": 4.0, "tissue_volume": 50.0}
_BOTH = {"clearance": 0.09, "volume": 0.0625}
DRUGS = {
    d.mechanism: d
    for d in (
        Drug("one-compartment-naive", {"clearance": 3.0, "volume": 30.0}, _BOTH),
        Drug("two-compartment-naive", {"clearance": 4.0, "volume": 20.0, **_TWO}, _BOTH),
        Drug(
            "one-compartment-oral",
            {"absorption": 1.2, "clearance": 3.0, "volume": 30.0},
            {"absorption": 0.16, **_BOTH},
        ),
        Drug(
            "two-compartment-oral",
            {"absorption": 1.2, "clearance": 4.0, "volume": 20.0, **_TWO},
            {"absorption": 0.16, **_BOTH},
        ),
    )
}


def trial(drug: Drug, n: int = 50, readings: int = 10, seed: int = 0) -> pd.DataFrame:
    """`n` subjects: 300 mg at 0 h (some over 2 h) and every 12 h for two days, each read at times of its own."""
    rng, shifts = np.random.default_rng(seed), effects(drug, n, seed)
    rows = []
    for i in range(n):
        own = drug.truth | {k: drug.truth[k] * np.exp(by) for k, by in zip(drug.variance, shifts[i], strict=True)}
        infused = not drug.oral and i % 2 == 0
        rows.append((i, 0.0, np.nan, 300.0, 150.0 if infused else 0.0, 1, 0, 4, 12.0))
        early = np.exp(rng.uniform(np.log(0.2), np.log(12.0), readings - readings // 2))
        t = np.sort(np.concatenate([early, rng.uniform(12.0, 72.0, readings // 2)]))
        for when, level in zip(t, _levels(own, t, infused), strict=True):
            seen = level * np.exp(drug.noise * rng.normal())
            rows.append((i, when, max(seen, LIMIT), np.nan, np.nan, 0, int(seen < LIMIT), np.nan, np.nan))
    return pd.DataFrame(rows, columns=pd.Index(["ID", "TIME", "DV", "AMT", "RATE", "EVID", "CENS", "ADDL", "II"]))


def effects(drug: Drug, n: int = 50, seed: int = 0) -> np.ndarray:
    """By how much the logarithm of each subject's parameters (those that vary) is off the typical value."""
    return np.random.default_rng([seed, 1]).normal(size=(n, len(drug.variance))) * np.sqrt(list(drug.variance.values()))


def _levels(own: dict[str, float], times: np.ndarray, infused: bool) -> np.ndarray:
    """Concentrations at sorted times: five doses, or five infusions of 2 h."""
    ka, out = own.get("absorption", 0.0), own.get("exchange", 0.0) / own["volume"]
    back = own["exchange"] / own["tissue_volume"] if out else 0.0
    A = np.zeros((4, 4))  # depot, blood, tissue, and a constant rate
    A[0, 0] = -ka
    A[1] = [ka, -own["clearance"] / own["volume"] - out, back, 1.0]
    A[2, 1:3] = out, -back
    events = [(12.0 * k, "on") for k in range(5)] + [(12.0 * k + 2, "off") for k in range(5)]
    events += [(t, i) for i, t in enumerate(times)]
    state, now, found = np.zeros(4), 0.0, np.empty(len(times))
    for t, what in sorted(events, key=lambda e: (e[0], isinstance(e[1], str))):
        state, now = expm(A * (t - now)) @ state, t
        if isinstance(what, int):
            found[what] = state[1] / own["volume"]
        elif infused:
            state[3] = 150.0 if what == "on" else 0.0
        elif what == "on":
            state[0 if ka else 1] += 300.0
    return found


def untaught(drug: Drug, n: int = 50, seed: int = 0) -> tuple[Mechanistic, Path]:
    """The drug's equations as they are declared, and the paths of a trial."""
    study = from_frame(trial(drug, n, seed=seed), drug.study)
    paths, mechanism = stack(study.paths), registry.get("mechanisms", drug.mechanism)()
    frame = material(study.spec, paths, 4.0, 12.0).frame
    return blank(study.spec, frame, paths, mechanism, wire(Declared(mechanism), study.spec)), paths


def true_world(drug: Drug, n: int = 50, seed: int = 0) -> tuple[Mechanistic, Path]:
    """The population that a trial was simulated from, and its paths."""
    world, paths = untaught(drug, n, seed)
    declared = parameters(world.mechanism)
    theta = jnp.stack([p.free(drug.truth[name]) for name, p in declared.items()])
    sd = jnp.sqrt(jnp.asarray([drug.variance[name] for name in declared if name in drug.variance]))
    noise = drug.noise / world.frame.scale.sd
    return at(world, Free(theta, jnp.log(sd), jnp.log(world.drift), jnp.log(noise))), paths
