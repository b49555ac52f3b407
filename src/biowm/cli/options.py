"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Artefact = Annotated[Path, typer.Argument(metavar="DIR", help="The folder that `biowm fit` wrote.", show_default=False)]
StudyFile = Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="The study file.", show_default=False)]
Data = Annotated[
    Path | None, typer.Option(help="A folder searched for tables, before $BIOWM_DATA.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="The seed; the same one gives the same numbers.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Subject = Annotated[str | None, typer.Option(help="A subject of the study.", show_default=False)]
History = Annotated[
    Path | None, typer.Option(help="A new subject's table, with the study's columns.", show_default=False)
]
Context = Annotated[
    list[str] | None,
    typer.Option(
        help="trait=value of somebody new, of whom nothing was read; may be repeated (screens).", show_default=False
    ),
]
From = Annotated[
    str | None,
    typer.Option("--from", help="The last time that is used, as in the table, or such as '90 d' after the first row.",
                 show_default="the last reading"),
]  # fmt: skip
Horizon = Annotated[str, typer.Option(help="How far ahead, such as '365 d'.", show_default=False)]
Plot = Annotated[Path | None, typer.Option(help="Write a picture: a .png or .svg file.", show_default=False)]
