"""`biowm certify`: every gate, with its evidence."""

from __future__ import annotations

import json as format_json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, output, runtime

if TYPE_CHECKING:
    from biowm.evaluate.certify import Report


def certify(
    model: Annotated[
        str, typer.Argument(metavar="DIR|WORLD", help="The folder that `biowm fit` wrote, or a registered simulator.")
    ],
    on: Annotated[
        Path | None,
        typer.Option(
            help="Another study with the same channels: external validation, nothing refitted.", show_default=False
        ),
    ] = None,
    truth: Annotated[
        str | None,
        typer.Option(help="The registered simulator that the study's data came from.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A folder for the report: certificate.html, .json and .md.", show_default=False),
    ] = None,
    data: options.Data = None,
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Put every gate to a fitted world, on its held-out subjects or on another study, or to a simulator.

    \b
    biowm certify runs/ias
    biowm certify runs/ias --out runs/ias/certificate
    biowm certify runs/ias --on other-hospital.yaml --json
    biowm certify demo_out/world --truth patient/tumour
    biowm certify patient/tumour
    """
    runtime.prepare()
    from biowm import api
    from biowm.core import registry
    from biowm.core.errors import BadInput, place

    known = registry.names("worlds")
    simulator = model in known and not Path(model).exists()
    if simulator and (on is not None or truth is not None):
        raise BadInput(f"found --on or --truth with the simulator {model}, expected a fitted world: DIR")
    if truth is not None and truth not in known:
        raise BadInput(place(column="--truth", found=truth, expected=f"one of {', '.join(known)}"))
    examined = registry.get("worlds", model)() if simulator else api.open_fitted(Path(model))
    source = None if truth is None else registry.get("worlds", truth)()
    with output.progress("certify") as tell:
        report = api.certify(examined, on, truth=source, data=data, seed=seed, progress=tell)
    if out is not None:
        _write(report, out)
    if json:
        output.emit(report.to_json())
    else:
        output.show(report)


def _write(report: Report, folder: Path) -> None:
    """The report in three forms, each written whole or not at all."""
    from biowm.evaluate.reports.certificate import certificate_html, certificate_markdown
    from biowm.train.stages import write_atomic

    folder.mkdir(parents=True, exist_ok=True)
    body = format_json.dumps(output.finite(report.to_json()), indent=1, allow_nan=False)
    for name, text in (
        ("certificate.html", certificate_html(report)),
        ("certificate.md", certificate_markdown(report)),
        ("certificate.json", body + "\n"),
    ):
        write_atomic(folder / name, text.encode())
    output.note(f"written to {folder}")
