"""The verbs: load, fit, simulate, plan, certify, bench. Each result carries its record."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as File
from typing import TYPE_CHECKING, Any, Literal

import jax
import numpy as np

from biowm.core import do as interventions
from biowm.core import units
from biowm.core.errors import Abstention, BadInput, place
from biowm.core.forecast import Queries, forecast
from biowm.core.futures import Futures, Support
from biowm.core.path import Path, lengths, stack, take
from biowm.core.record import Record, digest_arrays
from biowm.core.rollout import time_grid
from biowm.core.schedule import Entry, entries, schedule
from biowm.data import study as studies
from biowm.data.study import Study
from biowm.evaluate.bench import run as bench
from biowm.evaluate.certify import Report
from biowm.evaluate.certify import certify as examine
from biowm.evaluate.heldout import exam_of, held_out, heldout_rows
from biowm.plan.goals import parse_goal, parse_limit
from biowm.plan.held import hold
from biowm.plan.plans import Ground, plan_crossfit
from biowm.plan.result import Plan
from biowm.safety.support import judge
from biowm.train.calibrate import band, level_at
from biowm.train.checkpoint import load_fitted as open_fitted
from biowm.train.checkpoint import save_fitted
from biowm.train.fitted import Fitted
from biowm.train.stages import Stages, write_atomic
from biowm.train.study import fit_study

if TYPE_CHECKING:
    import pandas as pd

Others = Literal["observed", "hold", "zero"]
Progress = Callable[[str, float], None]
Table = "str | File | pd.DataFrame"
__all__ = [
    "Question", "bench", "certify", "fit", "load", "open_fitted", "plan", "question", "save_fitted", "simulate",
]  # fmt: skip


def load(source: str | File | pd.DataFrame, config: Mapping[str, Any] | None = None, *, data: str | File | None = None) -> Study:
    """Read a study file, or a table with its description; see `biowm.data.study.load`."""
    return studies.load(source, config, data=data)


def fit(
    source: Study | str | File | pd.DataFrame,
    config: Mapping[str, Any] | None = None,
    *,
    horizons: Sequence[str] | None = None,
    seed: int = 0,
    out: str | File | None = None,
    keep_data: bool = True,
    data: str | File | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit the default world to a study and score it on the held-out subjects.

    Args: a study, its file, or a table with its description; `horizons` such as ("90 d", "365 d") in place of the
    study's own; `out` a folder for the artefact and its report (a run that was killed goes on where it was);
    `keep_data` False leaves the histories out of the artefact.
    Raises: BadInput for data that cannot be learned from.
    """
    study = source if isinstance(source, Study) else load(source, config, data=data)
    if horizons is not None:
        asked = tuple(sorted(units.quantity(h, study.spec.clock, "horizon") for h in horizons))
        study = dataclasses.replace(study, horizons=asked)
    folder = None if out is None else File(out)
    stages = Stages(None if folder is None else folder / ".stages", f"{study.sha256}/{study.horizons}/{seed}")
    try:
        fitted = fit_study(study, seed=seed, stages=stages, progress=progress)
    except ValueError as error:
        if isinstance(error, BadInput):
            raise
        raise BadInput(f"study {study.config.study}: {error}") from error
    if progress is not None:
        progress("scoring the held-out subjects", 0.96)
    part = held_out(fitted)
    if part is not None:
        fitted = dataclasses.replace(fitted, rows=heldout_rows(fitted, *part, seed=seed))
    if folder is not None:
        from biowm.evaluate.reports.fitted import fit_report

        write_atomic(folder / "report.html", fit_report(fitted).encode())
        save_fitted(fitted, folder, keep_data=keep_data)
        stages.clear()
    return fitted


@dataclass(frozen=True)
class Question:
    """Whose future is asked: one path (unbatched), the index of the last reading used, and its time."""

    subject: str
    path: Path
    origin: int
    now: float


