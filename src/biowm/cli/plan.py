"""`biowm plan`: the best schedule for one subject, with a promise by models that did not plan."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options, output, runtime


def plan(
    artefact: options.Artefact,
    goal: Annotated[
        str,
        typer.Option(
            help="minimise|maximise QUANTITY [while LIMIT [and LIMIT]]; a quantity is such as 'mean cpa over 365 d', "
            "'time off cpa' or 'time until psa > 10 ng/mL'.",
            show_default=False,
        ),
    ],
    horizon: options.Horizon,
    subject: options.Subject = None,
    history: options.History = None,
    start: options.From = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(help="Such as 'cpa <= 200' or 'P(max psa <= 10) >= 0.9'; may be repeated.", show_default=False),
    ] = None,
    seed: options.Seed = 0,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Plan one subject's schedule towards a goal, within limits; exit code 3 and the reasons where it abstains.

    \b
    biowm plan runs/ias --subject 1 --goal "minimise total cpa while psa <= 4 ng/mL" --horizon "365 d"
    biowm plan runs/ias --subject 1 --goal "maximise time until psa > 10 ng/mL" --horizon "365 d"
    biowm plan runs/ias --subject 1 --goal "maximise time off cpa while psa <= 10" --horizon "365 d"
    biowm plan runs/ias --subject 1 --goal "minimise mean cpa" --limit "P(max psa <= 10) >= 0.9" --horizon "365 d"
    """
    runtime.prepare()
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
            limits=limit or (),
            horizon=horizon,
            seed=seed,
            progress=tell,
        )
    if isinstance(found, Abstention):
        output.refuse(found, json=json)
    if plot is not None:
        asked = api.question(fitted, subject=subject, history=history, start=start)
        save(planned(fitted, asked, found, limit or (), seed=seed), plot)
    if json:
        output.emit(found.to_json())
    else:
        output.show(describe(found))
