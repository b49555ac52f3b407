"""The study file: what a user writes about a table, checked key by key (DESIGN: the study file)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from biowm.core import registry, units
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec, chains

from .codes import Window
from .columns import Action, Columns, Constant, Covariate, Measured, Text, Time
from .keys import Keys, closest, read_yaml, refuse
from .layouts import PlateMap, Tracks
from .side import Side

_LATER = {"control", "context", "layer"}


class Events(Keys):
    """Interventions as their own table: a column per action, or the columns action, dose, onset, stop (and unit).

    `by`: columns of both tables (a condition) that say whose they are, where they are of more than one subject.
    """

    table: str
    subject: Columns | None = None
    by: Columns | None = None
    time: str | None = None
    action: str = "action"
    dose: str = "dose"
    unit: str = "unit"
    onset: str = "onset"
    stop: str = "stop"


class End(Keys):
    """Which values of `column` say that a subject ended (death, failure) or left.

    `lost` names a group (the well of a track): who was last read before the last reading of its group was lost there,
    and is censored, too, unless `column` says how it ended.
    """

    column: str | None = None
    ended: tuple[Text, ...] = ()
    censored: tuple[Text, ...] = ()
    lost: str | None = None

    @model_validator(mode="after")
    def _says_how(self) -> End:
        if self.column is None and (self.lost is None or self.ended or self.censored):
            raise ValueError("expected column, whose words say how a subject ended, or lost, a group that was read on")
        return self


class Assignment(Keys):
    """How the actions came about: what the word "effect" would need."""

    kind: Literal["randomised", "protocol", "observed"] = "observed"
    given: tuple[str, ...] = ()


class Shares(Keys):
    """Which subjects are held out: shares of the units `by`, or the words in `column`.

    By `member`, a screen is asked about members of its sets that were never given: what has one of them is held out.
    `within`: this share of the subjects in all other units is tested, too, so that what is said of units that were
    never met (a site, a cell line) can be compared with what is said of known ones (gate `context`).
    """

    by: str = "subject"
    test: float = Field(default=0.2, ge=0, lt=1)
    calibrate: float = Field(default=0.2, ge=0, lt=1)
    within: float = Field(default=0.0, ge=0, lt=1)
    column: str | None = None

    @model_validator(mode="after")
    def _leaves_some(self) -> Shares:
        if self.test + self.calibrate >= 1:
            raise ValueError(f"test {self.test:g} and calibrate {self.calibrate:g} leave nothing to train on")
        return self


class LimitText(Keys):
    """A limit every plan must keep, in the words of `plan --limit`."""

    name: str
    rule: str
    severity: Literal["hard", "soft"] = "hard"
    source: str | None = None


class Equations(Keys):
    """A mechanism by its registered name, and what this study calls its channels and actions (null: never given)."""

    name: str
    channels: dict[str, str] = Field(default_factory=dict)
    actions: dict[str, str | None] = Field(default_factory=dict)
    batch: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, data: Any) -> Any:
        return {"name": data} if isinstance(data, str) else data

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        there = registry.names("mechanisms")
        if name not in there:
            raise ValueError(f"no mechanism {name!r}{closest(name, there)}")
        return name


class Use(Keys):
    """What the data may be used for."""

    purpose: str = "research"
    licence: str | None = None
    cite: str | None = None


class StudyConfig(Keys):
    """A whole study file; everything but table, subject, time and channels may be left out."""

    study: str = "study"
    table: str
    format: Literal["csv", "tsv", "parquet", "xlsx", "curves", "nonmem", "meds", "trackmate", "geff"] | None = None
    layout: Literal["long", "plate"] = "long"
    plate_map: PlateMap | None = None
    tracks: Tracks | None = None
    columns: tuple[str, ...] | None = None
    na: tuple[Text, ...] = ()
    regime: Literal["path"] = "path"
    subject: Columns
    time: Time
    horizons: tuple[int | str, ...] = ()
    origins: Literal["spread", "first", "start"] | None = None
    channels: dict[str, Measured] = Field(min_length=1)
    actions: dict[str, Action] = Field(default_factory=dict)
    covariates: dict[str, Covariate] = Field(default_factory=dict)
    traits: dict[str, Constant] = Field(default_factory=dict)
    groups: dict[str, Columns] = Field(default_factory=dict)
    events: Events | None = None
    end: End | None = None
    assignment: Assignment = Assignment()
    split: Shares = Shares()
    limits: tuple[LimitText, ...] = ()
    mechanism: Equations | None = None
    use: Use = Use()
    window: Window | None = None
    labels: str | None = None
    side: Side | None = None
    duplicates: Literal["replicate", "mean"] | None = None
    empty: Literal["refuse", "drop"] = "refuse"

    @model_validator(mode="before")
    @classmethod
    def _only_paths(cls, data: Any) -> Any:
        later = _LATER & set(data) if isinstance(data, dict) else set()
        cloud = isinstance(data, dict) and data.get("regime") not in (None, "path")
        if cloud:
            raise ValueError(f"regime {data['regime']}: a screen of cells; expected regime: path here")
        listed = isinstance(data, dict) and isinstance(data.get("actions"), dict) and "from" in data["actions"]
        if later or listed:
            what = sorted(later) or ["actions.from"]
            raise ValueError(f"{', '.join(what)}: these keys are of screens of cells, which say regime: cloud")
        return data

    @field_validator("format", mode="before")
    @classmethod
    def _known_format(cls, value: Any) -> Any:
        if value == "h5ad":
            raise ValueError("format 'h5ad' is that of screens of cells, which say regime: cloud")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> StudyConfig:
        for horizon in self.horizons:
            clock_horizon(horizon, self.time.unit, spacing=1.0)
        names = [*self.channels, *self.covariates, *self.actions]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)}: one name for two things among channels, covariates and actions")
        chains(_channels(self.channels))
        labelled = [n for n, c in self.channels.items() if c.dvid is not None or c.cmt is not None]
        labelled += [n for n, a in self.actions.items() if a.cmt is not None]
        if labelled and self.format != "nonmem":
            raise ValueError(f"{', '.join(labelled)}: the keys dvid and cmt belong to format: nonmem")
        if self.end is not None and self.end.lost is not None and self.end.lost not in self.groups:
            raise ValueError(f"end.lost {self.end.lost!r} is no group{closest(self.end.lost, self.groups)}")
        if self.layout == "plate" and (self.format not in (None, "csv", "tsv", "xlsx") or self.columns or self.tracks):
            raise ValueError("layout: plate is of csv, tsv and xlsx with a header, without the keys columns and tracks")
        known = ["subject", *(["member"] if self.screen else []), *self.groups]
        if self.split.by not in known:
            raise ValueError(f"split.by {self.split.by!r} is no group{closest(self.split.by, known)}")
        return self

    @property
    def screen(self) -> bool:
        """Whether interventions are sets that are held from the start on."""
        return any(a.kind == "set-member" for a in self.actions.values())

    @property
    def asked_from(self) -> Literal["spread", "first", "start"]:
        """Where questions are put from; of screens, unless it is said: the start."""
        return self.origins or ("start" if self.screen else "spread")

    @property
    def given_from(self) -> float:
        """When the first member of any set is given (study clock)."""
        return min((a.onset or 0.0 for a in self.actions.values() if a.kind == "set-member"), default=math.inf)

    @property
    def measured(self) -> dict[str, Measured | Covariate]:
        """Channels, then covariates: the order of the axis D."""
        return {**self.channels, **self.covariates}


def clock_horizon(horizon: int | str, clock: str, spacing: float) -> float:
    """A declared horizon in clock units: a quantity ('90 d'), or a number of readings `spacing` apart."""
    text = str(horizon).strip()
    value = int(text) * spacing if text.isdigit() else units.quantity(text, clock, "horizon")
    if value <= 0:
        raise ValueError(f"horizon {horizon!r} is not ahead")
    return value


def parse(data: Any, file: object = "study") -> StudyConfig:
    """The study that plain data describe. Raises BadInput naming `file` and the key."""
    try:
        return StudyConfig.model_validate(data)
    except ValidationError as error:
        raise refuse(error, file) from None


def read(file: Path) -> StudyConfig:
    """The study in a YAML file; its name defaults to the file's."""
    data = read_yaml(file)
    if isinstance(data, dict):
        data = {"study": file.stem, **data}
    return parse(data, file)


def spec(config: StudyConfig, levels: dict[str, tuple[str, ...]]) -> WorldSpec:
    """The world that a study describes; `levels` are the categories found in the data, by trait."""
    channels = _channels(config.channels)
    covariates = [
        Channel(name, c.unit, c.link, c.low, c.high, c.floor, role="covariate") for name, c in config.covariates.items()
    ]
    actions = [
        ActionCard(name, a.unit, a.kind, a.low or 0.0, 1.0 if a.kind == "switch" else a.high)
        for name, a in config.actions.items()
    ]
    traits = [Trait(name, t.unit, t.kind, levels.get(name, ())) for name, t in config.traits.items()]
    return WorldSpec(config.study, config.time.unit, (*channels, *covariates), tuple(actions), tuple(traits))


def _channels(measured: dict[str, Measured]) -> list[Channel]:
    return [
        Channel(
            name,
            c.unit,
            c.link,
            c.low,
            c.high,
            c.floor,
            c.step,
            c.lloq,
            "target",
            code or None,
            c.below,
            c.control,
            uloq=c.uloq,
        )
        for name, c, code in ((name, c, ", ".join(c.code)) for name, c in measured.items())
    ]
