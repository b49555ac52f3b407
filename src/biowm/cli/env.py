"""`biowm env`: the simulators that come with the library."""

from __future__ import annotations

import typer

from . import output, runtime

app = typer.Typer(help="Ground-truth simulators.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep `list` a command of its own while it is the only one."""


@app.command("list")
def list_() -> None:
    """List the registered worlds with their channels and actions.

    \b
    biowm env list
    """
    runtime.prepare()
    from rich.table import Table

    from biowm.core import registry

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
    output.show(table)
