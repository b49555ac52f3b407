"""`biowm plan --experiments`: the next sets of a screen as a table, and a plate map of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import output

if TYPE_CHECKING:
    from biowm.plan.conditions import Sets
    from biowm.plan.proposal import By


@dataclass(frozen=True)
class Batch:
    """Which experiments are wanted."""

    count: int
    candidates: Sets
    pairs_of: str | None
    context: list[str]
    channels: list[str]
    by: By
    discount: float


@dataclass(frozen=True)
class Layout:
    """The plates they go to; without a `file` there are none."""

    file: Path | None
    size: int
    replicates: int
    controls: int
    edge: bool


def propose(
    artefact: Path, batch: Batch, layout: Layout, out: Path | None, plot: Path | None, seed: int, json: bool
) -> None:
    """Propose, write and print."""
    from biowm import api
    from biowm.core.errors import BadInput, place
    from biowm.evaluate.reports.plates import plates_figure
    from biowm.plan.proposal import describe
    from biowm.train.stages import write_atomic

    from .pictures import save

    for option, file in (("--out", out), ("--plate-map", layout.file)):
        if file is not None and file.suffix != ".csv":
            raise BadInput(place(column=option, found=file.name, expected="a name that ends in .csv"))
    if plot is not None and layout.file is None:
        raise BadInput("found --plot without --plate-map, expected both: it draws the plates")
    named = None if batch.pairs_of is None else [part.strip() for part in batch.pairs_of.split(",") if part.strip()]
    with output.progress("plan") as tell:
        found = api.propose(
            api.open_fitted(artefact), count=batch.count, candidates=batch.candidates, members=named,
            context=batch.context, channels=batch.channels, by=batch.by, discount=batch.discount, seed=seed,
            progress=tell,
        )  # fmt: skip
    plates = None
    if layout.file is not None:
        plates = api.plate_map(
            found, size=layout.size, replicates=layout.replicates, controls=layout.controls, edge=layout.edge, seed=seed
        )
        write_atomic(layout.file, plates.table().to_csv(index=False).encode())
        if plot is not None:
            save(plates_figure(plates), plot)
    if out is not None:
        write_atomic(out, found.table().to_csv(index=False).encode())
    if json:
        more = {} if plates is None else {"plates": {"size": plates.size, "number": plates.plates,
                                                     "shared": plates.shared}}  # fmt: skip
        output.emit({**found.to_json(), **more})
        return
    output.show(describe(found))
    if plates is not None:
        shared = f"; {plates.shared} replicates share a row or column of one plate" if plates.shared else ""
        output.show(f"\nPlates of {plates.size} wells: {plates.plates}, written to {layout.file}{shared}.")
