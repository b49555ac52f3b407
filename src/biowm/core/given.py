"""Conditions on who is drawn or asked about.

Such as `age=70 yr`, `age=60:70 yr`, `psa=4:20 ng/mL` (the first reading) and `line=2`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from . import units
from .errors import BadInput, place
from .spec import Trait, WorldSpec

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_RANGE = re.compile(rf"\s*(?P<low>{_NUMBER})\s*(?::\s*(?P<high>{_NUMBER})\s*)?(?P<unit>.*?)\s*")


@dataclass(frozen=True)
class Given:
    """A trait, or the first reading of a channel, that lies between `low` and `high` (its unit; equal: is so).

    `column` counts the numbers of the trait vector, then the channels; a level of a category is a column that is 1.
    """

    text: str
    column: int
    low: float
    high: float

    @property
    def exact(self) -> bool:
        """Whether it names one value."""
        return self.low == self.high

    def holds(self, values: Float[np.ndarray, "n c"]) -> np.ndarray:
        """Which rows of all columns keep it; what was not read keeps nothing."""
        own = values[:, self.column]
        return (own >= self.low) & (own <= self.high)


def parse_given(texts: Sequence[str], spec: WorldSpec, *, option: str = "--given") -> tuple[Given, ...]:
    """Read conditions; BadInput names the text (given by `option`), what was found and what was expected."""
    try:
        return tuple(_one(text.strip(), spec) for text in texts)
    except BadInput as error:
        raise BadInput(f"{option} {error}") from None


def impose(traits: Float[np.ndarray, "n s"], spec: WorldSpec, given: Sequence[Given], option: str) -> None:
    """Give rows of trait vectors the traits that are asked for, in place.

    Raises: BadInput, naming the text (given by `option`), for a range or a condition on a first reading.
    """
    for one in given:
        if one.column >= spec.trait_width or not one.exact:
            raise BadInput(f"{option} {one.text!r}: expected a trait, and one value of it")
        for block in spec.trait_places:
            if block.start <= one.column < block.stop:
                traits[:, block] = 0.0
        traits[:, one.column] = one.low


def _one(text: str, spec: WorldSpec) -> Given:
    name, sign, value = (part.strip() for part in text.partition("="))
    traits = {t.name: (t, place.start) for t, place in zip(spec.traits, spec.trait_places, strict=True)}
    channels = {c.name: spec.trait_width + j for j, c in enumerate(spec.channels)}
    if not sign or name not in {**traits, **channels}:
        known = ", ".join([*traits, *channels])
        raise _bad(text, name, f"NAME=VALUE or NAME=LOW:HIGH, where NAME is one of {known}")
    if name in traits and traits[name][0].kind == "category":
        return _level(text, value, *traits[name])
    unit = traits[name][0].unit if name in traits else spec.channels[channels[name] - spec.trait_width].unit
    low, high = _range(text, value, unit)
    return Given(text, traits[name][1] if name in traits else channels[name], low, high)


def _level(text: str, value: str, trait: Trait, at: int) -> Given:
    if value not in trait.levels:
        raise _bad(text, value, f"one of {', '.join(trait.levels)}")
    return Given(text, at + trait.levels.index(value), 1.0, 1.0)


def _range(text: str, value: str, unit: str) -> tuple[float, float]:
    match = _RANGE.fullmatch(value)
    if match is None or (not match["unit"] and units.parse(unit) != units.parse("")):
        raise _bad(text, value, f"a number or LOW:HIGH with a unit such as {unit or 'none'}")
    try:
        factor = units.factor(match["unit"], unit) if match["unit"] else 1.0
    except units.UnitError as error:
        raise BadInput(f"{text!r}: {error}") from None
    low = float(match["low"]) * factor
    high = low if match["high"] is None else float(match["high"]) * factor
    if high < low:
        raise _bad(text, value, "LOW:HIGH with LOW below HIGH")
    return low, high


def _bad(text: str, found: str, expected: str) -> BadInput:
    return BadInput(f"{text!r}: " + place(found=found, expected=expected))