def question(
    fitted: Fitted,
    *,
    subject: str | None = None,
    history: str | File | pd.DataFrame | None = None,
    start: float | str | None = None,
) -> Question:
    """The subject of a fitted cohort, or of a new table with the study's columns; `start` is the last time used.

    `start` is a number in the study's time column, or a quantity such as "90 d" after the subject's first row.
    Raises: BadInput for an unknown subject, a history of several subjects, or no reading up to `start`.
    """
    if (subject is None) == (history is None) and history is None:
        raise BadInput("give --subject ID or --history NEW.csv")
    if history is not None:
        name, path, first = _new_history(fitted, history, subject)
    else:
        if fitted.cohort is None:
            raise BadInput("this artefact holds no histories (it was made with --no-data): give --history NEW.csv")
        try:
            row = fitted.cohort.row(str(subject))
        except KeyError as error:
            raise BadInput(str(error.args[0])) from None
        name, first = str(subject), fitted.cohort.starts[row]
        path = jax.tree.map(lambda leaf: np.asarray(leaf)[row], fitted.cohort.paths)
    seen = np.isfinite(path.x).any(-1)
    if start is not None:
        until = _moment(start, first, fitted.spec.clock)
        seen &= np.asarray(path.t) <= until + 1e-6
    if not seen.any():
        raise BadInput(place(column="--from", found=start, expected=f"a time at or after the first reading of subject {name}"))
    origin = int(np.flatnonzero(seen)[-1])
    return Question(name, path, origin, float(path.t[origin]))


def simulate(
    fitted: Fitted,
    *,
    subject: str | None = None,
    history: str | File | pd.DataFrame | None = None,
    start: float | str | None = None,
    do: Sequence[str] = (),
    against: Sequence[str] = (),
    others: Others = "observed",
    horizon: str | float,
    draws: int = 200,
    seed: int = 0,
) -> Futures:
    """Futures of one subject under interventions, with a calibrated joint band and the verdict on support.

    Args: `do` and `against` texts such as "cpa=200 mg/d@0:28 d", times after the last reading used; `others` what
    the actions not named do: as recorded after that reading (then held), held as they were, or zero; `horizon`
    such as "365 d". Factual and alternative share their noise. Raises: BadInput for what cannot be read.
    """
    asked = question(fitted, subject=subject, history=history, start=start)
    ahead = _horizon(fitted, horizon)
    main = _future(fitted, asked, do, others, ahead, draws, seed)
    if not against:
        return main
    texts = () if tuple(against) in (("observed",), ("hold",), ("zero",)) else against
    mode: Others = against[0] if not texts else others  # type: ignore[assignment]
    return dataclasses.replace(main, against=_future(fitted, asked, texts, mode, ahead, draws, seed))


def plan(
    fitted: Fitted,
    *,
    subject: str | None = None,
    history: str | File | pd.DataFrame | None = None,
    start: float | str | None = None,
    goal: str,
    limits: Sequence[str] = (),
    horizon: str | float,
    controls: Sequence[str] | None = None,
    seed: int = 0,
) -> Plan | Abstention:
    """The best schedule for one subject, with a promise from models fitted on other subjects, or an abstention.

    Args: `goal` such as "minimise mean cpa over 365 d"; `limits` such as "P(max psa <= 10) >= 0.9" and "cpa <= 200".
    """
    asked = question(fitted, subject=subject, history=history, start=start)
    ahead = _horizon(fitted, horizon)
    spec = fitted.spec
    support = judge(spec, fitted.calibration.scale, fitted.envelope, asked.path, asked.origin, (), ahead)
    cohort = None
    if fitted.cohort is not None:
        known = np.flatnonzero(np.array(fitted.cohort.split) != "test")
        cohort = take(fitted.cohort.paths, known)
    found = plan_crossfit(
        fitted.world,
        fitted.halves,
        asked.path,
        parse_goal(goal, spec),
        [parse_limit(text, spec) for text in limits],
        ahead,
        key=jax.random.key(seed),
        origin=asked.origin,
        ground=Ground(support, (fitted.envelope.longest,), fitted.calibration.subjects, cohort),
        controls=controls,
    )
    if isinstance(found, Abstention):
        return found
    config = {"goal": goal, "limits": list(limits), "horizon": ahead, "controls": list(controls or ())}
    record = Record("plan", _inputs(asked), {**config, "subject": asked.subject}, seed, (fitted.record.id,))
    return dataclasses.replace(found, record=record)


