"""What to measure next: a ranked batch of sets, with what each is expected to tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import pandas as pd

from biowm.core.futures import Support
from biowm.core.record import Record
from biowm.core.spec import WorldSpec

By = Literal["information", "balanced"]
_SHOWN = 40  # rows of the text


@dataclass(frozen=True)
class Proposed:
    """One set to measure: `members` at `doses` (texts with units) in a context; rank 1 comes first.

    `mean` and `sd` of its response are in the unit of the proposal, and `sd` is what the model does not know: noise of
    readings is not in it. `information` (nats) is what its reading is expected to tell besides those of better rank.
    `measured` says in how many conditions each member was measured.
    """

    rank: int
    members: tuple[str, ...]
    doses: tuple[str, ...]
    context: str
    mean: float
    sd: float
    information: float
    measured: tuple[int, ...]
    support: Support

    @property
    def set(self) -> str:
        """Its members in one text, such as KLF1+MAP2K6."""
        return "+".join(self.members)

    def cells(self) -> dict[str, Any]:
        """Its row of the table."""
        return {
            "rank": self.rank, "set": self.set, "doses": " + ".join(self.doses), "context": self.context,
            "mean": self.mean, "sd": self.sd, "information": self.information,
            "measured": "+".join(map(str, self.measured)), "support": self.support.verdict,
            "reasons": "; ".join(self.support.reasons),
        }  # fmt: skip


@dataclass(frozen=True)
class Proposal:
    """A batch of sets that were not measured yet, best first.

    `channels` are those about which something is to be learned, `response` says what mean and sd are of, in `unit`, and
    `time` when (world clock, from the start). Of `considered` sets `known` were measured already and left out.
    """

    spec: WorldSpec
    rows: tuple[Proposed, ...]
    by: By
    channels: tuple[str, ...]
    response: str
    unit: str
    time: float
    considered: int
    known: int
    notes: tuple[str, ...] = ()
    record: Record | None = None

    @property
    def information(self) -> float:
        """What the whole batch is expected to tell, in nats."""
        return sum(row.information for row in self.rows)

    def table(self) -> pd.DataFrame:
        """One row a set, best first."""
        return pd.DataFrame([row.cells() for row in self.rows])

    def to_json(self) -> dict[str, Any]:
        """The object that `biowm plan --experiments --json` prints."""
        return {
            "by": self.by,
            "channels": list(self.channels),
            "response": self.response,
            "unit": self.unit,
            "clock": self.spec.clock,
            "time": self.time,
            "considered": self.considered,
            "measured": self.known,
            "information": self.information,
            "experiments": [
                {**asdict(row), "set": row.set, "support": asdict(row.support)} for row in self.rows
            ],
            "notes": list(self.notes),
            "record": None if self.record is None else self.record.to_json(),
        }  # fmt: skip


def describe(found: Proposal) -> str:
    """The batch as a table to read."""
    head = ("rank", "set", "doses", "context", "predicted", "sd", "nats", "measured", "support")
    rows = [
        (
            str(r.rank), r.set, " + ".join(r.doses), r.context, f"{r.mean:.4g}", f"{r.sd:.3g}", f"{r.information:.3g}",
            "+".join(map(str, r.measured)), r.support.verdict,
        )
        for r in found.rows[:_SHOWN]
    ]  # fmt: skip
    plain = {"doses": {"1", "1 + 1"}, "context": {""}}  # members that are there or not, no traits: nothing to say
    kept = [k for k, name in enumerate(head) if not {row[k] for row in rows} <= plain.get(name, set())]
    lines = _aligned([[row[k] for k in kept] for row in (head, *rows)])
    if len(found.rows) > _SHOWN:
        lines.append(f"... and {len(found.rows) - _SHOWN} more (--out writes all)")
    unit = f" [{found.unit}]" if found.unit else ""
    order = "expected information" if found.by == "information" else "a balanced design"
    said = (
        f"Next {len(found.rows)} of {found.considered - found.known} sets, by {order}; "
        f"{found.known} of {found.considered} were measured already and are left out.",
        f"Predicted: {found.response}{unit} at {found.time:g} {found.spec.clock}; sd: what the model does not know.",
        f"The batch is expected to tell {found.information:.3g} nats; each row besides those above it.",
    )
    return "\n".join([*said, "", *lines, *(["", *found.notes] if found.notes else [])])


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in table]
