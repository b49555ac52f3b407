"""`biowm plan`: the best schedule for one subject, or what to measure next in a screen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import options, output, runtime
from .propose import Batch, Layout, propose

Sets = Literal["pairs", "singles", "all"]
By = Literal["information", "balanced"]
_SCREEN = "What to measure next (screens)"


def plan(
    artefact: options.Artefact,
    goal: Annotated[
        str | None,
        typer.Option(
            help="minimise|maximise QUANTITY [while LIMIT [and LIMIT]]; a quantity is such as 'mean cpa over 365 d', "
            "'time off cpa' or 'time until psa > 10 ng/mL'.",
            show_default=False,
        ),
    ] = None,
    horizon: Annotated[
        str | None, typer.Option(help="How far ahead, such as '365 d'; with --goal.", show_default=False)
    ] = None,
    subject: options.Subject = None,
    history: options.History = None,
    start: options.From = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(help="Such as 'cpa <= 200' or 'P(max psa <= 10) >= 0.9'; may be repeated.", show_default=False),
    ] = None,
    experiments: Annotated[
        int | None,
        typer.Option(help="Propose so many sets that were not measured yet, in place of a schedule.",
                     show_default=False, rich_help_panel=_SCREEN),
    ] = None,
    candidates: Annotated[
        Sets, typer.Option(help="What a set may be.", rich_help_panel=_SCREEN)
    ] = "pairs",
    pairs_of: Annotated[
        str | None,
        typer.Option(help="Members to choose from, such as 'KLF1, MAP2K6' or 'meki=500 nM, akti' (without a dose: the "
                     "one given most often).", show_default="all", rich_help_panel=_SCREEN),
    ] = None,
    context: Annotated[
        list[str] | None,
        typer.Option(help="trait=value of where they are measured; may be repeated.",
                     show_default="all contexts of the screen", rich_help_panel=_SCREEN),
    ] = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(help="What is to be learned about; may be repeated.", show_default="all that are forecast",
                     rich_help_panel=_SCREEN),
    ] = None,
    by: Annotated[
        By, typer.Option(help="balanced (each next one holds the members measured least; of equals what tells most) or "
                          "information (each next one tells most besides the others).", rich_help_panel=_SCREEN)
    ] = "balanced",
    per_member_discount: Annotated[
        float, typer.Option(help="Off the log-variance for each pick of a member, where a model does not say how sets "
                            "hang together.", rich_help_panel=_SCREEN)
    ] = 0.15,
    out: Annotated[
        Path | None, typer.Option(help="Write the table, a .csv file.", show_default=False, rich_help_panel=_SCREEN)
    ] = None,
    plate_map: Annotated[
        Path | None,
        typer.Option(help="Write a plate map, a .csv file; --plot draws it.", show_default=False,
                     rich_help_panel=_SCREEN),
    ] = None,
    plate: Annotated[
        int | None,
        typer.Option(help="Wells of a plate, 96 or 384; with --plate-map.", show_default="96", rich_help_panel=_SCREEN),
    ] = None,
    replicates: Annotated[int, typer.Option(help="Wells for each set.", rich_help_panel=_SCREEN)] = 3,
    controls: Annotated[int, typer.Option(help="Control wells on each plate.", rich_help_panel=_SCREEN)] = 16,
    edge: Annotated[
        bool, typer.Option("--edge/--no-edge", help="Use the outermost wells, or leave them empty.",
                           rich_help_panel=_SCREEN)
    ] = True,
    seed: options.Seed = 0,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Plan one subject's schedule towards a goal, or (with --experiments) which sets of a screen to measure next.

    A schedule keeps within limits and comes with a promise; exit code 3 and the reasons where it abstains. Sets that
    were measured are left out; each comes with what it is expected to tell besides those of better rank.

    \b
    biowm plan runs/ias --subject 1 --goal "minimise total cpa while psa <= 4 ng/mL" --horizon "365 d"
    biowm plan runs/ias --subject 1 --goal "maximise time until psa > 10 ng/mL" --horizon "365 d"
    biowm plan runs/ias --subject 1 --goal "maximise time off cpa while psa <= 10" --horizon "365 d"
    biowm plan runs/ias --subject 1 --goal "minimise mean cpa" --limit "P(max psa <= 10) >= 0.9" --horizon "365 d"
    \b
    biowm plan runs/screen --experiments 20 --out next.csv
    biowm plan runs/screen --experiments 10 --pairs-of "meki=500 nM, akti, cdki" --context line=A --by information
    biowm plan runs/screen --experiments 24 --plate 96 --replicates 3 --controls 16 --no-edge --plate-map plate.csv
        --plot plate.png
    """
    runtime.prepare()
    from biowm.core.errors import BadInput

    if (goal is None) == (experiments is None):
        found = "neither" if goal is None else "both"
        raise BadInput(f"found {found} of --goal and --experiments, expected one: a schedule, or what to measure next")
    if experiments is not None:
        alone = {"--horizon": horizon, "--subject": subject, "--history": history, "--from": start, "--limit": limit}
        _refuse(alone, "--goal", "--experiments")
        if plate is not None and plate_map is None:
            raise BadInput("found --plate without --plate-map, expected both: where the wells are written")
        batch = Batch(experiments, candidates, pairs_of, context or [], channel or [], by, per_member_discount)
        propose(artefact, batch, Layout(plate_map, plate or 96, replicates, controls, edge), out, plot, seed, json)
        return
    screen = {"--pairs-of": pairs_of, "--context": context, "--channel": channel, "--out": out,
              "--plate-map": plate_map, "--plate": plate}  # fmt: skip
    _refuse(screen, "--experiments", "--goal")
    if horizon is None:
        raise BadInput("found --goal without --horizon, expected how far ahead, such as --horizon '365 d'")
    assert goal is not None
    _schedule(artefact, goal, horizon, subject, history, start, limit or [], seed, plot, json)


def _refuse(given: dict[str, object], home: str, other: str) -> None:
    from biowm.core.errors import BadInput

    for name, value in given.items():
        if value:
            raise BadInput(f"found {name} with {other}, expected it with {home}")


def _schedule(
    artefact: Path, goal: str, horizon: str, subject: str | None, history: Path | None, start: str | None,
    limits: list[str], seed: int, plot: Path | None, json: bool,
) -> None:  # fmt: skip
    from biowm import api
    from biowm.core.errors import Abstention
    from biowm.plan.result import describe

    from .pictures import planned, save

    fitted = api.open_fitted(artefact)
    with output.progress("plan") as tell:
        found = api.plan(
            fitted,
            subject=subject,
            history=history,
            start=start,
            goal=goal,
            limits=limits,
            horizon=horizon,
            seed=seed,
            progress=tell,
        )
    if isinstance(found, Abstention):
        output.refuse(found, json=json)
    if plot is not None:
        asked = api.question(fitted, subject=subject, history=history, start=start)
        save(planned(fitted, asked, found, limits, seed=seed), plot)
    if json:
        output.emit(found.to_json())
    else:
        output.show(describe(found))
