"""A report as one HTML file: no request leaves the page, and it prints and reads in light and dark."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from biowm.core.interval import Interval, Row
from biowm.core.record import Record

from .style import number

Cell = str | float | int | Interval


@dataclass(frozen=True)
class Table:
    """Column heads and rows; an `Interval` is printed with its bounds, the rows in `strong` stand out."""

    head: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Section:
    """One part of a report: a heading, paragraphs of plain text, a picture (SVG from `to_svg`) and a table.

    A line break inside a paragraph is kept.
    """

    heading: str
    text: tuple[str, ...] = ()
    figure: str = ""
    caption: str = ""
    table: Table | None = None


def by_horizon(rows: Sequence[Row]) -> Table:
    """Rows of one metric as a table: a line for each model, ours in bold, and a column for each horizon."""
    names, splits = list(dict.fromkeys(r.name for r in rows)), {r.split: r.n for r in rows}
    found = {(r.name, r.split): Interval(r.value, r.low, r.high, r.n) for r in rows}
    cells = tuple((name, *(found.get((name, split), "") for split in splits)) for name in names)
    ours = frozenset(names.index(r.name) for r in rows if r.role == "ours")
    return Table(("model", *(f"{split} (n = {n})" for split, n in splits.items())), cells, ours)


def page(title: str, verdict: str, sections: Sequence[Section], record: Record) -> str:
    """The whole report: the verdict first, then the sections, then what it was made from.

    All text is escaped; only `Section.figure` is taken as it is.
    """
    body = "\n".join(_section(section) for section in sections)
    style = resources.files("biowm.evaluate.reports").joinpath("report.css").read_text(encoding="utf-8")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{_(title)}</title>
<style>
{style}</style>
</head>
<body>
<main>
<h1>{_(title)}</h1>
<p class="verdict">{_(verdict)}</p>
{body}
</main>
{_footer(record)}
</body>
</html>
"""


def _(text: object) -> str:
    return html.escape(str(text))


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{_(section.heading)}</h2>", *(f"<p>{_(text)}</p>" for text in section.text)]
    if section.figure:
        caption = f"<figcaption>{_(section.caption)}</figcaption>" if section.caption else ""
        drawn = f'<div class="wide">{section.figure}</div>'
        parts.append(f'<figure aria-label="{_(section.heading)}">{drawn}{caption}</figure>')
    if section.table is not None:
        parts.append(_table(section.table))
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    head = "".join(f"<th>{_(name)}</th>" for name in table.head)
    rows = []
    for i, row in enumerate(table.rows):
        kind = ' class="strong"' if i in table.strong else ""
        rows.append(f"<tr{kind}>{''.join(_cell(cell) for cell in row)}</tr>")
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n' + "\n".join(rows) + "\n</table></div>"


def _cell(cell: Cell) -> str:
    if isinstance(cell, str):
        return f"<td>{_(cell)}</td>"
    if isinstance(cell, Interval):
        bounds = f" <small>({number(cell.low)} to {number(cell.high)})</small>"
        return f'<td class="number">{number(cell.value)}{bounds}</td>'
    return f'<td class="number">{cell if isinstance(cell, int) else number(cell)}</td>'


def _footer(record: Record) -> str:
    def listed(items: Mapping[str, object]) -> str:
        return ", ".join(f"{_(k)} {_(v)}" for k, v in items.items())

    inputs = listed({name: f"{digest[:12]}" for name, digest in record.inputs.items()})
    return f"""<footer>
<p><strong>Research software, not a medical device.</strong> For research use only: not for diagnosis or treatment.</p>
<p>Record <code>{_(record.id)}</code>, {_(record.kind)}, seed {record.seed}, {_(record.time)}.</p>
<p>Made from {inputs or "no file"}, with {listed(record.versions)}.</p>
</footer>"""
