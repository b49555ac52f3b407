"""Codes of events (MEDS): what a study file writes of them, and which codes it means by that."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from biowm.core import units

from .keys import Keys


def _named(value: Any) -> Any:
    """One code or several, each with the unit of its values (or a factor): none where it is the declared one."""
    if isinstance(value, str | int):
        return {str(value): None}
    if isinstance(value, list | tuple):
        return dict.fromkeys(map(str, value))
    return {str(code): unit for code, unit in value.items()} if isinstance(value, dict) else value


def _known(codes: dict[str, str | float | None]) -> dict[str, str | float | None]:
    for unit in codes.values():
        if isinstance(unit, str):
            units.parse(unit)
    return codes


Codes = Annotated[dict[str, str | float | None], BeforeValidator(_named), AfterValidator(_known)]


def _length(text: str) -> str:
    if units.quantity(text, "s", "length") <= 0:
        raise ValueError(f"length {text!r} is not above 0")
    return text


class Window(Keys):
    """The part of each record that is used: from the first event of `code` on, for `length` (such as 72 h)."""

    code: Annotated[Codes, Field(min_length=1)]
    length: Annotated[str, AfterValidator(_length)]


def match(pattern: str, code: str) -> str | None:
    """What the first * of `pattern` stands for in `code` ('' where there is none); None where they differ."""
    found = _whole(pattern).fullmatch(code)
    return None if found is None else (found.group(1) if found.groups() else "")


@functools.cache
def _whole(pattern: str) -> re.Pattern[str]:
    return re.compile("(.*)".join(map(re.escape, pattern.split("*"))), re.DOTALL)


def select(codes: Iterable[str], names: Iterable[str]) -> dict[str, str]:
    """The names that are meant by `codes`, each with the first of them that means it."""
    patterns = list(codes)
    found = {}
    for name in names:
        meant = next((p for p in patterns if match(p, name) is not None), None)
        if meant is not None:
            found[name] = meant
    return found


def conversion(codes: Mapping[str, str | float | None], pattern: str, unit: str) -> tuple[float, float]:
    """Scale and offset that turn the values of a code into `unit`. Raises UnitError where they are another thing."""
    source = codes[pattern]
    if source is None:
        return 1.0, 0.0
    return units.affine(source, unit) if isinstance(source, str) else (float(source), 0.0)
