"""The capability report as a page and as Markdown: levels first, then every gate, then the errors beside the rules."""

from __future__ import annotations

from ..certify import CEILINGS, Report
from .html import Section, Table, by_horizon, page
from .words import CRPS, GATES

_LADDER = (
    "Levels are a vector: dynamics, intervention, scale. Each is granted by its gates and by nothing else, and there "
    "is no single grade (after doi:10.21203/rs.3.rs-10404367/v1). A gate that failed or does not apply grants nothing."
)


def certificate_html(report: Report) -> str:
    """One self-contained page."""
    levels = Table(
        ("axis", "level", "what it means", "granted by (record)", "the next level needs"),
        tuple(
            (
                level.axis, f"L{level.level}", level.means,
                ", ".join(f"{gate} ({record})" for gate, record in level.granted_by.items()),
                "; ".join(f"{gate}: {why}" for gate, why in level.next_needs.items()),
            )
            for level in report.capability
        ),
    )  # fmt: skip
    gates = Table(
        ("gate", "question", "verdict", "what was found", "record"),
        tuple(
            (name, GATES.get(name, ""), v.status.replace("_", " "), v.detail, v.evidence.id)
            for name, v in report.verdicts.items()
        ),
        frozenset(i for i, v in enumerate(report.verdicts.values()) if v.status == "failed"),
    )
    errors = [r for r in report.rows if r.metric == "crps"]
    sections = (
        Section("Capability", (_LADDER,), table=levels),
        Section("Gates", ("Failed gates stand out; what does not apply says why.",), table=gates),
        Section("Errors", (_beside(report), CRPS), table=by_horizon(errors)),
    )
    return page(f"Capability report: {report.world}", _verdict(report), sections, report.record)


def certificate_markdown(report: Report) -> str:
    """The same for a repository or a paper's supplement."""
    lines = [f"# Capability report: {report.world}", "", _verdict(report), "", f"Record `{report.record.id}`.", ""]
    lines += ["## Capability", "", _LADDER, "", "| axis | level | what it means | granted by | the next level needs |"]
    lines += ["|---|---|---|---|---|"]
    for level in report.capability:
        granted = ", ".join(f"{gate} `{record}`" for gate, record in level.granted_by.items())
        needs = "; ".join(f"{gate}: {why}" for gate, why in level.next_needs.items())
        lines.append(_row(level.axis, f"L{level.level}", level.means, granted, needs))
    lines += ["", "## Gates", "", "| gate | verdict | what was found | record |", "|---|---|---|---|"]
    for name, v in report.verdicts.items():
        lines.append(_row(name, v.status.replace("_", " "), v.detail, f"`{v.evidence.id}`"))
    lines += ["", "## Errors", "", _beside(report), "", CRPS, ""]
    lines += ["| row | role | split | metric | value (95 % interval) | n |", "|---|---|---|---|---|---|"]
    for r in report.rows:
        lines.append(_row(r.name, r.role, r.split, r.metric, f"{r.value:.4g} ({r.low:.4g} to {r.high:.4g})", str(r.n)))
    lines += ["", "Research software, not a medical device."]
    return "\n".join(lines) + "\n"


def _verdict(report: Report) -> str:
    count = {s: sum(v.status == s for v in report.verdicts.values()) for s in ("passed", "failed", "not_applicable")}
    levels = ", ".join(f"{level.axis} L{level.level}" for level in report.capability)
    return (
        f"{levels}. {count['passed']} gates passed, {count['failed']} failed, "
        f"{count['not_applicable']} do not apply here."
    )


def _beside(report: Report) -> str:
    """The best simple rule, and what is not there to compare with."""
    missing = "".join(f" No row of {name}: {why}." for name, why in report.without.items())
    ceiling = "" if report.ceiling in CEILINGS else f" Ceiling: {report.ceiling}."
    return f"The best simple rule here is {report.best_rule}.{ceiling}{missing}"


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"
