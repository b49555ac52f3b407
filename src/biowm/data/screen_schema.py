"""What the annotations of a screen are called by the common tools, so that a study file need not say it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from .columns import Text
from .faults import fault
from .keys import closest
from .screen_config import (
    BATCH,
    Filled,
    ScreenConfig,
    parse_filled,
)
from .screen_sets import no_control
from .tables import Repair

_BATCHES = ("batch", "gem_group", "gemgroup", "lane")
_TYPES = "perturbation_type"


@dataclass(frozen=True)
class Schema:
    """Names of the columns of obs (of var: `gene`) that a family of tables uses; contexts in order of preference."""

    name: str
    labels: str
    control: Text
    split: str | None
    contexts: tuple[tuple[str, ...], ...] = ()
    dose: str | None = None
    unit: str | None = None
    time: str | None = None
    gene: str | None = None


SCHEMAS = {
    s.name: s
    for s in (
        Schema("vcc", "target_gene", "non-targeting", None, (("cell_type", "cell_line"),)),
        Schema("gears", "condition", "ctrl", "+", (("cell_type", "cell_line"),), dose="dose_val", gene="gene_name"),
        Schema("perturbench", "condition", "control", "+", (("cell_type", "cell_line"), ("treatment",)), dose="dose"),
        Schema(
            "scperturb", "perturbation", "control", "+",
            (("cell_line", "celltype", "cell_type"), ("tissue_type",), ("disease",), ("organism",)),
            dose="dose_value", unit="dose_unit", time="time",
        ),
    )
}  # fmt: skip


def filled(
    config: ScreenConfig, obs: pd.DataFrame, var: pd.DataFrame, file: str, say: Callable[[Repair], None]
) -> Filled:
    """The study file with all that it leaves out filled in from the schema of the table; `say` hears of each.

    Raises BadInput where the schema cannot be told, or has no such column.
    """
    asked = config.layout or (None if config.control is not None and config.actions is not None else "auto")
    schema = _guess(obs, file) if asked == "auto" else None if asked is None else SCHEMAS[asked]
    known: dict[str, object] = {} if schema is None else _of_schema(config, schema, obs, var, file)
    if asked == "auto" and schema is not None:
        say(Repair(f"schema told from the columns of obs: {schema.name}", 1, file))
    if config.time is None and "time" not in known:
        known["time"] = {"at": 1.0, "unit": "d"}
        say(Repair("time of reading not declared (key time): taken as 1 d after the sets were given", 1, file))
    known.setdefault("context", config.context or {})
    return parse_filled({**config.model_dump(), **known}, file)


def _guess(obs: pd.DataFrame, file: str) -> Schema:
    there = [schema for schema in SCHEMAS.values() if schema.labels in obs]
    for schema in there:
        if any(schema.control in str(word).split("+") for word in obs[schema.labels].dropna().unique()):
            return schema
    if there:
        column, words = there[0].labels, {s.control for s in there if s.labels == there[0].labels}
        seen = {str(word) for word in obs[column].dropna().unique()}
        raise no_control(sorted(words), seen, file, column)
    known = ", ".join(f"{s.name} ({s.labels} with {s.control!r})" for s in SCHEMAS.values())
    raise fault(
        f"none of the known schemas in the columns {', '.join(map(str, obs.columns)) or 'none'}",
        f"{known}; or the keys control and actions",
        file=file, column="obs",
    )  # fmt: skip


def _of_schema(config: ScreenConfig, schema: Schema, obs: pd.DataFrame, var: pd.DataFrame, file: str) -> dict:
    """The keys that the study file leaves out."""
    if schema.labels not in obs and (config.actions is None or config.control is None):
        found = f"no column {schema.labels!r}{closest(schema.labels, obs.columns)}"
        raise fault(found, f"the columns of schema {schema.name}", file=file, column="obs")
    known: dict[str, object] = {}
    if config.control is None:
        known["control"] = {"obs": schema.labels, "value": [schema.control]}
    if config.actions is None:
        effect = {"obs": _TYPES} if _TYPES in obs else None
        known["actions"] = {"from": {"obs": schema.labels, "split": _separator(schema, obs)}, "effect": effect}
    if config.context is None:
        known["context"] = _contexts(schema, obs)
    if config.dose is None and schema.dose in obs and _differs(obs[schema.dose]):
        known["dose"] = {"obs": schema.dose, "unit": {"obs": schema.unit} if schema.unit in obs else None}
    if config.time is None and schema.time in obs and obs[schema.time].notna().all():
        known["time"] = {"obs": schema.time, "unit": "h"}
    if config.genes.name is None and schema.gene in var:
        known["genes"] = {**config.genes.model_dump(), "name": schema.gene}
    return known


def _contexts(schema: Schema, obs: pd.DataFrame) -> dict[str, str]:
    """The first context of each group that is there; all but the cell type only where it varies."""
    found = {}
    for i, group in enumerate(schema.contexts):
        column = next((c for c in group if c in obs and (i == 0 or obs[c].nunique() > 1)), None)
        if column is not None:
            found[column] = column
    batch = next((c for c in _BATCHES if c in obs), None)
    return found if batch is None else {**found, BATCH: batch}


def _separator(schema: Schema, obs: pd.DataFrame) -> str | None:
    """What parts the members of a set: scPerturb tables count them in `nperts`."""
    if schema.name != "scperturb" or "nperts" not in obs:
        return schema.split
    seen = obs[[schema.labels, "nperts"]].dropna().drop_duplicates()
    seen = seen[(seen[schema.labels] != schema.control) & (seen["nperts"].astype(float) > 1)]
    pairs = [(str(label), int(n)) for label, n in seen.itertuples(index=False)]
    fits = [mark for mark in ("+", "_", ";", "|") if pairs and all(len(s.split(mark)) == n for s, n in pairs)]
    return fits[0] if fits else schema.split


def _differs(doses: pd.Series) -> bool:
    """Whether a column of doses says more than that each member is there ('1', '1+1')."""
    words = doses.dropna().astype(str).unique()
    return any(part.strip() not in ("1", "1.0", "") for word in words for part in word.split("+"))
