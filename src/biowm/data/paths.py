"""Ordered rows turned into one path a subject."""

from __future__ import annotations

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from biowm.core.path import Path
from biowm.core.schedule import Schedule

from .config import StudyConfig
from .faults import fault
from .subjects import Who
from .tables import Table


def check(readings: pd.DataFrame, table: Table, study: StudyConfig, who: Who) -> None:
    """Raise BadInput for a channel without a number and for a subject without a reading."""
    for name, channel in study.measured.items():
        if readings[name].isna().all():
            column = channel.column or name
            raise fault("no number in any row", "readings", file=table.files[0], column=column)
    read = readings[list(study.measured)].notna().any(axis=1)
    seen = np.bincount(readings["subject"][read], minlength=len(who.names)) > 0
    if not seen.all():
        subject = int(np.flatnonzero(~seen)[0])
        row = int(np.flatnonzero(who.code == subject)[0])
        found = f"subject {who.names[subject]!r} without one reading of {', '.join(study.measured)}"
        expected = "at least one reading a subject (empty: drop leaves such subjects out)"
        raise table.bad(row, "/".join(study.subject), found, expected)


def read_at(path: Path) -> Float[np.ndarray, " t"]:
    """The times at which something was read."""
    return np.asarray(path.t, float)[np.isfinite(np.asarray(path.x)).any(axis=1)]


def assemble(
    readings: pd.DataFrame,
    table: Table,
    study: StudyConfig,
    starts: Float[np.ndarray, " n"],
    plans: tuple[Schedule, ...],
    traits: Float[np.ndarray, "n s"],
    ends: Int[np.ndarray, " n"],
) -> tuple[Path, ...]:
    """The paths: a time for every row of `readings`, counted from the subject's first row."""
    names, rows = list(study.measured), readings
    forward = [n for n, c in study.covariates.items() if c.fill == "forward"]
    if forward:
        rows = rows.copy()
        rows[forward] = rows.groupby("subject", sort=False)[forward].ffill()
    subject = rows["subject"].to_numpy()
    exact = rows["t"].to_numpy() - starts[subject]
    t, x = exact.astype(np.float32), rows[names].to_numpy(np.float32)
    same = np.flatnonzero((np.diff(t) == 0) & (np.diff(exact) > 0) & (np.diff(subject) == 0))
    if len(same):
        i = int(rows.index.to_numpy()[same[0] + 1])
        gap = f"a time {np.diff(exact)[same[0]]:g} {study.time.unit} after the one before"
        expected = "times far enough apart for single precision over the length of the path"
        raise table.bad(i, study.time.column, gap, expected)
    edges = np.searchsorted(subject, np.arange(len(starts) + 1))
    return tuple(
        Path(t[a:b], x[a:b], plan, trait, np.asarray(end))
        for a, b, plan, trait, end in zip(edges[:-1], edges[1:], plans, traits, ends, strict=True)
    )
