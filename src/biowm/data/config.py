"""The study file: what a user writes about a table, checked key by key (DESIGN: the study file)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, field_validator, model_validator

from biowm.core import registry, units
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec, chains

from .codes import Codes, Window
from .keys import Keys, closest, read_yaml, refuse

_LATER = {"control", "context", "layer"}


def _unit(text: str) -> str:
    units.parse(text)
    return text


def _clock(text: str) -> str:
    for like in ("s", "reading"):
        try:
            units.factor(text, like)
        except units.UnitError:
            continue
        return text
    raise ValueError(f"the unit {text!r} is not one of time; expected d, h, min, s, week, month, yr or reading")


def _several(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Unit = Annotated[str, BeforeValidator(_text), AfterValidator(_unit)]
Text = Annotated[str, BeforeValidator(_text)]
Columns = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]


class Time(Keys):
    """The column that says when, in `unit` or as dates (read by `format`); `at` where all was read at one time."""

    column: str = ""
    unit: Annotated[str, AfterValidator(_clock)]
    format: str | None = None
    at: float | None = None

    @model_validator(mode="after")
    def _column_or_at(self) -> Time:
        if bool(self.column) == (self.at is not None):
            raise ValueError("expected the column of times, or at: the one time at which all was read")
        return self


class _Bounded(Keys):
    unit: Unit
    low: float | None = None
    high: float | None = None
    column: str | None = None
    code: Codes = Field(default_factory=dict)

    @model_validator(mode="after")
    def _ordered(self) -> _Bounded:
        if self.low is not None and self.high is not None and not self.low < self.high:
            raise ValueError(f"low {self.low:g} is not below high {self.high:g}")
        return self


class Measured(_Bounded):
    """One channel: a column of readings in `unit`, never above those of the channel that `below` names.

    `control`: what it is by definition where nothing is given, such as 0 for a log ratio to the control.

    In NONMEM tables `dvid` or `cmt` says which readings are its, in MEDS folders `code`.
    """

    link: Literal["log", "logit", "real", "ordinal"] = "real"
    floor: float = Field(default=0.0, ge=0)
    resolution: float = Field(default=0.0, ge=0)
    lloq: float | None = None
    blank: float | None = None
    below: str | None = None
    control: float | None = None
    dvid: Text | None = None
    cmt: Text | None = None

    @field_validator("link", mode="before")
    @classmethod
    def _known_link(cls, link: Any) -> Any:
        if link == "ordered":
            raise ValueError("an order goes beside the link; expected log, logit, real or ordinal, and below: CHANNEL")
        return link

    @model_validator(mode="after")
    def _logit_is_bounded(self) -> Measured:
        if self.link == "logit" and (self.low is None or self.high is None):
            raise ValueError("link logit needs both low and high")
        return self

    @model_validator(mode="after")
    def _has_levels(self) -> Measured:
        if self.link == "ordinal":
            if self.low is None or self.high is None:
                raise ValueError("link ordinal needs low and high, its first and last level")
            steps = (self.high - self.low) / self.step
            if abs(steps - round(steps)) > 1e-6:
                raise ValueError(f"levels {self.step:g} apart from {self.low:g} on never meet high {self.high:g}")
        return self

    @property
    def step(self) -> float:
        """The resolution; one where an ordinal channel declares none."""
        return self.resolution or (1.0 if self.link == "ordinal" else 0.0)


class Covariate(_Bounded):
    """Something read along the way that informs the channels and is not scored."""

    link: Literal["log", "logit", "real"] = "real"
    floor: float = Field(default=0.0, ge=0)
    fill: Literal["forward"] | None = None


class Action(_Bounded):
    """One intervention: a bolus in `unit`, a rate (the value held) or a switch (0 or 1); into `cmt` (NONMEM tables).

    A set-member (a drug of a screen, a gene turned up) is held from `onset` (study clock) until the last reading.
    In MEDS folders `code` are the events that give it, `stop` those that end a rate or a switch.
    """

    unit: Unit = ""
    low: float | None = 0.0
    kind: Literal["bolus", "rate", "switch", "set-member"] = "rate"
    onset: float | None = None
    recorded: Literal["until_next", "since_last"] = "until_next"
    blank: float | None = None
    cmt: Text | None = None
    stop: Codes = Field(default_factory=dict)

    @field_validator("kind", mode="before")
    @classmethod
    def _known_kind(cls, kind: Any) -> Any:
        if kind == "motion":
            raise ValueError(f"kind {kind!r} is not built yet; expected bolus, rate, switch or set-member")
        return kind

    @model_validator(mode="after")
    def _has_unit(self) -> Action:
        if self.kind not in ("switch", "set-member") and not self.unit:
            raise ValueError("expected a unit, such as mg/d for a rate or mg for a bolus")
        if self.onset is not None and self.kind != "set-member":
            raise ValueError(
                f"found onset beside kind: {self.kind}, expected it with set-member, which is held from then on"
            )
        if self.kind == "rate" and units.is_amount(self.unit):
            raise ValueError(
                f"found kind: rate in {self.unit!r}, an amount; expected one per time, such as '{self.unit}/h', "
                "or kind: bolus"
            )
        if self.kind == "bolus" and units.is_per_time(self.unit):
            raise ValueError(
                f"found kind: bolus in {self.unit!r}, something per time; expected an amount, or kind: rate"
            )
        return self


class Constant(Keys):
    """A property of a subject: a number in `unit`, or a category.

    In MEDS folders it is the value of `code`, or the time gone by since the first event `since` (MEDS_BIRTH: age).
    """

    unit: Unit = ""
    kind: Literal["real", "category"] = "real"
    column: str | None = None
    code: Codes = Field(default_factory=dict)
    since: Codes = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_unit(self) -> Constant:
        if self.kind == "real" and not self.unit:
            raise ValueError("expected a unit (write unit: 1 for a plain number) or kind: category")
        return self


class Events(Keys):
    """Interventions as their own table: a column per action, or the columns action, dose, onset, stop."""

    table: str
    subject: Columns | None = None
    time: str | None = None
    action: str = "action"
    dose: str = "dose"
    onset: str = "onset"
    stop: str = "stop"


class End(Keys):
    """Which values of `column` say that a subject ended (death, failure) or left."""

    column: str
    ended: tuple[Text, ...] = ()
    censored: tuple[Text, ...] = ()


class Assignment(Keys):
    """How the actions came about: what the word "effect" would need."""

    kind: Literal["randomised", "protocol", "observed"] = "observed"
    given: tuple[str, ...] = ()


class Shares(Keys):
    """Which subjects are held out: shares of the units `by`, or the words in `column`."""

    by: str = "subject"
    test: float = Field(default=0.2, ge=0, lt=1)
    calibrate: float = Field(default=0.2, ge=0, lt=1)
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
    format: Literal["csv", "tsv", "parquet", "xlsx", "curves", "nonmem", "meds"] | None = None
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
    duplicates: Literal["replicate", "mean"] | None = None
    empty: Literal["refuse", "drop"] = "refuse"

    @model_validator(mode="before")
    @classmethod
    def _only_paths(cls, data: Any) -> Any:
        later = _LATER & set(data) if isinstance(data, dict) else set()
        cloud = isinstance(data, dict) and data.get("regime") not in (None, "path")
        listed = isinstance(data, dict) and isinstance(data.get("actions"), dict) and "from" in data["actions"]
        if later or cloud or listed:
            what = sorted(later) or (["actions.from"] if listed else [f"regime {data['regime']}"])
            raise ValueError(f"{', '.join(what)}: screens (clouds) are not built yet; expected regime: path")
        return data

    @field_validator("format", mode="before")
    @classmethod
    def _known_format(cls, value: Any) -> Any:
        if value == "h5ad":
            raise ValueError("format 'h5ad' is not built yet; expected csv, tsv, parquet, xlsx, curves, nonmem or meds")
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
        if self.split.by not in ("subject", *self.groups):
            raise ValueError(
                f"split.by {self.split.by!r} is no group{closest(self.split.by, ['subject', *self.groups])}"
            )
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
            name, c.unit, c.link, c.low, c.high, c.floor, c.step, c.lloq, "target", code or None, c.below, c.control
        )
        for name, c, code in ((name, c, ", ".join(c.code)) for name, c in measured.items())
    ]
