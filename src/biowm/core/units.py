"""Units: one pint registry that knows the units of biology and medicine."""

from __future__ import annotations

import functools
import re
import tokenize
import warnings
from typing import Any

_DEFINITIONS = (
    "international_unit = [international_unit] = IU",
    "insulin_unit = [insulin_unit] = U_insulin",
    "equivalent = [charge_equivalent] = Eq",
    "cell = [cell] = cells",
    "multiplicity_of_infection = [infection] = MOI",
    "beat = [beat] = beats",
    "bpm = beat / minute",
    "copy = [copy] = copies",
    "reading = [reading] = readings",
    "percent_confluence = [confluence] = pct_confluence",
    # what tables call them
    "calendar_week = week = wk",
    "body_surface = meter ** 2 = m2",
    "square_millimeter = millimeter ** 2 = mm2",
    "square_micrometer = micrometer ** 2 = um2",
    "cubic_millimeter = millimeter ** 3 = mm3",
    "cubic_cm = centimeter ** 3 = cm3",
    "cubic_micrometer = micrometer ** 3 = um3",
    *(f"ten_to_{n} = 1e{n}" for n in (3, 6, 9, 12)),
)
_BARE_U = re.compile(r"(?<![A-Za-z_])U(?![A-Za-z_])")
_POWER = re.compile(r"(?:[x×]\s*)?10(?:\^|\*\*)(3|6|9|12)(?=\s*/)")  # as in 10^9/L
_QUANTITY = re.compile(r"^\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*$")


class UnitError(ValueError):
    """A unit that is unknown, ambiguous or of the wrong dimension."""


@functools.cache
def registry():
    """The shared pint registry (built on first use: pint takes a while to import)."""
    import pint

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ureg = pint.UnitRegistry(on_redefinition="ignore", cache_folder=None)
        for line in _DEFINITIONS:
            ureg.define(line)
    return ureg


@functools.lru_cache(maxsize=512)
def parse(unit: str):
    """The pint unit called `unit`. Raises UnitError for unknown units and for a bare `U`."""
    text = unit.strip()
    if _BARE_U.search(text):
        raise UnitError(
            f"unit {unit!r}: a bare 'U' is ambiguous; write 'IU' (international unit), 'U_insulin' or 'enzyme_unit'"
        )
    import pint

    text = text.replace("%", "percent").replace("µ", "u").replace("μ", "u")
    text = _POWER.sub(r"ten_to_\1", text)
    try:
        return registry().Unit(text if text else "dimensionless")
    except (
        pint.errors.PintError,
        AssertionError,
        TypeError,
        ValueError,
        AttributeError,
        SyntaxError,
        tokenize.TokenError,
    ):
        raise UnitError(f"unknown unit {unit!r}") from None


def _kind(unit: str) -> tuple:
    """Dimensions before cancellation, so that mg/kg and % stay different things."""
    parts: dict[str, Any] = {}
    ureg = registry()
    for name, power in dict[str, Any](parse(unit)._units).items():
        dims = ureg.get_dimensionality(name)
        label = "*".join(f"{d}^{p}" for d, p in sorted(dims.items()))
        if label:
            side = f"{label} {'per' if power < 0 else 'of'}"
            parts[side] = parts.get(side, 0) + power
    return tuple(sorted(parts.items()))


@functools.lru_cache(maxsize=512)
def factor(source: str, target: str) -> float:
    """The number that turns a value in `source` into one in `target`.

    Raises UnitError where the dimensions differ, or the zeros; a ratio such as mg/kg never becomes %.
    """
    one, zero = affine(source, target)
    if zero != 0:
        raise UnitError(f"cannot convert {source!r} to {target!r} by a factor: their zeros differ")
    return one


@functools.lru_cache(maxsize=512)
def affine(source: str, target: str) -> tuple[float, float]:
    """Scale and offset that turn a reading in `source` into one in `target`: 98.6 degF is 37 degC.

    Raises UnitError where the dimensions differ; a ratio such as mg/kg never becomes %.
    """
    a, b = parse(source), parse(target)
    if a.dimensionality != b.dimensionality or (a.dimensionless and _kind(source) != _kind(target)):
        raise UnitError(
            f"unit mismatch: {source!r} cannot be turned into {target!r} "
            f"({a.dimensionality or 'dimensionless'} against {b.dimensionality or 'dimensionless'})"
        )
    zero, one = (float(registry().Quantity(value, a).to(b).magnitude) for value in (0.0, 1.0))
    return one - zero, zero


def per(unit: str, clock: str) -> bool:
    """Whether `unit` is something per exactly `clock`: mg/h is per h, mg/min is not."""
    whole = dict[str, Any](parse(f"({unit}) * ({clock})")._units)
    clocks = {*dict[str, Any](parse(clock)._units)}
    return not any(name in clocks or registry().get_dimensionality(name) == {"[time]": 1} for name in whole)


_AMOUNTS = ({"[mass]": 1}, {"[substance]": 1}, {"[insulin_unit]": 1}, {"[international_unit]": 1})


def is_amount(unit: str) -> bool:
    """Whether `unit` is one of an amount alone, neither per time nor per volume: mg, nmol, IU, U_insulin."""
    return dict(parse(unit).dimensionality) in _AMOUNTS


def is_per_time(unit: str) -> bool:
    """Whether `unit` is something per time: mg/d, U_insulin/kg/h (but not Gy or kPa, which are per time squared)."""
    return dict[str, Any](parse(unit).dimensionality).get("[time]", 0) == -1


def quantity(text: str, unit: str, what: str = "value") -> float:
    """Read '365 d' as a number in `unit`; a number without a unit is refused.

    Raises UnitError, naming `what`, the text found and the unit expected.
    """
    match = _QUANTITY.match(text)
    if not match or not match.group(2):
        raise UnitError(f"{what}: found {text!r}, expected a number with a unit such as '28 {unit}'")
    try:
        return float(match.group(1)) * factor(match.group(2), unit)
    except UnitError as error:
        raise UnitError(f"{what}: {error}") from None
