"""`biowm data`: known data sets, and what a study file means."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import options, output

app = typer.Typer(help="Known data sets, and what a study file means.", no_args_is_help=True)


@app.command("list")
def list_(data: options.Data = None) -> None:
    """List the known data sets and where they lie.

    \b
    biowm data list
    """
    from rich.table import Table

    from biowm.core.errors import BadInput
    from biowm.data import catalogue

    def where(name: str) -> str:
        try:
            return str(catalogue.find(name, data))
        except BadInput:
            return f"not here: biowm data get {name}"

    table = Table("name", "what", "licence", "cite", "where")
    for item in catalogue.SETS:
        table.add_row(item.name, item.title, item.licence, item.cite, where(item.name))
    output.show(table)


@app.command()
def get(name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)], data: options.Data = None) -> None:
    """Fetch a known data set, checked by its hash, into --data, $BIOWM_DATA or the user's cache.

    \b
    biowm data get ias
    """
    from biowm.data import catalogue

    with output.progress(f"fetching {name}"):
        folder = catalogue.get(name, data)
    output.show(str(folder))


@app.command()
def ingest(
    source: Annotated[
        str, typer.Argument(metavar="SRC", help="A file or folder of events, or a known set.", show_default=False)
    ],
    out: Annotated[
        Path | None, typer.Option(help="The MEDS folder to write.", show_default="the name of SRC in the user's cache")
    ] = None,
    data: options.Data = None,
) -> None:
    """Make a valid MEDS folder of events that are nearly so (parquet), and say everything that was mended.

    \b
    biowm data ingest mimic-demo
    biowm data ingest events.parquet --out my-meds
    """
    from biowm.data import catalogue
    from biowm.data.locate import data_roots
    from biowm.data.meds_ingest import ingest as make

    item = next((item for item in catalogue.SETS if item.name == source), None)
    folder = Path(source).expanduser() if item is None else catalogue.find(source, data)
    root = out or data_roots()[-1] / (folder.stem if item is None else item.name)
    with output.progress("ingest") as tell:
        done = make(folder, root, licence=item and item.licence, cite=item and item.cite, progress=tell)
    lines = [str(repair) for repair in done.mended] or ["nothing was mended"]
    total = f"{done.rows} events of {done.subjects} subjects, {len(done.codes)} codes, {done.shards} shards"
    output.console().print("\n".join([*lines, f"Written to {root}: {total}"]), markup=False, soft_wrap=True)


@app.command()
def check(study: options.StudyFile, data: options.Data = None, seed: options.Seed = 0) -> None:
    """Say how a study was understood, everything that was repaired, and what leaks.

    \b
    biowm data check studies/ias.yaml
    """
    from biowm.data.report import describe
    from biowm.data.study import load

    with output.progress("load") as tell:
        loaded = load(study, data=data, progress=tell)
    output.console().print(describe(loaded, seed), markup=False, soft_wrap=True)


@app.command("growth-rates")
def growth_rates(
    table: Annotated[
        Path, typer.Argument(metavar="TABLE.csv", help="A row a well, with counts of cells.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The CSV of metrics to write.", show_default=False)],
    unit: Annotated[str, typer.Option(help="Unit of concentrations and GR50 that are written.")] = "umol/L",
    plot: options.Plot = None,
) -> None:
    """Growth rate inhibition of every cell line and drug: GR50, GRmax, GR_AOC and the slope h of the curve.

    What a drug does to how fast cells divide, whatever that speed is (doi:10.1038/nmeth.3853); a curve that is no
    better than a flat line is called flat. Columns: cell_line, drug, concentration, unit (of the concentration),
    cell_count, cell_count__time0 (at the start) and cell_count__ctrl (at the end, without drug).

    \b
    biowm data growth-rates wells.csv --out gr.csv
    biowm data growth-rates wells.csv --out gr.csv --unit nmol/L --plot curves.png
    """
    from rich.table import Table

    from biowm.evaluate.growth_rates import write_growth_rates

    found = write_growth_rates(table, out, unit=unit)
    shown = Table("cell line", "drug", "fit", f"GR50 ({unit})", "GRmax", "GR_AOC", "h")
    for row in found.metrics.to_dict("records"):
        numbers = [f"{row[name]:.3g}" for name in ("gr50", "gr_max", "gr_aoc", "hill")]
        shown.add_row(row["cell_line"], row["drug"], row["fit"], *numbers)
    if plot is not None:
        from biowm.evaluate.reports.growth_rates import growth_rate_figure

        from .pictures import save

        save(growth_rate_figure(found), plot)
    output.show(shown)
    output.note(f"written to {out}" + ("" if plot is None else f" and {plot}"))
