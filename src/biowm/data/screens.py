"""A screen of single cells: what each condition was given, which cells are of it, and their readings on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from biowm.core.record import digest
from biowm.core.spec import Channel, WorldSpec

from . import screen_check, screen_config, screen_file, screen_groups, side
from .cell_matrix import Cells
from .locate import locate
from .screen_config import Filled, ScreenConfig
from .screen_file import Annotations, Source
from .screen_genes import gene_names, read_genes
from .screen_schema import filled
from .tables import Repair

if TYPE_CHECKING:
    from anndata import AnnData

UNIT = ""  # of a gene: mean log1p expression has none


@dataclass(frozen=True, eq=False)
class Screen:
    """Cells of a screen, ready to be learned from; axes: c conditions, a perturbations, s traits, n cells, g genes.

    `members` is the text of each condition's set ("KLF1+MAP2K6", "" for control), `labels` the table's own word for
    it; `dose` is 0 where not given, 1 or -1 (down, knock-out) of genetic perturbations, else in the card's unit;
    `traits` as of a Path; `hours` in the clock unit, after the set was given. `of` is the condition of each cell,
    `batch` how it was read (observation context only: it never enters dynamics). `given_split` holds the words train,
    calibrate and test, by condition, where the table has them. `notes` is all that the table says of these cells.
    """

    config: Filled
    spec: WorldSpec
    conditions: tuple[str, ...]
    members: tuple[str, ...]
    labels: tuple[str, ...]
    dose: Float[np.ndarray, "c a"]
    traits: Float[np.ndarray, "c s"]
    hours: Float[np.ndarray, " c"]
    control: Bool[np.ndarray, " c"]
    of: Int[np.ndarray, " n"]
    batch: Int[np.ndarray, " n"]
    batches: tuple[str, ...]
    cells: Cells
    kind: Literal["counts", "log1p"]
    sparsity: float
    notes: Annotations
    repairs: tuple[Repair, ...]
    sha256: str
    given_split: tuple[str, ...] = ()

    @property
    def contexts(self) -> tuple[Float[np.ndarray, "k s"], Int[np.ndarray, " c"]]:
        """The traits of every context that there is, and which of them each condition is in."""
        traits, of = np.unique(np.nan_to_num(self.traits), axis=0, return_inverse=True)
        return traits, of.reshape(-1)

    @property
    def genes(self) -> tuple[str, ...]:
        """The names of the genes, in the order of the channels."""
        return tuple(channel.name for channel in self.spec.channels)

    @property
    def genes_var(self) -> pd.DataFrame:
        """All that the table says of the genes that are read, in the order of the channels."""
        return self.notes.var.iloc[self.cells.genes]


def load_screen(
    source: str | Path | AnnData, config: Mapping[str, Any] | None = None, *, data: str | Path | None = None
) -> Screen:
    """A screen from its YAML file, or from a table of cells (file or AnnData) and its description as a dictionary.

    `data` is a folder searched for tables before $BIOWM_DATA. Raises BadInput naming file, cell and column.
    """
    if screen_file.is_anndata(source):
        asked = screen_config.parse({"regime": "cloud", **(config or {}), "table": screen_file.MEMORY}, "config")
        return from_source(asked, screen_file.open_source(source, asked.layer.name), Path.cwd(), data, "config")
    file = Path(str(source))
    if config is not None:
        asked, base, name = screen_config.parse({**config, "table": str(file)}, "config"), Path.cwd(), "config"
    else:
        asked, base, name = screen_config.read(file), file.parent, str(file)
    table = locate(asked.table, base, data, name)[0]
    return from_source(asked, screen_file.open_source(table, asked.layer.name), base, data, name)


def from_source(config: ScreenConfig, source: Source, base: Path, data: str | Path | None, name: object) -> Screen:
    """A screen from an opened table and its description; a side table is looked for from `base` and in `data`."""
    repairs: list[Repair] = []
    full = filled(config, source.annotations.obs, source.annotations.var, source.file, repairs.append)
    groups = screen_groups.read(full, source, repairs.append)
    names = gene_names(full, source, repairs.append)
    everything = Cells(source.matrix, groups.rows, np.arange(len(names)))
    seen = screen_check.scan(full, source, everything, groups.control[groups.of], repairs.append)
    genes = read_genes(full, source, seen)
    channels = tuple(Channel(names[j], UNIT, "real", 0.0) for j in genes)
    obs = source.annotations.obs.iloc[groups.rows]
    cards, said = side.described(full.side, groups.actions, base, data, name, repairs.append, more=True)
    spec = WorldSpec(full.study, groups.clock, channels, cards, groups.traits, regime="cloud")
    return Screen(
        config=full,
        spec=spec,
        conditions=groups.conditions,
        members=groups.members,
        labels=groups.labels,
        dose=np.pad(groups.dose, ((0, 0), (0, len(cards) - groups.dose.shape[1]))),
        traits=groups.trait,
        hours=groups.hours,
        control=groups.control,
        of=groups.of,
        batch=groups.batch,
        batches=groups.batches,
        cells=Cells(source.matrix, groups.rows, genes),
        kind=seen.kind,
        sparsity=seen.sparsity,
        notes=Annotations(obs, source.annotations.var, source.annotations.uns),
        repairs=tuple(repairs),
        sha256=digest([source.sha256, *([said] if said else []), full.model_dump(mode="json")]),
        given_split=groups.given_split,
    )
