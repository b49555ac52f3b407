"""The leaderboard: what committed result files say, beside the best simple rule and the bound of each task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from biowm.core.errors import BadInput, place
from biowm.core.interval import Interval, Row
from biowm.core.record import Record, digest
from biowm.train.cells.part import NO_SIGNAL

from .bench import Result, Standing, result_from_json, standings, task, winners
from .reports.html import Section, Table, page

_SKILL = (
    "Skill is the share of the way from the best simple rule to the bound that was gone: (m - rule) / (bound - rule). "
    "The bound is the floor or ceiling that the task prints (what a model that knows the equations reaches, or "
    "repeated measurements); a task without one has no skill, and says so. Intervals are 95 % over subjects; what "
    "stands after +- is the spread of the seeds, apart from them. Every split is a question of its own: no interval is "
    "widened for their number."
)


def read(folder: Path) -> list[tuple[str, Result]]:
    """Name and content of every result file of a folder.

    Raises BadInput where the folder holds no result or a file is not one.
    """
    files = sorted(folder.glob("*.json"))
    if not files:
        raise BadInput(f"{folder}: found no result, expected files written by `biowm bench run TASK --json FILE`")
    found = []
    for file in files:
        try:
            found.append((file.name, result_from_json(json.loads(file.read_text(encoding="utf-8")))))
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(place(file=file, found=str(error), expected="a file written by `biowm bench run`")) from None
    return found


def leaderboard_markdown(results: Sequence[tuple[str, Result]]) -> str:
    """Every task: who stands where on its primary metric, then all numbers, one table a metric."""
    parts = ["# Benchmarks", f"Written by `biowm bench report` from the files beside it. {_SKILL}"]
    for file, result in results:
        parts += [f"## {result.task}", _provenance(file, result), "\n".join(f"- {line}" for line in winners(result))]
        lines = [_HEAD, ("---",) * len(_HEAD), *(tuple(map(_text, row)) for row in _rows(result))]
        parts.append(_table(lines))
        parts += [f"**{metric}**\n\n{_table(_grid(result, metric))}" for metric in _metrics(result)]
    return "\n\n".join(parts) + "\n"


def leaderboard_html(results: Sequence[tuple[str, Result]]) -> str:
    """The same as one page: the standings of every task, and where each number comes from."""
    sections = [
        Section(result.task, (_provenance(file, result), *winners(result)), table=Table(_HEAD, _rows(result)))
        for file, result in results
    ]
    inputs = {file: digest(result.to_json()) for file, result in results}
    record = Record("bench", inputs, {"files": [file for file, _ in results]}, 0)
    stand = [s for _, result in results for s in standings(result) if s.world is not None and s.signal]
    ahead = sum(s.ahead for s in stand)
    verdict = f"The default world is ahead of the best simple rule in {ahead} of {len(stand)} splits."
    return page("Benchmarks", verdict, [Section("How to read it", (_SKILL,)), *sections], record)


_HEAD = ("split", "metric", "best simple rule", "its value", "world", "bound", "skill")


def _rows(result: Result) -> tuple[tuple[str | Interval, ...], ...]:
    return tuple(
        (s.split, s.metric, s.rule.name, _number(s.rule), _number(s.world), _number(s.bound), _share(s))
        for s in standings(result)
    )


def _number(row: Row | None) -> str | Interval:
    return "" if row is None else Interval(row.value, row.low, row.high, row.n)


def _share(standing: Standing) -> str:
    if not standing.signal:
        return NO_SIGNAL
    if standing.skill is not None:
        return f"{standing.skill:.2f}"
    return "no bound" if standing.bound is None or standing.world is None else "bound reached by the rule"


def _text(cell: str | Interval) -> str:
    return cell if isinstance(cell, str) else f"{cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}]"


def _provenance(file: str, result: Result) -> str:
    where = "" if result.machine is None else f" on {result.machine.cores} cores"
    seeds = f"{result.seeds} seed{'s' * (result.seeds > 1)}"
    return f"{file}: version {result.version}, {seeds}, {result.seconds:.0f} s{where}, commit {result.commit[:12]}."


def _metrics(result: Result) -> list[str]:
    """The one that decides first."""
    first = task(result.task).primary
    return sorted(dict.fromkeys(r.metric for r in result.rows), key=lambda metric: metric != first)


def _grid(result: Result, metric: str) -> list[tuple[str, ...]]:
    """Contenders by splits for one metric, baselines first; with several seeds their spread as well."""
    rows = [r for r in result.rows if r.metric == metric]
    names = sorted(dict.fromkeys((r.name, r.role) for r in rows), key=lambda n: n[1] == "ours")
    splits = list(dict.fromkeys(r.split for r in rows))
    spread = {(s.name, s.split): s.sd for s in result.spread if s.metric == metric}

    def cell(found: Row) -> str:
        more = spread.get((found.name, found.split))
        return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]" + ("" if more is None else f" +- {more:.3f}")

    cells = {(r.name, r.split): cell(r) for r in rows}
    lines = [("", "role", *splits), ("---",) * (len(splits) + 2)]
    return lines + [(name, role, *(cells.get((name, s), "") for s in splits)) for name, role in names]


def _table(lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
