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
from biowm.evaluate.reports.words import CRPS, ENTRANTS, GATES
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
        Section("The race: learned worlds against simple rules", (_weights(fitted), CRPS, *ENTRANTS),
                to_svg(pictures["ranking"]), "Lower is better; bars are 95 % intervals over patients."),
        Section("What if: chemotherapy alone, beside what was given", _what_if_text(told), to_svg(pictures["what_if"]),
                "Dashed: what the simulator says of this very patient. Hollow dots were not used.", _errors(told)),
        Section("A plan, and what it really does", _plan_text(plan), to_svg(pictures["plan"]) if plan.found else "",
                "Dashed: what the simulator says. Hollow dots: what came of the treatment that was given instead."),
        Section("The gates", _gates_text(fitted), table=_gates(gates)),
    ]  # fmt: skip
    record = Record("certify", gates.record.inputs, {"demo": "tumour"}, seed, (fitted.record.id, gates.record.id))
    first = f"{verdict(fitted.race.rows)}. {_failed(gates)}"
    text = page("Demo: tumours under chemotherapy and radiotherapy", first, sections, record)
    (folder / "report.html").write_text(text, encoding="utf-8")


def summary(fitted: Fitted, told: WhatIf, plan: Planned, gates: Report) -> list[str]:
    """The demo in a few lines."""
    return [
        *_cohort_text(),
        "",
        f"{verdict(fitted.race.rows)}. {_weights(fitted)}",
        "",
        *_what_if_text(told),
        f"Error of the median path, mean over {AHEAD:g} d and {told.contenders[0].error.n} patients:",
        *(f"  {c.name}: {_error(c.error)}" for c in told.contenders),
        "",
        *_plan_text(plan),
        "",
        "Gates: " + ", ".join(f"{name} {v.status.replace('_', ' ')}" for name, v in gates.verdicts.items()),
        *(f"  {name}: {v.detail}" for name, v in gates.verdicts.items() if v.status != "passed"),
        *_gates_text(fitted),
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
        f"{PATIENTS} simulated patients; doctors treat large tumours more often (strength of confounding, gamma: "
        f"{GAMMA:g}, on a scale of 0 to 4), and volume is read every {SCAN} days.",
        "The equations are not given to the model: it gets the table cohort.csv and study.yaml, as any user would.",
    )


def _weights(fitted: Fitted) -> str:
    weights = ", ".join(f"{name} {w:.2f}" for name, w in fitted.race.weights().items())
    rules = f"{fitted.race.rules_weight:.2f} on simple rules"
    return f"Best simple rule: {fitted.race.best_rule}. Weights of the blend, which is the world: {weights} ({rules})."


def _what_if_text(told: WhatIf) -> tuple[str, ...]:
    share = told.contenders[0].joint90
    return (
        f"What if, from day {NOW:g} on, chemotherapy is given every day and radiotherapy no more ({', '.join(DO)})?",
        f"The simulator knows the answer for each of {share.n} held-out patients: the true path lies in the world's "
        f"90 % band all the way for {share.value:.0%} of them [{share.low:.0%}, {share.high:.0%}].",
    )


def _error(found: Interval) -> str:
    return f"{found.value:.3g} cm^3 [{found.low:.3g}, {found.high:.3g}]"


def _errors(told: WhatIf) -> Table:
    rows = tuple((c.name, c.error, c.joint90) for c in told.contenders)
    return Table(
        ("model", f"error of the median, mean over {AHEAD:g} d, cm^3 (95 % interval)", "whole path inside 90 % band"),
        rows,
        frozenset({0}),
    )


def _plan_text(plan: Planned) -> tuple[str, ...]:
    refused = [f"No plan for {patient}: {why}." for patient, why in plan.refused.items()]
    if plan.found is None:
        return tuple(refused)
    said, where = plan.found.promise, ""
    if said is not None:
        where = f", {'inside' if said.low <= plan.outcome <= said.high else 'outside'} the interval promised"
    truth = (
        f"In truth the plan leaves {plan.outcome:.3g} cm^3 on day {NOW + AHEAD:g}{where}; without treatment it would "
        f"be {plan.untreated:.3g} cm^3."
    )
    return (*refused, f"Patient {plan.patient}:\n{describe(plan.found)}", truth)


def _failed(gates: Report) -> str:
    failed = [name for name, v in gates.verdicts.items() if v.status == "failed"]
    return f"Gates that failed: {', '.join(failed) or 'none'}."


def _gates_text(fitted: Fitted) -> tuple[str, ...]:
    ahead = [f"{n} is {v * SCAN:g} d" for n, v in zip(fitted.horizons.labels(), fitted.horizons.values, strict=True)]
    return (
        f"Horizons count scans: {', '.join(ahead)} ahead.",
        f"The bands are calibrated on {fitted.calibration.subjects} patients, with a world that learned from fewer "
        "than the one that is kept: that tends to make them too wide, which is to say cautious.",
    )


def _gates(gates: Report) -> Table:
    rows = tuple((n, GATES.get(n, ""), v.status.replace("_", " "), v.detail) for n, v in gates.verdicts.items())
    return Table(("gate", "question", "verdict", "what was found"), rows)
