"""Certify: every gate put to one exam, and a report that cannot leave out the baselines or hide a failure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Group
from rich.table import Table

from biowm.core import registry
from biowm.core.interval import Role, Row, row
from biowm.core.record import Record

from .baselines import BASELINES
from .exam import Exam, Verdict
from .ladder import Level, climb
from .metrics import Tally, interval
from .replicates import losses, missing

CEILINGS = ("truth", "replicates")  # rows of what knows the equations, and of an experiment done again
_STYLES = {"passed": "green", "failed": "bold red", "not_applicable": "yellow"}


@dataclass(frozen=True)
class Report:
    """What each gate found and the levels that this grants, beside the rows of the world and of every rule.

    There is no single grade. `without` holds the baselines that could not be fitted, each with the reason. `ceiling`
    says what bounds the errors: the row `truth` (a simulator that knows the equations and not the chances), the row
    `replicates` (what others, declared to be the same, did), or why there is neither.

    Raises ValueError where the last value, the best simple rule or any other baseline has neither row nor reason, or
    nothing is said of the ceiling.
    """

    world: str
    best_rule: str
    verdicts: dict[str, Verdict]
    rows: tuple[Row, ...]
    record: Record
    ceiling: str
    channels: int
    without: Mapping[str, str] = field(default_factory=dict)

    @property
    def capability(self) -> tuple[Level, ...]:
        """The level on every axis of the ladder."""
        return climb(self.verdicts, self.channels)

    def __post_init__(self) -> None:
        shown = {r.name for r in self.rows if r.role == "baseline"}
        missing = sorted(({"persistence", self.best_rule} | set(BASELINES) - set(self.without)) - shown)
        if missing:
            raise ValueError(f"a report without its baselines is refused: no row of {', '.join(missing)}")
        bounds = {r.name for r in self.rows if r.role == "ceiling"}
        if not self.ceiling or bounds != {self.ceiling} & set(CEILINGS):
            raise ValueError("a report without its ceiling is refused: give its row, or say why there is none")

    def to_json(self) -> dict[str, Any]:
        """Plain data: verdicts with their evidence, rows and record."""
        verdicts = {
            name: {
                "status": v.status,
                "value": None if v.value is None else asdict(v.value),
                "detail": v.detail,
                "evidence": v.evidence.to_json(),
            }
            for name, v in self.verdicts.items()
        }
        return {
            "world": self.world,
            "best_rule": self.best_rule,
            "ceiling": self.ceiling,
            "without": dict(self.without),
            "capability": {level.axis: level.to_json() for level in self.capability},
            "gates": verdicts,
            "rows": [r.to_json() for r in self.rows],
            "record": self.record.to_json(),
        }

    def __rich__(self) -> Group:
        """Two tables: the gates, and the errors with the baselines first."""
        gates = Table("gate", "verdict", "what was found", title=f"Gates: {self.world}", title_justify="left")
        for name, v in self.verdicts.items():
            gates.add_row(name, f"[{_STYLES[v.status]}]{v.status.replace('_', ' ')}[/]", v.detail)
        return Group(gates, self._ladder(), self._errors())

    def _ladder(self) -> Table:
        table = Table(
            "axis", "level", "what it means", "the next level needs", title="Capability", title_justify="left"
        )
        for level in self.capability:
            needs = "; ".join(f"{gate} ({why.split(':')[0]})" for gate, why in level.next_needs.items())
            table.add_row(level.axis, f"L{level.level}", level.means, needs)
        table.caption = "each level is granted by its gates alone (doi:10.21203/rs.3.rs-10404367/v1); there is no grade"
        return table

    def _errors(self) -> Table:
        splits = list(dict.fromkeys(r.split for r in self.rows))
        found = {(r.name, r.split): r for r in self.rows if r.metric == "crps"}
        names = sorted({r.name for r in self.rows}, key=lambda n: (n == "world", n in CEILINGS, n != "persistence", n))
        table = Table("CRPS", *splits, title=f"Best simple rule: {self.best_rule}", title_justify="left")
        for name in names:
            table.add_row(name, *(_cell(found.get((name, split))) for split in splits))
        table.caption = (
            f"free-running error in standardised link units [95 % interval over subjects]; ceiling: {self.ceiling}"
        ) + "".join(f"; no {name}: {why}" for name, why in self.without.items())
        return table


def _cell(found: Row | None) -> str:
    return "" if found is None else f"{found.value:.3f} \\[{found.low:.3f}, {found.high:.3f}]"


def certify(exam: Exam) -> Report:
    """Put every registered gate to the exam, whose `progress` hears of each.

    Returns the report; a gate that does not apply says so, and none is averaged into a grade.
    """
    gates, verdicts = registry.names("gates"), {}
    for i, name in enumerate(gates):
        exam.progress(f"gate {name}", i / len(gates))
        verdicts[name] = registry.get("gates", name)(exam)
    ceiling = _ceiling(exam)
    rows = tuple(_rows(exam, ceiling))
    parents = tuple(v.evidence.id for v in verdicts.values())
    evidence = exam.record("all", {name: v.status for name, v in verdicts.items()})
    record = Record(evidence.kind, evidence.inputs, evidence.config, exam.seed, parents, evidence.metrics)
    channels = len(exam.world.spec.channels)
    return Report(exam.world.spec.name, exam.best_rule(), verdicts, rows, record, ceiling, channels, exam.without)


def _ceiling(exam: Exam) -> str:
    """The name of the row that bounds the errors, or why there is none."""
    if exam.truth is not None:
        return "truth"
    why = missing(exam)
    return f"none: no simulator of these data is known, and {why}" if why else "replicates"


def _rows(exam: Exam, ceiling: str) -> list[Row]:
    """Errors of every rule, of the ceiling, and of the world at each horizon, baselines first."""
    rules = sorted(exam.rules, key=lambda name: (name != "persistence", name))
    roles: dict[str, Role] = dict.fromkeys(rules, "baseline")
    if ceiling in CEILINGS:
        roles[ceiling] = "ceiling"
    roles["world"] = "ours"
    repeated = losses(exam) if ceiling == "replicates" else {}

    def curve(name: str, metric: str) -> tuple[Tally, ...]:
        if name == "replicates":
            return exam.by_horizon(metric, repeated[metric])
        return exam.curve(exam.answer(name), metric)

    return [
        row(name, role, label, metric, interval(t, seed=exam.seed))
        for name, role in roles.items()
        for metric in ("crps", "mae", "rmse")
        for label, t in zip(exam.horizons.labels(), curve(name, metric), strict=True)
        if len(t.units)
    ]
