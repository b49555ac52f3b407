"""A trial of a drug by mouth whose parameters are known, as the NONMEM table that a site would send."""

from __future__ import annotations

import numpy as np
import pandas as pd

STUDY = {
    "study": "oral",
    "format": "nonmem",
    "subject": "ID",
    "time": {"column": "TIME", "unit": "h"},
    "horizons": ["4 h", "12 h"],
    "channels": {"concentration": {"unit": "mg/L", "link": "log", "low": 0, "floor": 0.01}},
    "actions": {"dose": {"unit": "mg", "kind": "bolus"}},
    "mechanism": "one-compartment-oral",
}
TRUTH = {"absorption": 1.5, "clearance": 3.0, "volume": 30.0}
VARIANCE = {"absorption": 0.16, "clearance": 0.09, "volume": 0.04}  # of the logarithm
NOISE = 0.1  # of the logarithm
TIMES = (0.25, 0.5, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0, 24.0, 25.0, 28.0, 36.0)


def trial(n: int = 60, seed: int = 0) -> pd.DataFrame:
    """`n` subjects, 300 mg at 0 h and at 24 h (an additional dose), read at most times: amounts in closed form."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        ka, cl, v = (TRUTH[name] * np.exp(np.sqrt(VARIANCE[name]) * rng.normal()) for name in TRUTH)
        rows.append((i, 0.0, np.nan, 300.0, 1, 24.0))
        for t in sorted(rng.choice(TIMES, 9, replace=False)):
            since = [t - given for given in (0.0, 24.0) if t > given]
            level = sum(300 * ka / (v * ka - cl) * (np.exp(-cl / v * s) - np.exp(-ka * s)) for s in since)
            rows.append((i, t, level * np.exp(NOISE * rng.normal()), np.nan, np.nan, np.nan))
    return pd.DataFrame(rows, columns=pd.Index(["ID", "TIME", "DV", "AMT", "ADDL", "II"]))
