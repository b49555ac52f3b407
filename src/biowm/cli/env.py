"""`biowm env`: the simulators that come with the library, and the environments made of them."""

from __future__ import annotations

from typing import Annotated

import typer

from . import options, output, runtime

app = typer.Typer(help="Ground-truth simulators, and Gymnasium environments made of them.", no_args_is_help=True)
Id = Annotated[
    str,
    typer.Argument(
        metavar="ID", help="An environment such as biowm/Glucose-v0, or any world by its name.", show_default=False
    ),
]


@app.command("list")
def list_() -> None:
    """List the registered worlds with their channels and actions, and the environments.

    \b
    biowm env list
    """
    runtime.prepare()
    from rich.table import Table

    from biowm.core import registry
    from biowm.envs.play import environments

    table = Table("world", "clock", "channels", "actions", "traits")
    for name in registry.names("worlds"):
        spec = registry.get("worlds", name)().spec
        table.add_row(
            name,
            spec.clock,
            ", ".join(f"{c.name} ({c.unit})" for c in spec.channels),
            ", ".join(f"{a.name} ({', '.join(filter(None, (a.kind, a.unit)))})" for a in spec.actions),
            ", ".join(t.name for t in spec.traits),
        )
    sheets = Table("environment", "what it is")
    for name, sheet in environments().items():
        sheets.add_row(name, sheet.splitlines()[0].split(": ", 1)[1])
    output.show(table, sheets)


@app.command()
def check(name: Id, json: options.Json = False) -> None:
    """Put an environment to Gymnasium's own checker, its warnings as errors, and print its data sheet.

    \b
    biowm env check biowm/Glucose-v0
    biowm env check patient/tumour --json
    """
    runtime.prepare()
    import inspect

    from biowm.envs.play import check as examine
    from biowm.envs.play import make

    env = make(name)
    with output.progress(f"env check {name}") as tell:
        tell("Gymnasium's checks", None)
        examine(env)
    if json:
        spaces = {"observation": str(env.observation_space), "action": str(env.action_space)}
        output.emit({"id": name, "passed": True, **spaces})
        return
    output.show(inspect.getdoc(type(env)), "", f"{name} passes gymnasium.utils.env_checker.check_env")


@app.command()
def rollout(
    name: Id,
    policy: Annotated[str, typer.Option(help="random, none, or one of the environment's own.")] = "random",
    seed: options.Seed = 0,
    plot: options.Plot = None,
    json: options.Json = False,
) -> None:
    """Play one episode under a simple policy.

    \b
    biowm env rollout biowm/TumourPKPD-v0 --policy none --plot tumour.png
    biowm env rollout biowm/ICUSepsis-v0 --policy clinician --seed 3 --json
    """
    runtime.prepare()
    from biowm.envs.play import make, play

    env = make(name)
    with output.progress(f"env rollout {name}") as tell:
        played = play(env, name, policy, seed, lambda share: tell("steps of the episode", share))
    if plot is not None:
        from biowm.evaluate.reports.episode import episode

        from .pictures import save

        save(episode(played), plot)
    if json:
        output.emit(played.to_json())
        return
    end = "terminated" if played.terminated else "truncated at the horizon"
    output.show(
        f"{name}, policy {policy}, seed {seed}: {len(played.reward)} steps to {played.t[-1]:g} {played.clock}, {end}; "
        f"return {played.reward.sum():g}, cost {played.cost.sum():g}"
    )
