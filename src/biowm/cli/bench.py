"""`biowm bench`: the benchmark tasks, every row with its baselines and intervals."""

from __future__ import annotations

import json as format_json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options, output, runtime

if TYPE_CHECKING:
    from biowm.evaluate.bench import Result

app = typer.Typer(help="Benchmarks: every row with its baselines and intervals.", no_args_is_help=True)


@app.command("list")
def list_() -> None:
    """List the tasks.

    \b
    biowm bench list
    """
    runtime.prepare()
    from rich.table import Table

    from biowm.core import registry

    table = Table("task", "version", "decided by", "variants", "data")
    for name in registry.names("tasks"):
        task = registry.get("tasks", name)
        table.add_row(name, task.version, task.primary, ", ".join(task.variants), task.data or "simulated")
    output.show(table)


@app.command()
def run(
    tasks: Annotated[list[str], typer.Argument(metavar="TASK...", show_default=False)],
    seeds: Annotated[int | None, typer.Option(min=1, help="How many seeds.", show_default="5, quick: 1")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="About a minute: fewer folds or seeds; the result says which.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="The published size.")] = False,
    variant: Annotated[str | None, typer.Option(help="A variant of the task.", show_default=False)] = None,
    data: options.Data = None,
    jobs: Annotated[int, typer.Option(min=1, help="Seeds run side by side, each in a process of its own.")] = 1,
    json: Annotated[
        str | None,
        typer.Option(
            help="Write the result to FILE, or print it where that is '-'; with several tasks, a folder.",
            metavar="FILE|-",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run tasks and print every contender's rows.

    \b
    biowm bench run ias
    biowm bench run ias --quick --json -
    biowm bench run ias --seeds 5 --jobs 5 --json benchmarks/ias.json
    """
    runtime.prepare()
    from biowm import api
    from biowm.core.errors import BadInput
    from biowm.evaluate.task import Setting

    if quick and full:
        raise BadInput("found --quick and --full, expected one of them")
    if len(tasks) > 1 and json == "-":
        raise BadInput(f"found {len(tasks)} tasks with --json -, expected one task, or a folder")
    setting = Setting("quick" if quick else "full" if full else "default", variant, data)
    for name in tasks:
        with output.progress(f"bench {name}") as tell:
            result = api.bench(name, setting, seeds=seeds, jobs=jobs, progress=tell)
        _deliver(result, json, several=len(tasks) > 1)


def _deliver(result: Result, json: str | None, *, several: bool) -> None:
    if json == "-":
        output.emit(result.to_json())
        return
    output.show(result)
    if json is not None:
        file = Path(json) / f"{result.task}.json" if several or Path(json).is_dir() else Path(json)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(format_json.dumps(result.to_json(), indent=1) + "\n", encoding="utf-8")
        output.note(f"written to {file}")


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where result files lie.")] = Path("benchmarks"),
    out: Annotated[
        Path | None, typer.Option(help="A folder for leaderboard.html and leaderboard.md.", show_default=False)
    ] = None,
) -> None:
    """Print the result files of a folder as Markdown, or write them as a page and as Markdown.

    \b
    biowm bench report benchmarks
    biowm bench report benchmarks --out site
    """
    runtime.prepare()
    from biowm.evaluate.leaderboard import leaderboard_html, leaderboard_markdown, read

    results = read(folder)
    if out is None:
        print(leaderboard_markdown(results))
        return
    out.mkdir(parents=True, exist_ok=True)
    (out / "leaderboard.html").write_text(leaderboard_html(results), encoding="utf-8")
    (out / "leaderboard.md").write_text(leaderboard_markdown(results), encoding="utf-8")
    output.note(f"written to {out}")
