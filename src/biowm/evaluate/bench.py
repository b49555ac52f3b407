"""The bench: runs a task over seeds and reports every contender's numbers, the best simple rule first if it wins."""

from __future__ import annotations

import functools
import itertools
import platform
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Group
from rich.table import Table
from rich.text import Text

from biowm.core import registry
from biowm.core.errors import BadInput, place
from biowm.core.executor import Executor, serial
from biowm.core.interval import Role, Row, row
from biowm.data import catalogue
from biowm.train.cells.part import NO_SIGNAL
from biowm.train.contest import Progress, silent
from biowm.train.workers import cores

from .metrics import Tally, average, interval
from .task import Setting, Task


@dataclass(frozen=True)
class Machine:
    """What `seconds` and `peak_mb` were measured on: cores that the process may use, and what it ran."""

    system: str
    architecture: str
    cores: int
    python: str
    jax: str
    backend: str


@dataclass(frozen=True)
class Spread:
    """How far the seeds lie apart (standard deviation of their values): not the sampling error of an interval."""

    name: str
    split: str
    metric: str
    sd: float


@dataclass(frozen=True)
class Result:
    """One run of a task: what `biowm bench run --json` prints; older files do not say on which machine.

    The intervals of `rows` are over subjects; `spread` is apart from them, of rows that several seeds have.
    """

    task: str
    version: str
    seeds: int
    seconds: float
    peak_mb: float
    commit: str
    data_sha256: str | None
    rows: tuple[Row, ...]
    machine: Machine | None = None
    spread: tuple[Spread, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The object of the command line's contract, and nothing besides."""
        machine = None if self.machine is None else vars(self.machine)
        spread = [vars(s) for s in self.spread]
        return {**vars(self), "rows": [r.to_json() for r in self.rows], "machine": machine, "spread": spread}

    def __rich__(self) -> Group:
        """Who wins, then a table of every contender."""
        metrics = list(dict.fromkeys(r.metric for r in self.rows))
        tables = [_table(self.rows, metric) for metric in metrics]
        return Group(*(Text(line) for line in winners(self)), *tables)


def result_from_json(data: dict[str, Any]) -> Result:
    """The inverse of `Result.to_json`."""
    machine = data.get("machine")
    rows = tuple(Row(**r) for r in data["rows"])
    spread = tuple(Spread(**s) for s in data.get("spread", ()))
    return Result(**{
        **data, "rows": rows, "machine": None if machine is None else Machine(**machine), "spread": spread,
    })  # fmt: skip


def task(name: str) -> Task:
    """The task called `name`. Raises BadInput listing those there are."""
    try:
        return registry.get("tasks", name)()
    except KeyError:
        known = ", ".join(registry.names("tasks"))
        raise BadInput(place(column="TASK", found=name, expected=f"one of {known}")) from None


def run(
    name: str,
    setting: Setting,
    *,
    seeds: int | None = None,
    progress: Progress = silent,
    executor: Executor | None = None,
) -> Result:
    """Run a task over `seeds` seeds (default: 5, or 1 if quick), one after the other or as `executor` does.

    Raises BadInput for an unknown task or variant and for missing data. `progress(text, share)` hears of fits
    and of each contender as it is scored, or, from an executor, of each seed.
    """
    chosen = task(name)
    if setting.variant is not None and setting.variant not in chosen.variants:
        expected = f"one of {', '.join(chosen.variants)}" if chosen.variants else "none: this task has no variant"
        raise BadInput(place(column="--variant", found=setting.variant, expected=expected))
    seeds = (1 if setting.effort == "quick" else 5) if seeds is None else seeds
    if seeds < 1:
        raise BadInput(place(column="--seeds", found=seeds, expected="at least 1"))
    start, commit = time.perf_counter(), _commit()  # the commit that runs, whatever is committed meanwhile
    scope = chosen.scope(setting)
    rows, spread = _rows(name, setting, seeds, progress, executor)
    return Result(
        task=name,
        version=f"{chosen.version} ({scope})" if scope else chosen.version,
        seeds=seeds,
        rows=rows,
        seconds=round(time.perf_counter() - start, 1),
        peak_mb=round(_peak_mb(), 1),
        commit=commit,
        data_sha256=None if chosen.data is None else catalogue.known(chosen.data).sha256,
        machine=_machine(),
        spread=spread,
    )


Key = tuple[str, Role, str, str]  # name, role, split and metric


def _rows(
    name: str, setting: Setting, seeds: int, progress: Progress, executor: Executor | None
) -> tuple[tuple[Row, ...], tuple[Spread, ...]]:
    """Every contender's rows, pooled over seeds, and how far the seeds lie apart."""
    if executor is None:
        found = serial(functools.partial(_seed, name, setting, seeds, progress), range(seeds), lambda _: None)
    else:
        ended = itertools.count(1)
        job = functools.partial(_seed, name, setting, seeds, silent)
        found = executor(job, range(seeds), lambda seed: progress(f"seed {seed} is done", next(ended) / seeds))
    tallies: dict[Key, list[Tally]] = defaultdict(list)
    for scored in found:
        for key, counted in scored.items():
            tallies[key].append(counted)
    pooled = {key: average(parts) for key, parts in tallies.items()}
    rows = [row(*key, interval(counted)) for key, counted in pooled.items() if len(counted.units)]
    apart = tuple(
        Spread(who, split, metric, float(np.std([interval(part).value for part in parts], ddof=1)))
        for (who, _, split, metric), parts in tallies.items()
        if len(parts) > 1 and all(len(part.units) for part in parts)
    )
    return (*rows, *task(name).beside(pooled, setting)), apart


def _seed(name: str, setting: Setting, seeds: int, progress: Progress, seed: int) -> dict[Key, Tally]:
    """What every contender scores on the problem of one seed."""
    chosen, reached = task(name), 0.0

    def tell(text: str, share: float) -> None:
        nonlocal reached
        reached = share
        progress(f"seed {seed}: {text}", (seed + share) / seeds)

    problem = chosen.make(seed, setting)
    tallies: dict[Key, Tally] = {}
    for answer in chosen.contend(problem, tell):
        tell(answer.name, reached)
        for (split, metric), counted in chosen.score(answer.prediction, problem).items():
            tallies[answer.name, answer.role, split, metric] = counted
    return tallies


_VERDICT = ("verdict", "ceiling")  # 0: replicates show no signal


@dataclass(frozen=True)
class Standing:
    """One split of a task by its primary metric: the best simple rule, our default world, the bound, and the skill."""

    split: str
    metric: str
    higher: bool
    rule: Row
    world: Row | None
    bound: Row | None
    signal: bool = True  # False: replicates themselves do not agree beyond chance, and no figure is evidence

    @property
    def ahead(self) -> bool:
        """Whether the world is better than the best simple rule, where there is anything to foretell."""
        if self.world is None or not self.signal:
            return False
        return self.world.value > self.rule.value if self.higher else self.world.value < self.rule.value

    @property
    def skill(self) -> float | None:
        """None where there is no world, no bound or no signal, or the best rule has reached the bound."""
        if self.world is None or self.bound is None or not self.signal:
            return None
        if (self.bound.value <= self.rule.value) if self.higher else (self.bound.value >= self.rule.value):
            return None
        return (self.world.value - self.rule.value) / (self.bound.value - self.rule.value)


def standings(result: Result) -> tuple[Standing, ...]:
    """One for each split that has a simple rule."""
    chosen, found = task(result.task), []
    best, nearest = (max, min) if chosen.higher else (min, max)  # of several bounds the one that can be reached
    for split in dict.fromkeys(r.split for r in result.rows):
        rows = [r for r in result.rows if r.split == split and r.metric == chosen.primary]
        rules, bounds = ([r for r in rows if r.role in kind] for kind in (("baseline",), ("floor", "ceiling")))
        if rules:
            rule = best(rules, key=lambda r: r.value)
            world = next((r for r in rows if r.name == "world"), None)
            bound = nearest(bounds, key=lambda r: r.value) if bounds else None
            signal = not any(r.value == 0 for r in result.rows if (r.split, r.metric, r.role) == (split, *_VERDICT))
            found.append(Standing(split, chosen.primary, chosen.higher, rule, world, bound, signal))
    return tuple(found)


def winners(result: Result) -> list[str]:
    """One sentence a split: the best simple rule beside `world`, and who is ahead on the task's primary metric.

    Where replicates do not agree beyond chance the sentence says that, and nobody is ahead. The task's remarks follow.
    """
    lines = []
    for s in standings(result):
        line = f"{s.split}: best simple rule {s.rule.name} {s.rule.value:.3f} ({s.metric})"
        if s.world is not None:
            ours = f"world {s.world.value:.3f}"
            line += f"; {ours} is ahead" if s.ahead else f" wins; {ours}" if s.signal else f"; {ours}"
        lines.append(line if s.signal else f"{s.split}: {NO_SIGNAL} ({line.removeprefix(f'{s.split}: ')})")
    return [*lines, *task(result.task).remarks(result.rows)]


def _table(rows: Iterable[Row], metric: str) -> Table:
    """Contenders by splits for one metric, baselines first."""
    names, splits, cells = _grid([r for r in rows if r.metric == metric])
    table = Table(metric, "role", *splits)
    for name, role in names:
        table.add_row(name, role, *(cells.get((name, s), "").replace("[", "\\[") for s in splits))
    return table


def _grid(rows: list[Row]) -> tuple[list[tuple[str, str]], list[str], dict[tuple[str, str], str]]:
    """Names with roles (baselines first), splits, and a cell for each."""
    names = sorted(dict.fromkeys((r.name, r.role) for r in rows), key=lambda n: n[1] == "ours")
    cells = {(r.name, r.split): f"{r.value:.3f} [{r.low:.3f}, {r.high:.3f}]" for r in rows}
    return names, list(dict.fromkeys(r.split for r in rows)), cells


def _peak_mb() -> float:
    """The most memory that this process, or one it has ended, has held, in MB (the unit differs by system)."""
    most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return most / (1 if sys.platform == "linux" else 1024) / 1024


def _machine() -> Machine:
    system, architecture, python = platform.system(), platform.machine(), platform.python_version()
    return Machine(system, architecture, cores(), python, jax.__version__, jax.default_backend())


def _commit() -> str:
    """The commit of the code that ran, `-dirty` where it was changed since; `unknown` outside a repository."""
    asked = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        found = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    except OSError:
        return "unknown"
    return found.stdout.strip() or "unknown"
