"""The design of an in-silico trial, read from texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from biowm.core.do import parse_do
from biowm.core.errors import BadInput, place
from biowm.core.given import Given, parse_given
from biowm.core.schedule import Entry
from biowm.core.spec import WorldSpec
from biowm.plan.course import Quantity
from biowm.plan.grammar import read_outcome

LEAST_POOL, ALPHA = 1000, 0.05


@dataclass(frozen=True)
class Arm:
    """What everybody in an arm is given, from the start of the trial; `text` empty: nothing."""

    name: str
    text: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Design:
    """The question: two arms, the outcome of a patient, the length of the trial, whom to draw, and sizes (per arm)."""

    arms: tuple[Arm, Arm]
    outcome: Quantity
    horizon: float
    given: tuple[Given, ...]
    sizes: tuple[int, ...]
    trials: int
    patients: int
    alpha: float


def design(
    spec: WorldSpec,
    *,
    arms: Sequence[str],
    outcome: str,
    horizon: float,
    given: Sequence[str] = (),
    sizes: Sequence[int],
    trials: int = 500,
    patients: int | None = None,
    alpha: float = ALPHA,
) -> Design:
    """Read a design from texts: arms as `NAME: ACTION=DOSE@ONSET:STOP; ...`, outcomes as `mean psa at 90 d`.

    `horizon` is in the world's clock; `patients` (default: four for each place in the largest trial, at least 1,000) is
    how many virtual patients are drawn. Raises: BadInput, naming the text, what was found and what was expected.
    """
    if len(arms) != 2:
        raise BadInput(place(column="--arm", found=f"{len(arms)} arms", expected="two: the control and the treated"))
    first, second = (_arm(text, spec, horizon) for text in arms)
    if first.name == second.name:
        raise BadInput(place(column="--arm", found=f"two arms called {first.name!r}", expected="a name for each"))
    asked = read_outcome(outcome, spec)
    if asked.window is not None and asked.window > horizon * (1 + 1e-6):
        found = f"{asked.window:g} {spec.clock}"
        raise BadInput(
            place(column="--outcome", found=found, expected=f"a time within --horizon, {horizon:g} {spec.clock}")
        )
    for name, number, least in (("--size", min(sizes, default=0), 2), ("--trials", trials, 20)):
        if number < least:
            raise BadInput(place(column=name, found=number, expected=f"at least {least}"))
    if not 0 < alpha < 1:
        raise BadInput(place(column="--alpha", found=alpha, expected="a level between 0 and 1"))
    pool = max(LEAST_POOL, 4 * max(sizes)) if patients is None else patients
    if pool < 50:
        raise BadInput(place(column="--patients", found=pool, expected="at least 50"))
    return Design(
        (first, second), asked, horizon, parse_given(given, spec), tuple(sorted(set(sizes))), trials, pool, alpha
    )


def _arm(text: str, spec: WorldSpec, horizon: float) -> Arm:
    name, colon, given = (part.strip() for part in text.partition(":"))
    if not colon or not name or "=" in name:
        raise BadInput(
            place(column="--arm", found=text, expected="NAME: INTERVENTIONS, such as 'treated: cpa=200 mg/d@0:90 d'")
        )
    read = parse_do([given], spec, horizon, option=f"--arm {name}:") if given else []
    return Arm(name, given, tuple(read))
