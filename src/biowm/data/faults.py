"""The one form of every message that data are wrong."""

from __future__ import annotations

from biowm.core.errors import BadInput, place


def fault(found: str, expected: str, *, file: object = None, row: object = None, column: object = None) -> BadInput:
    """'file, row, column: found this, expected that'; `found` is a description, or the repr of a cell."""
    return BadInput(f"{place(file=file, row=row, column=column)}: found {found}, expected {expected}")
