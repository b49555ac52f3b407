"""What `fit` leaves behind for people and other programs, beside the artefact."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path as File

from biowm.train.fitted import Fitted
from biowm.train.stages import write_atomic

from ..predictive_check import predictive_checks
from .checks import checks_csv, checks_figure
from .fitted import Example, fit_report
from .parameters import parameters_csv
from .style import save_png


def write_reports(fitted: Fitted, examples: Sequence[Example], folder: File, *, seed: int) -> None:
    """Write report.html and, where equations run, parameters.csv, vpc.csv and vpc.png; without them none of these."""
    checks, picture = predictive_checks(fitted, seed=seed), io.BytesIO()
    write_atomic(folder / "report.html", fit_report(fitted, examples, checks).encode())
    if checks:
        save_png(checks_figure(fitted.spec, checks), picture)
    table = checks_csv(fitted.spec, checks) if checks else ""
    for name, data in (
        ("parameters.csv", parameters_csv(fitted).encode()),
        ("vpc.csv", table.encode()),
        ("vpc.png", picture.getvalue()),
    ):
        if data:
            write_atomic(folder / name, data)
        else:
            (folder / name).unlink(missing_ok=True)  # of an earlier fit
