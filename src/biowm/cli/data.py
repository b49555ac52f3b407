"""`biowm data`: known data sets, and what a study file means."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, output

if TYPE_CHECKING:
    from biowm.evaluate.growth_rates import GrowthRates

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
    from biowm.data.load import load
    from biowm.data.report import describe
    from biowm.data.screen_report import describe_screen
    from biowm.data.study import Study

    with output.progress("load") as tell:
        loaded = load(study, data=data, progress=tell)
    told = describe(loaded, seed) if isinstance(loaded, Study) else describe_screen(loaded)
    output.console().print(told, markup=False, soft_wrap=True)


@app.command("growth-rates")
def growth_rates(
    table: Annotated[
        Path,
        typer.Argument(
            metavar="TABLE.csv|STUDY.yaml", help="A row a well, with counts of cells; or a study.", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option(help="The CSV of metrics to write.", show_default=False)],
    unit: Annotated[
        str | None,
        typer.Option(help="Unit of concentrations and GR50 (umol/L; of a study: its own).", show_default=False),
    ] = None,
    at: Annotated[str | None, typer.Option(help="Of a study: read at this time, such as '72 h'.")] = None,
    channel: Annotated[str | None, typer.Option(help="Of a study: the channel (default: the first).")] = None,
    by: Annotated[
        list[str] | None, typer.Option(help="Of a study: a group or category that tells cells apart.")
    ] = None,
    data: options.Data = None,
    plot: options.Plot = None,
) -> None:
    """Growth rate inhibition of every cell line and drug: GR50, GRmax, GR_AOC and the slope h of the curve.

    What a drug does to how fast cells divide, whatever that speed is (doi:10.1038/nmeth.3853); a curve that is no
    better than a flat line is called flat. Columns: cell_line, drug, concentration, unit (of the concentration),
    cell_count, cell_count__time0 (at the start) and cell_count__ctrl (at the end, without drug). Of a study (a plate
    with its map): wells under one held dose, against wells that were given nothing.

    \b
    biowm data growth-rates wells.csv --out gr.csv
    biowm data growth-rates plate.yaml --out gr.csv --at "72 h" --plot curves.png
    """
    from rich.table import Table

    from biowm.evaluate.growth_rates import write_growth_rates

    if table.suffix in (".yaml", ".yml"):
        found, notes = _of_study(table, out, unit, at, channel, by or [], data)
    else:
        found, notes = write_growth_rates(table, out, unit=unit or "umol/L"), []
    shown = Table("cell line", "drug", "fit", f"GR50 ({found.unit})", "GRmax", "GR_AOC", "h")
    for row in found.metrics.to_dict("records"):
        numbers = [f"{row[name]:.3g}" for name in ("gr50", "gr_max", "gr_aoc", "hill")]
        shown.add_row(row["cell_line"], row["drug"], row["fit"], *numbers)
    if plot is not None:
        from biowm.evaluate.reports.growth_rates import growth_rate_figure

        from .pictures import save

        save(growth_rate_figure(found), plot)
    output.show(shown)
    for note in notes:
        output.note(note)
    output.note(f"written to {out}" + ("" if plot is None else f" and {plot}"))


def _of_study(
    file: Path, out: Path, unit: str | None, at: str | None, channel: str | None, by: list[str], data: Path | None
) -> tuple[GrowthRates, list[str]]:
    """Metrics of a study, written, and who was left out."""
    from biowm.core.errors import BadInput
    from biowm.core.units import UnitError
    from biowm.data.load import load
    from biowm.data.study import Study
    from biowm.evaluate.study_growth_rates import at_of, study_growth_rates

    study = load(file, data=data)
    if not isinstance(study, Study):
        raise BadInput(f"{file}: found a screen of cells, expected a study of wells (regime: path)")
    try:
        time = at_of(study, at)
    except UnitError as error:
        raise BadInput(str(error)) from None
    got = study_growth_rates(study, channel=channel, at=time, by=by, unit=unit)
    out.parent.mkdir(parents=True, exist_ok=True)
    got.found.metrics.to_csv(out, index=False)
    clock = study.spec.clock
    told = [f"{got.channel} from the first reading to {got.at:g} {clock}"]
    for some, why in (
        (got.lost, "lost before: these numbers are of those that were not"),
        (got.unread, "not read then"),
        (got.mixed, "given several drugs"),
    ):
        if some:
            told.append(f"{len(some)} subjects left out, {why} ({', '.join(some[:3])}{', ...' if some[3:] else ''})")
    return got.found, told
