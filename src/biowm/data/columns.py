"""What the columns of a table hold, as a study file declares it: times, readings, interventions, traits."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from biowm.core import units

from .codes import Codes
from .keys import Keys


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


Clock = Annotated[str, AfterValidator(_clock)]
Unit = Annotated[str, BeforeValidator(_text), AfterValidator(_unit)]
Text = Annotated[str, BeforeValidator(_text)]
Columns = Annotated[tuple[str, ...], BeforeValidator(_several), Field(min_length=1)]


class Time(Keys):
    """The column that says when, in `unit` or as dates (read by `format`); `at` where all was read at one time."""

    column: str = ""
    unit: Clock
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

    Readings below `lloq` or above `uloq` (a well that is full) are the limit. In NONMEM tables `dvid` or `cmt` says
    which readings are its, in MEDS folders `code`.
    """

    link: Literal["log", "logit", "real", "ordinal"] = "real"
    floor: float = Field(default=0.0, ge=0)
    resolution: float = Field(default=0.0, ge=0)
    lloq: float | None = None
    uloq: float | None = None
    blank: float | None = None
    below: str | None = None
    control: float | None = None
    dvid: Text | None = None
    cmt: Text | None = None

    @model_validator(mode="after")
    def _quantified(self) -> Measured:
        if self.lloq is not None and self.uloq is not None and not self.lloq < self.uloq:
            raise ValueError(f"lloq {self.lloq:g} is not below uloq {self.uloq:g}")
        return self

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
