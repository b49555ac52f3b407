"""The command `biowm`: parse, call a verb, print. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from biowm.core.errors import BadInput

from . import bench, certify, data, demo, engine, env, fit, plan, simulate
from .output import note

BUG, BAD = 1, 2

app = typer.Typer(
    help="Biomedical world models: simulate futures before anyone acts, and say how far to trust them.",
    epilog="Exit codes: 0 done, 2 bad input, 3 abstained (a result, with its reason), 1 a bug. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command("demo")(demo.demo)
app.command("fit")(fit.fit)
app.command("simulate")(simulate.simulate)
app.command("plan")(plan.plan)
app.command("certify")(certify.certify)
app.add_typer(bench.app, name="bench")
app.add_typer(data.app, name="data")
app.add_typer(engine.app, name="engine")
app.add_typer(env.app, name="env")


def _version(wanted: bool) -> bool:
    if wanted:
        from biowm import __version__

        print(__version__)
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", envvar="BIOWM_DEBUG", help="Show the traceback of a bug.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    if debug:
        os.environ["BIOWM_DEBUG"] = "1"


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit: 0 done, 2 bad input or usage, 3 abstained, 1 a bug, 130 interrupted."""
    try:
        app(args)
    except BadInput as error:
        note(f"biowm: {error}")
        sys.exit(BAD)
    except Exception as error:
        if os.environ.get("BIOWM_DEBUG"):
            traceback.print_exc()
        note(f"biowm: this is a bug: {type(error).__name__}: {error}\n(--debug shows where)")
        sys.exit(BUG)
    sys.exit(0)
