"""The study file of a screen of single cells (`regime: cloud`): what the annotations of an AnnData table mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator

from .columns import Clock, Text, Unit
from .config import Assignment, LimitText, Shares, Use
from .keys import Keys, read_yaml, refuse
from .side import Side

BATCH = "batch"  # in `context`: how cells were read together, which no dynamics may use

Effect = Literal["up", "down", "knock-out"]
Words = Annotated[tuple[Text, ...], BeforeValidator(lambda v: v if isinstance(v, list | tuple) else (v,))]


class Control(Keys):
    """Cells that were given nothing: their words in a column of obs."""

    obs: str
    value: Words = Field(min_length=1)


class Of(Keys):
    """A column of obs."""

    obs: str


class Labels(Keys):
    """A column of obs that says what each cell was given; `split` parts the members of a set (null: one member)."""

    obs: str
    split: str | None = "+"


class SetMembers(Keys):
    """Perturbations, one action for each target found; `effect` of genetic ones, for all or by a column of obs."""

    labels: Labels = Field(alias="from")
    kind: Literal["set-member"] = "set-member"
    effect: Effect | Of | None = None


class Layer(Keys):
    """Which matrix is read (`name` of a layer, or X), and of what kind its numbers are."""

    name: str | None = None
    kind: Literal["counts", "log1p"] | None = None

    @field_validator("name", mode="before")
    @classmethod
    def _x(cls, name: Any) -> Any:
        return None if name == "X" else name


class Read(Keys):
    """When cells were read after their set was given: a column of obs, or one time for all, in `unit` of the clock."""

    obs: str | None = None
    at: float | None = Field(default=None, gt=0)
    unit: Clock

    @model_validator(mode="after")
    def _obs_or_at(self) -> Read:
        if (self.obs is None) == (self.at is None):
            raise ValueError("expected obs: the column of times, or at: the one time at which all cells were read")
        return self


class Doses(Keys):
    """The dose of each cell: a column of obs ('1+0.5' of sets), in `unit` or the unit in a column."""

    obs: str
    unit: Unit | Of | None = None


class Genes(Keys):
    """Which genes are read; `name` is a column of var with their names (left out: var_names)."""

    highly_variable: bool = False
    top: int | None = Field(default=None, ge=1)
    name: str | None = None


class CloudShares(Shares):
    """Which conditions are held out: shares of the conditions, perturbations or levels of a trait, or a column."""

    by: str = "condition"


class _Described(Keys):
    """What every study file of single cells says or leaves as it is."""

    study: str = "study"
    table: str
    format: Literal["h5ad", "zarr"] | None = None
    regime: Literal["cloud"] = "cloud"
    layout: Literal["auto", "scperturb", "perturbench", "gears", "vcc"] | None = Field(default=None, alias="schema")
    dose: Doses | None = None
    layer: Layer = Layer()
    genes: Genes = Genes()
    where: dict[str, Words] = Field(default_factory=dict)
    split: CloudShares = CloudShares()
    assignment: Assignment = Assignment()
    limits: tuple[LimitText, ...] = ()
    side: Side | None = None
    use: Use = Use()


class ScreenConfig(_Described):
    """A study file of single cells; whatever is left out is filled in by the schema of the table."""

    control: Control | None = None
    actions: SetMembers | None = None
    context: dict[str, str] | None = None
    time: Read | None = None


class Filled(_Described):
    """A study file in which the schema has filled in what was left out."""

    control: Control
    actions: SetMembers
    context: dict[str, str]
    time: Read

    @property
    def traits(self) -> dict[str, str]:
        """The columns of obs that hold the context of cells, by trait."""
        return {name: column for name, column in self.context.items() if name != BATCH}


def is_screen(data: Any) -> bool:
    """Whether the content of a study file describes a screen of cells."""
    return isinstance(data, dict) and data.get("regime") == "cloud"


def parse(data: Any, file: object = "study") -> ScreenConfig:
    """The screen that plain data describe. Raises BadInput naming `file` and the key."""
    return _parse(ScreenConfig, data, file)


def parse_filled(data: Any, file: object = "study") -> Filled:
    """The description of a screen that was read before, of which nothing is left out; raises as `parse`."""
    return _parse(Filled, data, file)


Config = TypeVar("Config", bound=_Described)


def _parse(form: type[Config], data: Any, file: object) -> Config:
    try:
        return form.model_validate(data)
    except ValidationError as error:
        raise refuse(error, file) from None


def read(file: Path) -> ScreenConfig:
    """The screen in a YAML file; its name defaults to the file's."""
    data = read_yaml(file)
    return parse({"study": file.stem, **data} if isinstance(data, dict) else data, file)
