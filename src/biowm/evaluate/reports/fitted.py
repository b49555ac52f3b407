"""The report of a fit: what won, how sure it is, and what it says about people it has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from biowm.core.contrast import describe
from biowm.core.futures import Futures
from biowm.core.interval import Row
from biowm.core.path import CENSORED, Path
from biowm.core.schedule import Schedule, schedule
from biowm.models.trunks.mechanism_found import equations_in, estimates
from biowm.train.fitted import Fitted
from biowm.train.followed import MOST

from ..predictive_check import PredictiveCheck
from .cells import cells_section, headline
from .checks import checks_figure, told
from .figures import Scene, comparison, coverage, ranking, to_svg, trajectory
from .html import Cell, Section, Table, by_horizon, page
from .stage import printed
from .style import number
from .words import AHEAD, CRPS, ENTRANTS, METRICS


@dataclass(frozen=True)
class Example:
    """One held-out subject: the history, the moment of the forecast, the futures and the schedule they run under."""

    subject: str
    path: Path
    now: float
    futures: Futures
    plan: Schedule


def fit_report(fitted: Fitted, examples: Sequence[Example], checks: Sequence[PredictiveCheck] = ()) -> str:
    """The self-contained HTML page that `biowm fit` leaves behind."""
    race = fitted.race
    weights = ", ".join(f"{name} {100 * w:.0f} %" for name, w in race.weights().items())
    sections = [
        Section(
            "The race",
            (
                "Variants of the world and simple rules, scored by multi-step CRPS on held-out training subjects at "
                f"{', '.join(fitted.horizons.labels())}. {AHEAD}",
                CRPS,
                f"Weights of the blend: {weights}. The simple rules hold {100 * race.rules_weight:.0f} % of it; the "
                f"best of them is {race.best_rule}.",
                *_lost(fitted),
                *ENTRANTS,
            ),
            to_svg(ranking(race.rows, unit="standardised link units")),
            "Lower is better; bars are 95 % intervals over subjects.",
        ),
        *_equations(fitted),
        *[_check(fitted, check) for check in checks],
        *([] if fitted.cells is None else [cells_section(fitted.cells)]),
        *_trust(fitted),
        *[_example(e) for e in examples],
        _support(fitted),
        *_numbers(fitted),
    ]
    return page(f"{fitted.spec.name}: fitted world", headline(fitted), sections, fitted.record)


def _lost(fitted: Fitted) -> tuple[str, ...]:
    """What scores mean where subjects were lost; nothing where nobody was."""
    if fitted.cohort is None:
        return ()
    events = np.asarray(fitted.cohort.paths.event)
    if not (events == CENSORED).any():
        return ()
    return (
        f"{np.sum(events == CENSORED)} of {len(events)} subjects were lost (censored). What was read of them is "
        "learned from, and in every error an answer counts for those like it that could not be given, up to "
        f"{MOST:g} of them, as far as what was read before foretells who is lost. Bands and their coverage are of "
        "those who were read.",
    )


def _numbers(fitted: Fitted) -> list[Section]:
    """A table for each metric of the held-out subjects: a line a model, a column a horizon."""
    n = 0 if fitted.cohort is None else sum(s == "test" for s in fitted.cohort.split)
    who = (
        f"{n} subjects that nothing was fitted on; 95 % intervals are over subjects, n counts forecasts. world is "
        "the blend that was fitted, world:no-rules the same without the simple rules."
    )
    sections = []
    for metric, (heading, meaning) in METRICS.items():
        if rows := [r for r in fitted.rows if r.metric == metric]:
            text = (meaning,) if sections else (who, meaning)
            sections.append(Section(f"Held-out subjects: {heading}", text, table=by_horizon(rows)))
    return sections


def _equations(fitted: Fitted) -> list[Section]:
    """What was found of the parameters of each mechanism that runs, and what was odd about its fit."""
    sections = []
    for name, member in fitted.members.items():
        for world in equations_in(member):
            rows: list[tuple[Cell, ...]] = []
            for e in estimates(world):
                spread = "the same for all" if e.subjects is None else " to ".join(number(v) for v in e.subjects)
                between = "" if e.interval is None else f" ({' to '.join(number(v) for v in e.interval)})"
                rows.append((e.name, number(e.value) + between, e.unit or "1", spread))
            table = Table(("parameter", "value (95 % interval)", "unit", "middle 68 % of subjects"), tuple(rows))
            what = "Population values found on training subjects; intervals take the equations as true."
            sections.append(Section(f"Equations: {name}", (what, *world.notes), table=table))
    return sections


def _check(fitted: Fitted, check: PredictiveCheck) -> Section:
    figure = to_svg(checks_figure(fitted.spec, [check]))
    caption = "Lines: observed percentiles; bands: 95 % of simulated trials, dashes their medians; rings are outside."
    return Section(f"Visual predictive check: {check.model}", told(fitted.spec, check), figure, caption)


def _trust(fitted: Fitted) -> list[Section]:
    level = fitted.calibration.level
    if level is None:
        few = f"{fitted.calibration.subjects} calibration subjects: no 90 % band is promised, at least nine are needed."
        return [Section("How sure it is", (few,))]
    text = (
        f"Bands are conformal, calibrated on {fitted.calibration.subjects} subjects out of sample; a joint band "
        f"holds the whole path with probability {level:g} for a new subject like these.",
    )
    rows: tuple[Row, ...] = tuple(r for r in fitted.rows if r.name == "world" and r.metric in ("coverage90", "joint90"))
    figure = to_svg(coverage(rows)) if rows else ""
    said = "Coverage on held-out subjects, with exact intervals over subjects; n counts forecasts."
    return [Section("How sure it is", text, figure, said if rows else "")]


def _example(example: Example) -> Section:
    """One subject: as treated, and what the model says of no treatment."""
    main = Scene("as treated", example.futures, example.plan)
    if example.futures.against is None:
        figure = trajectory(example.path, main, now=example.now)
    else:
        nothing = Scene("nothing given", example.futures.against, schedule([]))
        figure = comparison(example.path, main, nothing, now=example.now)
    said = example.futures.support
    text = [f"Support: {said.verdict}." + (" " + "; ".join(said.reasons) + "." if said.reasons else "")]
    if example.futures.contrast is not None:
        text += describe(example.futures.contrast).splitlines()
    return Section(f"Held-out subject {example.subject}", tuple(text), to_svg(figure), "Hollow dots were not used.")


def _support(fitted: Fitted) -> Section:
    seen, spec = fitted.envelope, fitted.spec
    lines = [
        f"Validated up to {seen.longest:.3g} {spec.clock} ahead; readings were usually {seen.gaps[1]:.3g} {spec.clock} "
        f"apart ({seen.gaps[0]:.3g} to {seen.gaps[2]:.3g})."
    ]
    for a, card in enumerate(spec.actions):
        share = f"{100 * seen.given[a]:.0f} % of the subjects"
        most = "" if card.kind == "switch" else f", at most {seen.dose_top[a]:.4g} {printed(card.unit)}".rstrip()
        lines.append(f"{card.name}: given to {share}{most}.")
    lines.append("Questions beyond this are answered with the verdict edge or outside.")
    return Section("Where the data were", tuple(lines))