def certify(
    fitted: Fitted,
    study: Study | str | File | None = None,
    *,
    data: str | File | None = None,
    seed: int = 0,
) -> Report:
    """Put every gate to a fitted world: on its held-out subjects, or on all subjects of another `study`.

    Raises: BadInput where there is nobody to examine, or the other study measures other things.
    """
    if study is None:
        part = held_out(fitted)
        if part is None:
            raise BadInput("no held-out subjects in this artefact: give --on STUDY.yaml, or fit with a test share and histories")
        paths, subjects = part
    else:
        other = study if isinstance(study, Study) else load(study, data=data)
        _same_world(fitted, other)
        paths, subjects = stack([_aligned(fitted, other, p) for p in other.paths]), other.subjects
    return examine(exam_of(fitted, paths, subjects, fitted.horizons, seed=seed))


def _horizon(fitted: Fitted, horizon: str | float) -> float:
    try:
        ahead = float(horizon) if isinstance(horizon, int | float) else units.quantity(horizon, fitted.spec.clock, "--horizon")
    except units.UnitError as error:
        raise BadInput(str(error)) from None
    if not ahead > 0:
        raise BadInput(place(column="--horizon", found=horizon, expected="a time above 0"))
    return ahead


def _moment(start: float | str, first: float, clock: str) -> float:
    """`start` on the path's own clock (0 at the first row)."""
    if isinstance(start, str):
        try:
            return float(start) - first
        except ValueError:
            pass
        try:
            return units.quantity(start, clock, "--from")
        except units.UnitError as error:
            raise BadInput(str(error)) from None
    return float(start) - first


def _future(
    fitted: Fitted, asked: Question, do: Sequence[str], others: Others, ahead: float, draws: int, seed: int
) -> Futures:
    spec = fitted.spec
    chosen = _schedule(fitted, asked, do, others, ahead)
    grid, _ = time_grid(asked.now, np.array([asked.now + ahead]), fitted.world.spacing)
    support = judge(spec, fitted.calibration.scale, fitted.envelope, asked.path, asked.origin, chosen, ahead)
    whole = schedule([*(e for e in entries(asked.path.plan) if e.onset < asked.now), *chosen])
    got = forecast(
        fitted.world,
        stack([asked.path]),
        Queries(np.zeros(1, int), np.array([asked.origin]), grid[None]),
        key=jax.random.key(seed),
        draws=draws,
        plans=jax.tree.map(lambda leaf: leaf[None], whole),
    )[0]
    times = grid - asked.now
    median, low, high = band(fitted.calibration, spec, got, times, "joint")
    config = {"do": list(do), "others": others, "horizon": ahead, "draws": draws, "subject": asked.subject, "now": asked.now}
    return Futures(
        spec=spec, times=times, draws=got, median=median, low=low, high=high,
        level=level_at(fitted.calibration, ahead) if support.verdict != "outside" else None,
        band="joint", support=_said(support, fitted),
        record=Record("simulate", _inputs(asked), config, seed, (fitted.record.id,)),
        plan=tuple(_entry(spec, e, asked.now) for e in chosen),
    )  # fmt: skip


def _said(support: Support, fitted: Fitted) -> Support:
    if fitted.calibration.level is not None:
        return support
    few = f"no 90 % promise: {fitted.calibration.subjects} calibration subjects, at least nine are needed"
    return Support(support.verdict, (*support.reasons, few))


