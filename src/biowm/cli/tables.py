"""Results as tables to read, and as the JSON of the commands."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.table import Table
from rich.text import Text

from biowm.core.contrast import SHARE, Contrast, describe
from biowm.core.futures import Futures
from biowm.core.interval import Interval, Row
from biowm.engine.trial import Trial
from biowm.evaluate.heldout_cells import GENES
from biowm.evaluate.reports.cells import headline
from biowm.plan.populations import Predicted
from biowm.train.cells.part import CellPart
from biowm.train.fitted import Fitted
from biowm.train.race import Race

_MOST_TIMES, _MOST_GENES = 12, 20


def fit_json(fitted: Fitted, folder: Path) -> dict[str, Any]:
    """The object that `biowm fit --json` prints: where, who won, the held-out rows, the record."""
    race = fitted.race
    return {
        "out": str(folder),
        "horizons": list(fitted.horizons.labels()),
        "race": [vars(row) for row in race.rows],
        "best_rule": race.best_rule,
        "rules_weight": race.rules_weight,
        "level": fitted.calibration.level,
        "calibration_subjects": fitted.calibration.subjects,
        "rows": [row.to_json() for row in fitted.rows],
        "record": fitted.record.to_json(),
    }


def fit_summary(fitted: Fitted) -> list[Table | str]:
    """Who won, the ranking, how the winner does on people it has not seen, and what its bands promise."""
    race, trust = fitted.race, fitted.calibration
    promise = (
        f"Bands hold the whole path with probability {trust.level:g}, calibrated on {trust.subjects} subjects."
        if trust.level is not None
        else f"No 90 % promise: {trust.subjects} calibration subjects, at least nine are needed."
    )
    lines: list[Table | str] = [f"{headline(fitted)}.", ranking(race)]
    lines.append(
        f"In the blend the simple rules weigh {race.rules_weight:.2f}; `world:no-rules` is the same without them."
    )
    if fitted.rows:
        shown = ("world", "world:no-rules", race.best_rule, "persistence")
        lines.append(held_out([r for r in fitted.rows if r.split != GENES], shown))
    if fitted.cells is not None and any(r.split == GENES for r in fitted.rows):
        lines.append(genes_held_out(fitted.rows))
    return [*lines, promise]


def ranking(race: Race) -> Table:
    """Every entrant of the race, best first."""
    table = Table(
        "entrant",
        "kind",
        "CRPS \\[95 % interval]",
        "weight",
        title="The race, on held-out training subjects",
        title_justify="left",
    )
    for row in race.rows:
        kind = "best simple rule" if row.name == race.best_rule else "simple rule" if row.is_rule else "learned"
        table.add_row(
            row.name,
            kind,
            f"{row.crps:.3f} \\[{row.low:.3f}, {row.high:.3f}]",
            f"{row.weight:.2f}" if row.weight else "",
        )
    return table


def held_out(rows: Sequence[Row], names: Sequence[str], metric: str = "crps") -> Table:
    """One metric of some rows on the held-out subjects, by split."""
    splits = list(dict.fromkeys(r.split for r in rows))
    found = {(r.name, r.split): r for r in rows if r.metric == metric}
    table = Table(metric.upper(), *splits, title="Subjects that nothing was fitted on", title_justify="left")
    for name in dict.fromkeys(names):
        table.add_row(name, *(_cell(found.get((name, split))) for split in splits))
    return table


def genes_held_out(rows: Sequence[Row]) -> Table:
    """Responses of genes, and populations, of held-out conditions."""
    metrics = ("pearson_delta", "rmse_delta", "coverage90", "energy")
    found = {(r.name, r.metric): r for r in rows if r.split == GENES}
    table = Table("genes", *metrics, title="Conditions that nothing was fitted on", title_justify="left")
    for name in dict.fromkeys(name for name, _ in found):
        table.add_row(name, *(_cell(found.get((name, metric))) for metric in metrics))
    return table


def _cell(row: Row | None) -> str:
    return "" if row is None else f"{row.value:.3f} \\[{row.low:.3f}, {row.high:.3f}]"


def futures_table(futures: Futures) -> Table:
    """Median and band of every channel at some of the times; the alternative beside it."""
    spec, other = futures.spec, futures.against
    band = f"{futures.level:.0%} of the whole path" if futures.level else "spread, no promise"
    names = [f"{spec.channels[j].name} ({spec.channels[j].unit})" for j in spec.targets]
    beside = ([f"against: {n}" for n in names] + [f"difference: {n}" for n in names]) if other else []
    table = Table(f"{spec.clock} ahead", *names, *beside)
    paired = f"; difference: {SHARE:.0%} of paired draws at each time" if other else ""
    table.title, table.title_justify = f"Median \\[{band}{paired}]", "left"
    for i in np.unique(np.linspace(0, len(futures.times) - 1, _MOST_TIMES).round().astype(int)):
        shown = [f for f in (futures, other, futures.contrast) if f is not None]
        cells = [_band(f, int(i), j) for f in shown for j in spec.targets]
        table.add_row(f"{futures.times[i]:.4g}", *cells)
    return table


def genes_table(futures: Futures, cells: CellPart, traits: Float[np.ndarray, " s"]) -> Table:
    """The genes whose mean changes most from the controls of a context (its traits), at the last time."""
    at, start = futures.median[-1], cells.controls[cells.context(traits[None])[0]]
    most = np.argsort(-np.abs(at - start), kind="stable")[:_MOST_GENES]
    band = f"{futures.level:.0%} of all genes" if futures.level else "spread, no promise"
    table = Table("gene", "controls", f"median \\[{band}]", "change")
    table.title = f"Mean log1p expression after {futures.times[-1]:g} {futures.spec.clock}: {cells.verdict}"
    table.title_justify = "left"
    for j in most:
        table.add_row(
            futures.spec.channels[j].name, f"{start[j]:.3f}", _band(futures, -1, int(j)), f"{at[j] - start[j]:+.3f}"
        )
    return table


def conditions_table(found: Predicted) -> Table:
    """Every condition, how many cells were made, whether the data cover it, and what changes most."""
    table = Table("condition", "cells", "support", "largest changes of mean log1p expression")
    for i, name in enumerate(found.asked.names):
        change = found.mean[i] - found.start[i]
        most = np.argsort(-np.abs(change), kind="stable")[:3]
        said = ", ".join(f"{found.genes[j]} {change[j]:+.2f}" for j in most)
        verdict_ = "; ".join((found.support[i].verdict, *found.support[i].reasons))
        table.add_row(name, str(found.asked.counts[i]), verdict_, said)
    return table


def _band(told: Futures | Contrast, i: int, j: int) -> str:
    return f"{told.median[i, j]:.3g} \\[{told.low[i, j]:.3g}, {told.high[i, j]:.3g}]"


def contrast_lines(futures: Futures) -> list[Text]:
    """What the two futures say together, as plain text; nothing where there is no alternative."""
    return [] if futures.contrast is None else [Text(describe(futures.contrast))]


def support_line(futures: Futures) -> str:
    """Whether the data cover the question, and its alternative."""
    found = [("", futures.support)] + ([(" of the alternative", futures.against.support)] if futures.against else [])
    return "\n".join(f"Support{of}: {s.verdict}" + "".join(f"\n  {reason}" for reason in s.reasons) for of, s in found)


def trial_summary(trial: Trial) -> list[Table | Text]:
    """The arms and their difference, what it may be called, power by size, and whether the data cover the arms."""
    unit, arms = trial.design.outcome.unit, trial.design.arms
    lines = [
        f"Simulated: {len(trial.outcome)} virtual patients, {trial.newcomers.source}",
        f"Outcome: {trial.design.outcome}",
    ]
    lines += [f"{arm.name} ({arm.text or 'nothing given'}): mean {_three(mean)} {unit}".rstrip()
              for arm, mean in zip(arms, trial.means, strict=True)]  # fmt: skip
    lines.append(f"{arms[1].name} minus {arms[0].name}, same patients: {_three(trial.difference)} {unit}".rstrip())
    lines.append(f"Difference: {trial.said}")
    if trial.assignment is not None:
        lines.append(f"Assignment: {trial.assignment.kind}. {trial.assignment.assumption}".rstrip())
    for arm, found in zip(arms, trial.support, strict=False):
        lines += [f"Support of {arm.name!r}: {found.verdict}", *(f"  {reason}" for reason in found.reasons)]
    lines += [f"Overlap of {r.schedule!r}: {r.subjects:.1f} training subjects treated alike" for r in trial.overlap]
    table = Table("patients in each arm", "power \\[95 % interval]", f"what single trials report ({unit})",
                  title=f"{trial.design.trials} trials of each size, patients randomised to one arm each; two-sided "
                  f"Welch test at {trial.design.alpha:g}", title_justify="left")  # fmt: skip
    for p in trial.powers:
        share = f"{p.power.value:.2f} \\[{p.power.low:.2f}, {p.power.high:.2f}]"
        table.add_row(str(p.size), share, f"{p.low:.3g} to {p.high:.3g}")
    return [Text("\n".join(lines)), table]


def _three(mean: Interval) -> str:
    return f"{mean.value:.4g} [{mean.low:.4g}, {mean.high:.4g}]"
