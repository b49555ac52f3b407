"""`biowm certify`: every gate, with its evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, output, runtime


def certify(
    artefact: options.Artefact,
    on: Annotated[
        Path | None,
        typer.Option(
            help="Another study with the same channels: external validation, nothing refitted.", show_default=False
        ),
    ] = None,
    data: options.Data = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Put every gate to a fitted world, on its held-out subjects or on another study.

    \b
    biowm certify runs/ias
    biowm certify runs/ias --on other-hospital.yaml --json
    """
    runtime.prepare()
    from biowm import api

    fitted = api.open_fitted(artefact)
    with output.progress("certify") as tell:
        report = api.certify(fitted, on, data=data, seed=seed, progress=tell)
    if json:
        output.emit(report.to_json())
    else:
        output.show(report)
