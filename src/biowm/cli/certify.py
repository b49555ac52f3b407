"""`biowm certify`: every gate, with its evidence."""

from __future__ import annotations

import json as format_json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, output, runtime

if TYPE_CHECKING:
    from biowm.core.world import World
    from biowm.evaluate.certify import Report
    from biowm.evaluate.foreign import Maker
    from biowm.train.fitted import Fitted


def certify(
    model: Annotated[
        str,
        typer.Argument(
            metavar="DIR|WORLD|FILE.py",
            help="The folder that `biowm fit` wrote, a registered simulator, or a Python file of yours with a function "
            "make(study) that returns a model made by biowm.adapters (FILE.py:name: another function).",
        ),
    ],
    on: Annotated[
        Path | None,
        typer.Option(
            help="Another study with the same channels: external validation, nothing refitted. With FILE.py: the "
            "study whose training subjects the model is made from, and whose test subjects it is examined on.",
            show_default=False,
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
    """Put every gate to a fitted world, to a simulator, or to your own model, which only sees training subjects.

    \b
    biowm certify runs/ias
    biowm certify runs/ias --out runs/ias/certificate
    biowm certify runs/ias --on other-hospital.yaml --json
    biowm certify demo_out/world --truth patient/tumour
    biowm certify patient/tumour
    biowm certify examples/sklearn_ridge.py --on studies/ias.yaml
    """
    runtime.prepare()
    from biowm import api
    from biowm.core import registry
    from biowm.core.errors import BadInput, place

    known = registry.names("worlds")
    if truth is not None and truth not in known:
        raise BadInput(place(column="--truth", found=truth, expected=f"one of {', '.join(known)}"))
    examined = _examined(model, on, truth)
    source = None if truth is None else registry.get("worlds", truth)()
    with output.progress("certify") as tell:
        report = api.certify(examined, on, truth=source, data=data, seed=seed, progress=tell)
    if out is not None:
        _write(report, out)
    if json:
        output.emit(report.to_json())
    else:
        output.show(report)


def _examined(model: str, on: Path | None, truth: str | None) -> Fitted | World | Maker:
    """What the argument names: a simulator, the function of a file, or a fitted world."""
    from biowm import api
    from biowm.core import registry
    from biowm.core.errors import BadInput

    from .maker import load_maker

    if model in registry.names("worlds") and not Path(model).exists():
        if on is not None or truth is not None:
            raise BadInput(f"found --on or --truth with the simulator {model}, expected a fitted world: DIR")
        return registry.get("worlds", model)()
    make = load_maker(model)
    if make is None:
        return api.open_fitted(Path(model))
    if on is None:
        raise BadInput(f"found {model} without a study, expected --on STUDY.yaml: its training subjects make the model")
    return make


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