def _schedule(fitted: Fitted, asked: Question, do: Sequence[str], others: Others, ahead: float) -> list[Entry]:
    """What is given after the last reading used: what `do` says, and the other actions as `others` says."""
    spec, now, end = fitted.spec, asked.now, asked.now + ahead
    wanted = [e._replace(onset=e.onset + now, stop=e.stop + now) for e in interventions.parse_do(do, spec, ahead)]
    named = {e.card for e in wanted} | {spec.action(text.split("=")[0].strip()) for line in do for text in line.split(";")}
    if others == "zero":
        return wanted
    past = entries(asked.path.plan)
    known = max([float(asked.path.t[int(lengths(stack([asked.path]))[0]) - 1]), *(e.stop for e in past)], default=now)
    going_on = [e for e in entries(hold(asked.path.plan, spec, now, ahead))]
    if others == "observed" and known > now:
        recorded = [e._replace(onset=max(e.onset, now), stop=min(e.stop, end)) for e in past if (e.stop > now or e.onset >= now) and e.onset < end]
        held = hold(asked.path.plan, spec, known, max(end - known, 0.0)) if end > known else schedule([])
        going_on = [*recorded, *(e for e in entries(held) if e.onset >= known)]
    return [*wanted, *(e for e in going_on if e.card not in named)]


def _entry(spec, e: Entry, now: float) -> dict[str, Any]:
    card = spec.actions[e.card]
    return {"action": card.name, "dose": e.dose, "unit": card.unit, "onset": e.onset - now, "stop": e.stop - now, "assigned": e.assigned}


def _inputs(asked: Question) -> dict[str, str]:
    return {"history": digest_arrays(jax.tree.leaves(asked.path))}


def _new_history(fitted: Fitted, history: str | File | pd.DataFrame, subject: str | None) -> tuple[str, Path, float]:
    """One subject's path from a new table that is described as the study's was."""
    if fitted.study is None:
        raise BadInput("this world was not fitted from a study: it does not know how to read a table")
    config = {k: v for k, v in json.loads(fitted.study).items() if k not in ("table", "split", "events", "columns")}
    for key in ("horizons", "limits"):
        config.pop(key, None)
    study = studies.load(history if not isinstance(history, str) else File(history), config)
    if subject is None and len(study.subjects) != 1:
        some = ", ".join(study.subjects[:5])
        raise BadInput(place(file=history if isinstance(history, str | File) else None, found=f"{len(study.subjects)} subjects ({some})", expected="one subject, or --subject ID"))
    name = str(subject) if subject is not None else study.subjects[0]
    if name not in study.subjects:
        raise BadInput(place(file=history if isinstance(history, str | File) else None, found=f"no subject {name!r}", expected=f"one of {', '.join(study.subjects[:5])}"))
    _same_world(fitted, study)
    row = study.subjects.index(name)
    return name, _aligned(fitted, study, study.paths[row]), study.starts[row]


def _same_world(fitted: Fitted, other: Study) -> None:
    """Refuse a study whose channels, actions, clock or traits are not those the world was fitted on."""
    for what in ("channels", "actions"):
        mine = [(i.name, i.unit) for i in getattr(fitted.spec, what)]
        theirs = [(i.name, i.unit) for i in getattr(other.spec, what)]
        if mine != theirs:
            raise BadInput(f"study {other.config.study}: found {what} {theirs}, expected {mine}, as the world was fitted")
    if fitted.spec.clock != other.spec.clock:
        raise BadInput(f"study {other.config.study}: found clock {other.spec.clock!r}, expected {fitted.spec.clock!r}")
    if [t.name for t in fitted.spec.traits] != [t.name for t in other.spec.traits]:
        raise BadInput(f"study {other.config.study}: its traits are not those the world was fitted on")


def _aligned(fitted: Fitted, other: Study, path: Path) -> Path:
    """The path with its categories coded over the levels of the fitted world (unknown ones: all zero)."""
    values, at = [], 0
    for mine, theirs in zip(fitted.spec.traits, other.spec.traits, strict=True):
        if mine.kind == "real":
            values.append(path.traits[at])
            at += 1
            continue
        coded = dict(zip(theirs.levels, path.traits[at : at + len(theirs.levels)].tolist(), strict=True))
        values += [coded.get(level, 0.0) for level in mine.levels]
        at += len(theirs.levels)
    return dataclasses.replace(path, traits=np.array(values, np.float32))
