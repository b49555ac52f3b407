"""`biowm engine`: what may be drawn from a world: virtual cohorts and trials in them."""

from __future__ import annotations

import json as format_json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, output, runtime

if TYPE_CHECKING:
    from biowm.core.world import World
    from biowm.engine.trial import Trial
    from biowm.train.fitted import Fitted

app = typer.Typer(help="The data engine: virtual cohorts, and trials in them.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `cohort` a command of its own while it is the only one."""


@app.command()
def cohort(
    model: Annotated[
        str,
        typer.Argument(metavar="DIR|WORLD", help="The folder that `biowm fit` wrote, or a registered simulator.",
                       show_default=False),
    ],
    arm: Annotated[
        list[str],
        typer.Option(help="NAME: INTERVENTIONS as in simulate --do, from the start; twice, the control first.",
                     show_default=False),
    ],
    outcome: Annotated[
        str,
        typer.Option(help="Such as 'mean psa at 90 d', 'max psa over 90 d' or 'time until psa > 10 ng/mL'.",
                     show_default=False),
    ],
    horizon: options.Horizon,
    size: Annotated[int, typer.Option(min=2, help="Patients in each arm.")] = 100,
    sizes: Annotated[
        str | None, typer.Option(help="More sizes for the power curve, such as 20,50,200.", show_default=False)
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(help="Whom to draw: 'age=70 yr', 'age=60:70 yr', 'psa=4:20 ng/mL' (first reading), 'line=2'.",
                     show_default=False),
    ] = None,
    trials: Annotated[int, typer.Option(min=20, help="Trials simulated for each size.")] = 500,
    patients: Annotated[
        int | None,
        typer.Option(min=50, help="Virtual patients drawn.", show_default="4 x the largest size, at least 1000"),
    ] = None,
    alpha: Annotated[float, typer.Option(help="Level of the two-sided test.")] = 0.05,
    seed: options.Seed = 0,
    plot: options.Plot = None,
    out: Annotated[
        Path | None, typer.Option(help="A folder for trial.json and the tables of patients.", show_default=False)
    ] = None,
    json: options.Json = False,
) -> None:  # fmt: skip
    """Draw virtual patients, run a two-arm trial in them, and say its power by size; exit code 3 where it refuses.

    Every virtual patient lives through both arms by the same chances, which gives the difference; each simulated trial
    randomises its patients to one arm each, which gives the power.

    \b
    biowm engine cohort runs/ias --arm "control: " --arm "treated: cpa=200 mg/d@0:90 d" --outcome "mean psa at 90 d"
        --size 100 --sizes 20,50,200 --horizon "90 d" --plot power.png
    biowm engine cohort patient/tumour --arm "chemo: chemo=1@0:20 d" --arm "radio: radio=1@0:20 d"
        --outcome "time until volume < 1 cm^3" --horizon "30 d" --given "type=1" --out trial
    """
    runtime.prepare()
    from biowm import api
    from biowm.core.errors import Abstention

    from .tables import trial_summary

    with output.progress("cohort") as tell:
        found = api.cohort(
            _model(model), arms=arm, outcome=outcome, horizon=horizon, sizes=(size, *_numbers(sizes)),
            given=given or (), trials=trials, patients=patients, alpha=alpha, seed=seed, progress=tell,
        )  # fmt: skip
    if isinstance(found, Abstention):
        output.refuse(found, json=json)
    _write(found, plot, out)
    if json:
        output.emit(found.to_json())
    else:
        output.show(*trial_summary(found))


def _model(name: str) -> Fitted | World:
    from biowm import api
    from biowm.core import registry

    if name in registry.names("worlds") and not Path(name).exists():
        return registry.get("worlds", name)()
    return api.open_fitted(Path(name))


def _numbers(sizes: str | None) -> list[int]:
    from biowm.core.errors import BadInput, place

    parts = [] if sizes is None else sizes.split(",")
    if not all(part.strip().isdecimal() for part in parts):
        raise BadInput(
            place(column="--sizes", found=sizes, expected="numbers of patients in each arm, such as 20,50,200")
        )
    return [int(part) for part in parts]


def _write(trial: Trial, plot: Path | None, out: Path | None) -> None:
    from biowm.engine.tables import write_tables
    from biowm.evaluate.reports.trial import trial_figure
    from biowm.train.stages import write_atomic

    from .pictures import save

    if plot is not None:
        save(trial_figure(trial), plot)
    if out is not None:
        body = format_json.dumps(output.finite(trial.to_json()), indent=1, allow_nan=False)
        write_atomic(out / "trial.json", (body + "\n").encode())
        files = write_tables(trial, out)
        output.note("written to " + ", ".join(str(f) for f in (out / "trial.json", *files)))
