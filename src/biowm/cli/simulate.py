"""`biowm simulate`: what may happen to one subject, under which interventions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from . import options, output, runtime

if TYPE_CHECKING:
    from biowm.train.fitted import Fitted

Others = Literal["observed", "hold", "zero"]


def simulate(
    artefact: options.Artefact,
    horizon: Annotated[
        str | None,
        typer.Option(
            help="How far ahead, such as '365 d'; of screens it may be left out: when cells were read.",
            show_default=False,
        ),
    ] = None,
    subject: options.Subject = None,
    history: options.History = None,
    start: options.From = None,
    context: options.Context = None,
    on: Annotated[
        Path | None,
        typer.Option(
            help="A table of conditions (worlds of cells): write cells of each to --out. A file of MEDS labels: "
            "predict at each of its prediction times, from the MEDS folder --history.",
            show_default=False,
        ),
    ] = None,
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
    cells: Annotated[int, typer.Option(min=1, help="Cells of a condition, with --on and no column cells.")] = 100,
    seed: options.Seed = 0,
    plot: options.Plot = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Write the draws as a MEDS folder, marked simulated (worlds of MEDS data); with --on: .h5ad of "
            "cells; .parquet or .csv of MEDS labels.",
            show_default=False,
        ),
    ] = None,
    json: options.Json = False,
) -> None:
    """Simulate one subject's futures under interventions, beside an alternative if one is given.

    The verdict on support says whether the data cover the question.

    \b
    biowm simulate runs/ias --subject 1 --from 400 --do "cpa=200 mg/d@0:90 d" --against zero --horizon "365 d"
    biowm simulate runs/ias --history new.csv --do "leuprolide=7.5 mg@0 every 28 d x6" --horizon "180 d" --json
    biowm simulate runs/screen --context cell_line=K562 --do "KLF1=up" --do "MAP2K6=up"
    biowm simulate runs/screen --on conditions.csv --out predicted.h5ad
    biowm simulate runs/mimic-demo --subject 10002428 --from "24 h" --horizon "24 h" --out futures
    biowm simulate runs/mimic-demo --history mimic-demo --on labels.parquet --horizon "24 h" --out predictions.parquet
    """
    runtime.prepare()
    import numpy as np

    from biowm import api

    from .pictures import save, simulated
    from .tables import contrast_lines, futures_table, genes_table, support_line

    fitted = api.open_fitted(artefact)
    if on is not None and fitted.cells is not None:
        _conditions(
            fitted, on, out, cells, seed, json, others=(subject, history, start, context, do, against, plot, horizon)
        )
        return
    if on is not None:
        _predict(
            fitted,
            history,
            on,
            out,
            horizon,
            draws,
            seed,
            others=(subject, start, context, do, against, plot, json or None),
        )  # fmt: skip
        return
    with output.progress("simulate") as tell:
        futures = api.simulate(
            fitted, subject=subject, history=history, start=start, context=context, do=do or (), against=against or (),
            others=others, horizon=horizon, draws=draws, seed=seed, progress=tell,
        )  # fmt: skip
    if plot is not None:
        asked = api.question(fitted, subject=subject, history=history, start=start, context=context)
        names = ("; ".join(do or ()) or others, "; ".join(against or ()))
        save(simulated(asked, futures, names), plot)
    if out is not None:
        api.write_futures(fitted, api.question(fitted, subject=subject, history=history, start=start), futures, out)
    if json:
        output.emit(futures.to_json())
    else:
        if fitted.cells is None:
            shown = futures_table(futures)
        else:
            asked = api.question(fitted, subject=subject, history=history, start=start, context=context)
            shown = genes_table(futures, fitted.cells, np.asarray(asked.path.traits))
        output.show(shown, support_line(futures), *contrast_lines(futures))


def _conditions(
    fitted: Fitted, on: Path, out: Path | None, cells: int, seed: int, json: bool, *, others: tuple[object, ...]
) -> None:
    """Write the cells of a table of conditions."""
    from biowm import api
    from biowm.core.errors import BadInput

    from .tables import conditions_table

    if any(other is not None for other in others):
        raise BadInput("--on: found other options beside it, expected --out, --cells, --seed and --json alone")
    if out is None or out.suffix != ".h5ad":
        raise BadInput(f"--on {on}: expected --out FILE.h5ad beside it")
    with output.progress("simulate") as tell:
        found = api.simulate_conditions(fitted, on, out, cells=cells, seed=seed, progress=tell)
    if json:
        output.emit({"out": str(out), **found.to_json()})
    else:
        output.show(conditions_table(found), f"Signal: {found.signal}", f"Written to {out}")


def _predict(
    fitted: Fitted,
    history: Path | None,
    on: Path,
    out: Path | None,
    horizon: str | None,
    draws: int,
    seed: int,
    *,
    others: tuple[object, ...],
) -> None:
    """Write the predictions for a file of labels as a table."""
    from biowm import api
    from biowm.core.errors import BadInput

    if horizon is None:
        raise BadInput(f"--on {on}: found no --horizon, expected how far ahead of each prediction time")

    if any(other is not None for other in others):
        raise BadInput("--on: found other options beside it, expected --history, --out, --horizon, --draws and --seed")
    if history is None or out is None or out.suffix not in (".parquet", ".csv"):
        raise BadInput(f"--on {on}: expected --history MEDS_FOLDER and --out FILE.parquet or FILE.csv beside it")
    with output.progress("simulate") as tell:
        table = api.predict(fitted, history, on, horizon=horizon, draws=draws, seed=seed, progress=tell)
    if out.suffix == ".csv":
        table.to_csv(out, index=False)
    else:
        table.to_parquet(out, index=False)
    unread = int(table["q0.5"].isna().sum())
    output.show(f"Written to {out}: {len(table)} rows, {unread} without a quantile (no reading by the prediction time)")
