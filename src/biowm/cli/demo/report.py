"""What the demo leaves behind: a page, its pictures, and a summary on the terminal."""

from __future__ import annotations

from functools import partial
from pathlib import Path as File

from matplotlib.figure import Figure

from biowm import api
from biowm.core.interval import Interval
from biowm.core.record import Record
from biowm.evaluate.certify import Report
from biowm.evaluate.reports.figures import Scene, comparison, ranking, to_svg, verdict
from biowm.evaluate.reports.html import Section, Table, page
from biowm.plan.result import describe
from biowm.plan.whatif import schedule_of
from biowm.train.fitted import Fitted

from ..pictures import planned, save
from .cohort import GAMMA, PATIENTS, SCAN, Simulated
from .story import AHEAD, DO, LIMITS, NOW, Planned, WhatIf, true_path


def write(
    folder: File, fitted: Fitted, simulated: Simulated, told: WhatIf, plan: Planned, gates: Report, seed: int
) -> None:
    """Write report.html and the pictures it is made of."""
    asked = api.question(fitted, subject=told.patient, start=NOW)
    pictures = {"ranking": ranking(fitted.race.rows, unit="standardised link units"), "what_if": _what_if(asked, told)}
    if plan.found is not None:
        other = api.question(fitted, subject=plan.patient, start=NOW)
        true = partial(true_path, simulated, plan.patient)
        pictures["plan"] = planned(fitted, other, plan.found, LIMITS, seed=seed, truth=true)
    for name, figure in pictures.items():
        save(figure, folder / f"{name}.png")
    sections = [
        Section("The cohort", _cohort_text()),
        Section("The race: learned worlds against simple rules", (_weights(fitted),), to_svg(pictures["ranking"])),
        Section("What if: chemotherapy alone, beside what was given", _what_if_text(told), to_svg(pictures["what_if"]),
                "Dashed: what the simulator says of this very patient.", _errors(told)),
        Section("A plan, and what it really does", _plan_text(plan), to_svg(pictures["plan"]) if plan.found else ""),
        Section("The gates", (), table=_gates(gates)),
    ]  # fmt: skip
    record = Record("certify", gates.record.inputs, {"demo": "tumour"}, seed, (fitted.record.id, gates.record.id))
    text = page("Demo: tumours under chemotherapy and radiotherapy", f"{verdict(fitted.race.rows)}.", sections, record)
    (folder / "report.html").write_text(text, encoding="utf-8")


def summary(fitted: Fitted, told: WhatIf, plan: Planned, gates: Report) -> list[str]:
    """The demo in a few lines."""
    return [
        *_cohort_text(),
        "",
        f"{verdict(fitted.race.rows)}. {_weights(fitted)}",
        "",
        *_what_if_text(told),
        *(f"  {c.name}: {_error(c.error)}" for c in told.contenders),
        "",
        *_plan_text(plan),
        "",
        "Gates: " + ", ".join(f"{name} {v.status.replace('_', ' ')}" for name, v in gates.verdicts.items()),
    ]


def _what_if(asked: api.Question, told: WhatIf) -> Figure:
    ours, other = told.futures, told.futures.against
    assert other is not None
    scenes = (
        Scene("chemo alone", ours, schedule_of(ours, NOW), told.truth),
        Scene("as recorded", other, schedule_of(other, NOW), told.truth_against),
    )
    return comparison(asked.path, *scenes, now=NOW, title=f"Patient {told.patient}: predicted and true")


def _cohort_text() -> tuple[str, ...]:
    return (
        f"{PATIENTS} simulated patients; doctors treat large tumours more often (confounding gamma {GAMMA:g}), and "
        f"volume is read every {SCAN} days.",
        "The equations are not given to the model: it gets the table cohort.csv and study.yaml, as any user would.",
    )


def _weights(fitted: Fitted) -> str:
    weights = ", ".join(f"{name} {w:.2f}" for name, w in fitted.race.weights().items())
    rules = f"{fitted.race.rules_weight:.2f} on simple rules"
    return f"Best simple rule: {fitted.race.best_rule}. Weights of the blend: {weights} ({rules})."


def _what_if_text(told: WhatIf) -> tuple[str, ...]:
    share = told.contenders[0].joint90
    return (
        f"What if, from day {NOW:g} on, chemotherapy is given every day and radiotherapy no more ({', '.join(DO)})?",
        f"The simulator knows the answer for each of {share.n} held-out patients: the true path lies in the world's "
        f"90 % band all the way for {share.value:.0%} of them [{share.low:.0%}, {share.high:.0%}].",
        f"Absolute error of the median path, mean over {AHEAD:g} d:",
    )


def _error(found: Interval) -> str:
    return f"{found.value:.3g} cm3 [{found.low:.3g}, {found.high:.3g}]"


def _errors(told: WhatIf) -> Table:
    rows = tuple((c.name, c.error, c.joint90) for c in told.contenders)
    return Table(
        ("model", "mean absolute error, cm3 (95 % interval)", "whole path inside the 90 % band"), rows, frozenset({0})
    )


def _plan_text(plan: Planned) -> tuple[str, ...]:
    refused = [f"No plan for {patient}: {why}." for patient, why in plan.refused.items()]
    if plan.found is None:
        return tuple(refused)
    truth = (
        f"In truth the plan leaves {plan.outcome:.3g} cm3 on day {NOW + AHEAD:g}; without treatment it would be "
        f"{plan.untreated:.3g} cm3."
    )
    return (*refused, f"Patient {plan.patient}:", *describe(plan.found).splitlines(), truth)


def _gates(gates: Report) -> Table:
    rows = tuple((name, v.status.replace("_", " "), v.detail) for name, v in gates.verdicts.items())
    return Table(("gate", "verdict", "what was found"), rows)
