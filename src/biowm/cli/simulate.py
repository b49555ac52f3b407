"""`biowm simulate`: what may happen to one subject, under which interventions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import options, output, runtime

Others = Literal["observed", "hold", "zero"]


def simulate(
    artefact: options.Artefact,
    horizon: options.Horizon,
    subject: options.Subject = None,
    history: options.History = None,
    start: options.From = None,
    do: Annotated[
        list[str] | None,
        typer.Option(
            help="action=dose@onset:stop, in times after the last reading used; may be repeated.", show_default=False
        ),
    ] = None,
    others: Annotated[
        Others,
        typer.Option(
            help="What the actions not named do: as recorded later (then held), held as they were, or stopped."
        ),
    ] = "observed",
    against: Annotated[
        list[str] | None,
        typer.Option(
            help="The alternative: interventions as in --do, or one of observed, hold, zero.", show_default=False
        ),
    ] = None,
    draws: Annotated[int, typer.Option(min=2, help="Futures drawn.")] = 200,
    seed: options.Seed = 0,
    plot: options.Plot = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the draws as a MEDS folder, marked simulated (worlds of MEDS data).", show_default=False
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Simulate one subject's futures under interventions, beside an alternative if one is given.

    The verdict on support says whether the data cover the question.

    \b
    biowm simulate runs/ias --subject 1 --from 400 --do "cpa=200 mg/d@0:90 d" --against zero --horizon "365 d"
    biowm simulate runs/ias --history new.csv --do "leuprolide=7.5 mg@0 every 28 d x6" --horizon "180 d" --json
    biowm simulate runs/mimic-demo --subject 10002428 --from "24 h" --horizon "24 h" --out futures
    """
    runtime.prepare()
    from biowm import api

    from .pictures import save, simulated
    from .tables import contrast_lines, futures_table, support_line

    fitted = api.open_fitted(artefact)
    with output.progress("simulate") as tell:
        futures = api.simulate(
            fitted, subject=subject, history=history, start=start, do=do or (), against=against or (),
            others=others, horizon=horizon, draws=draws, seed=seed, progress=tell,
        )  # fmt: skip
    if plot is not None:
        asked = api.question(fitted, subject=subject, history=history, start=start)
        names = ("; ".join(do or ()) or others, "; ".join(against or ()))
        save(simulated(asked, futures, names), plot)
    if out is not None:
        api.write_futures(fitted, api.question(fitted, subject=subject, history=history, start=start), futures, out)
    if json:
        output.emit(futures.to_json())
    else:
        output.show(futures_table(futures), support_line(futures), *contrast_lines(futures))
