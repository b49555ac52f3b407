"""The two ways to say no: the input is bad, or the honest answer is an abstention."""

from __future__ import annotations

from dataclasses import dataclass


class BadInput(ValueError):
    """Bad input or usage (exit code 2): one message with the place, what was found and what was expected."""


@dataclass(frozen=True)
class Abstention:
    """A result (exit code 3): no answer is given, for these reasons."""

    reasons: tuple[str, ...]

    def __str__(self) -> str:
        return "abstained: " + "; ".join(self.reasons)


def place(
    *,
    file: object = None,
    row: object = None,
    column: object = None,
    found: object = None,
    expected: str | None = None,
) -> str:
    """One line that says where something is wrong, what was found and what was expected."""
    where = [f"{k} {v}" for k, v in (("file", file), ("row", row), ("column", column)) if v is not None]
    what = [] if found is None else [f"found {found!r}" if isinstance(found, str) else f"found {found}"]
    if expected is not None:
        what.append(f"expected {expected}")
    return ", ".join(where) + (": " if where and what else "") + ", ".join(what)
