"""`biowm fit`: a study becomes an artefact with its report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, output, runtime


def fit(
    study: options.StudyFile,
    out: Annotated[Path | None, typer.Option(help="The folder to write.", show_default="runs/<study>")] = None,
    seed: options.Seed = 0,
    thorough: Annotated[
        bool,
        typer.Option(
            "--thorough",
            help="Let smooth neighbours and a recurrent network race too: several times as long, often better.",
        ),
    ] = False,
    no_data: Annotated[
        bool, typer.Option("--no-data", help="Leave the subjects' histories out of the artefact.")
    ] = False,
    data: options.Data = None,
    json: options.Json = False,
) -> None:
    """Fit the default world to a study: the race, the bands, the held-out figures, a report.

    A run that was killed goes on where it was.

    \b
    biowm fit studies/ias.yaml --out runs/ias
    biowm fit my.yaml --data ~/tables --json
    biowm fit my.yaml --thorough
    """
    runtime.prepare()
    from biowm import api

    from .tables import fit_json, fit_summary

    with output.progress("load") as tell:
        loaded = api.load(study, data=data, progress=tell)
    folder = out or Path("runs") / loaded.config.study
    with output.progress("fit", resumes=True) as tell:
        fitted = api.fit(loaded, thorough=thorough, seed=seed, out=folder, keep_data=not no_data, progress=tell)
    if json:
        output.emit(fit_json(fitted, folder))
    else:
        output.show(*fit_summary(fitted), f"Written to {folder}: read {folder / 'report.html'}")
