"""The verbs: load, fit, simulate, plan, propose, cohort, certify, bench. Each result carries its record."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path as File
from typing import TYPE_CHECKING, Any

import jax
import pandas as pd

from biowm.adapters import plain_errors
from biowm.core import units
from biowm.core.endpoint import Endpoint
from biowm.core.errors import Abstention, BadInput
from biowm.core.futures import Futures
from biowm.core.mechanism import Mechanism
from biowm.core.mechanism_units import Declared
from biowm.core.path import stack, take
from biowm.core.record import Record
from biowm.core.world import World
from biowm.data import config as configs
from biowm.data import meds_write
from biowm.data import study as studies
from biowm.data.load import load as load_any
from biowm.data.screens import Screen
from biowm.data.study import Study
from biowm.engine.design import ALPHA, design
from biowm.engine.trial import Trial, trial
from biowm.evaluate.baselines import with_baselines
from biowm.evaluate.bench import Result
from biowm.evaluate.bench import run as run_task
from biowm.evaluate.certify import Report
from biowm.evaluate.certify import certify as examine
from biowm.evaluate.exam import Exam
from biowm.evaluate.fitting import fit_and_keep
from biowm.evaluate.foreign import Maker, exam_of_model, made, origin
from biowm.evaluate.heldout import HeldOut, exam_of, held_out
from biowm.evaluate.simulated import check_same_truth, exam_of_world
from biowm.evaluate.task import Setting
from biowm.plan.conditions import Sets
from biowm.plan.goals import parse_goal, parse_limit
from biowm.plan.information import DISCOUNT
from biowm.plan.plans import Ground, plan_crossfit
from biowm.plan.plates import plates as plate_map
from biowm.plan.populations import Predicted, predict_conditions
from biowm.plan.predictions import predictions
from biowm.plan.promise import check_promise
from biowm.plan.proposal import By, Proposal
from biowm.plan.propose import propose as next_sets
from biowm.plan.question import Question, Table, ahead_of, aligned, check_same_world, horizon_of, inputs_of, question
from biowm.plan.result import Plan
from biowm.plan.whatif import Others, what_if
from biowm.safety.support import judge
from biowm.scale.processes import Processes
from biowm.train.cells.part import population
from biowm.train.checkpoint import load_fitted as open_fitted
from biowm.train.checkpoint import save_fitted
from biowm.train.contest import Progress, silent
from biowm.train.fitted import Fitted

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = [
    "Question", "bench", "certify", "cohort", "fit", "load", "open_fitted", "plan", "plate_map", "propose", "question",
    "save_fitted", "simulate", "simulate_conditions", "write_futures",
]  # fmt: skip


def load(
    source: Table | AnnData,
    config: Mapping[str, Any] | None = None,
    *,
    data: str | File | None = None,
    progress: Progress = silent,
) -> Study | Screen:
    """Read a study file, or a table with its description: of paths a Study, of single cells a Screen.

    See `biowm.data.study.load` and `biowm.data.screens.load_screen`.
    """
    return load_any(source, config, data=data, progress=progress)


def fit(
    source: Study | Screen | Table | AnnData,
    config: Mapping[str, Any] | None = None,
    *,
    horizons: Sequence[str] | None = None,
    mechanism: Mechanism | Declared | None = None,
    thorough: bool = False,
    seed: int = 0,
    out: str | File | None = None,
    keep_data: bool = True,
    data: str | File | None = None,
    progress: Progress | None = None,
) -> Fitted:
    """Fit the default world to a study and score it on the held-out subjects.

    Args: a study or screen, its file, or a table with its description; `horizons` such as ("90 d", "365 d") in place of
    the study's own; `mechanism` equations that enter the race (`Declared`: with the study's names for what they move);
    `thorough` lets smooth neighbours and the recurrent network race too (several times as long, often better); `out` a
    folder for the artefact, its report and, of equations, parameters.csv and a visual predictive check, vpc.csv and
    vpc.png (a run that was killed goes on where it was); `keep_data` False leaves the histories out of the artefact and
    its report. Raises: BadInput for data that cannot be learned from.
    """
    study = source if isinstance(source, Study | Screen) else load(source, config, data=data)
    if horizons is not None:
        if isinstance(study, Screen):
            raise BadInput(
                f"screen {study.config.study}: found horizons, expected none: cells are read when they are read"
            )
        asked = tuple(sorted(units.quantity(h, study.spec.clock, "horizon") for h in horizons))
        study = dataclasses.replace(study, horizons=asked)
    return fit_and_keep(
        study, None if out is None else File(out), mechanism=mechanism, thorough=thorough, seed=seed,
        keep_data=keep_data, tell=progress or silent,
    )  # fmt: skip


def simulate(
    fitted: Fitted,
    *,
    subject: str | None = None,
    history: Table | None = None,
    start: float | str | None = None,
    context: Sequence[str] | None = None,
    do: Sequence[str] = (),
    against: Sequence[str] = (),
    others: Others = "observed",
    horizon: str | float | None = None,
    draws: int = 200,
    seed: int = 0,
    progress: Progress = silent,
) -> Futures:
    """Futures of one subject under interventions, with a calibrated joint band and the verdict on support.

    Of a world of cells: of a population's mean log1p expression, gene by gene.

    Args: `context` traits of somebody new ("line=A"), of whom nothing was read; `do` and `against` texts such as
    "cpa=200 mg/d@0:28 d", times after the last reading used; `others` what the actions not named do: as recorded after
    that reading (then held), held as they were, or zero; `horizon` such as "365 d". Factual and alternative share their
    noise, and their `contrast` holds the paired difference, the estimand, what must be assumed of assignment, overlap
    and tipping points. Raises: BadInput for what cannot be read.
    """
    fitted = population(fitted)
    asked = question(fitted, subject=subject, history=history, start=start, context=context)
    return what_if(
        fitted,
        asked,
        do=do,
        against=against,
        others=others,
        horizon=ahead_of(fitted, horizon),
        draws=draws,
        seed=seed,
        progress=lambda share: progress("futures", share),
    )


def predict(
    fitted: Fitted,
    history: str | File,
    labels: str | File,
    *,
    horizon: str | float,
    draws: int = 200,
    seed: int = 0,
    progress: Progress = silent,
) -> pd.DataFrame:
    """Quantiles of every channel `horizon` after each prediction time in a file of MEDS labels.

    `history` is a MEDS folder; of each subject only what happened by its prediction time is read. See
    `biowm.plan.predictions` for the columns. Raises: BadInput for what cannot be read.
    """
    return predictions(
        fitted, history, labels, horizon=horizon_of(fitted.spec, horizon), draws=draws, seed=seed,
        progress=lambda share: progress("predictions", share),
    )  # fmt: skip


def simulate_conditions(
    fitted: Fitted,
    conditions: str | File,
    out: str | File,
    *,
    cells: int = 100,
    seed: int = 0,
    progress: Progress = silent,
) -> Predicted:
    """Write `cells` of every condition in a table as AnnData, beside measured control cells; see `plan.populations`.

    Raises: BadInput for what cannot be read, naming row and column.
    """
    return predict_conditions(
        fitted, conditions, out, cells=cells, seed=seed, progress=lambda share: progress("cells", share)
    )


def write_futures(fitted: Fitted, asked: Question, futures: Futures, out: str | File) -> None:
    """Write futures that `simulate` drew for `asked` as a MEDS folder, every row marked simulated.

    Raises: BadInput where the world was not fitted to MEDS data, or `out` holds something.
    """
    config = configs.parse(json.loads(fitted.study)) if fitted.study else None
    if config is None or config.format != "meds":
        raise BadInput(f"no MEDS folder {out}: found a world of other tables, expected one fitted to MEDS data")
    forecast = meds_write.Forecast(asked.subject, asked.start + asked.now, futures)
    meds_write.write_futures(File(out), config, [forecast])


def plan(
    fitted: Fitted,
    *,
    subject: str | None = None,
    history: Table | None = None,
    start: float | str | None = None,
    goal: str,
    limits: Sequence[str] = (),
    horizon: str | float,
    controls: Sequence[str] | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Plan | Abstention:
    """The best schedule for one subject, with a promise from models fitted on other subjects, or an abstention.

    Args: `goal` such as "minimise total cpa over 365 d while psa <= 4 ng/mL", "maximise time until psa > 10 ng/mL" or
    "maximise time off cpa" (see `biowm.plan.goals`); `limits` such as "P(max psa <= 10) >= 0.9" and "cpa <= 200".
    """
    asked = question(fitted, subject=subject, history=history, start=start)
    ahead = horizon_of(fitted.spec, horizon)
    spec = fitted.spec
    support = judge(spec, fitted.calibration.scale, fitted.envelope, asked.path, asked.origin, (), ahead)
    aim = parse_goal(goal, spec)
    wanted = [parse_limit(text, spec) for text in limits]
    for limit in (*aim.limits, *wanted):
        check_promise(fitted, limit)
    cohort = None
    if fitted.cohort is not None:
        cohort = take(fitted.cohort.paths, fitted.cohort.known)
    found = plan_crossfit(
        fitted.world,
        fitted.halves,
        asked.path,
        aim,
        wanted,
        ahead,
        key=jax.random.key(seed),
        origin=asked.origin,
        ground=Ground(support, (fitted.envelope.longest,), fitted.calibration.subjects, cohort),
        controls=controls,
        progress=progress,
    )
    if isinstance(found, Abstention):
        return found
    config = {"goal": goal, "limits": list(limits), "horizon": ahead, "controls": list(controls or ())}
    record = Record("plan", inputs_of(asked), {**config, "subject": asked.subject}, seed, (fitted.record.id,))
    return dataclasses.replace(found, record=record)


def propose(
    fitted: Fitted,
    *,
    count: int,
    candidates: Sets = "pairs",
    members: Sequence[str] | None = None,
    context: Sequence[str] = (),
    channels: Sequence[str] = (),
    by: By = "balanced",
    discount: float = DISCOUNT,
    seed: int = 0,
    progress: Progress = silent,
) -> Proposal:
    """The next `count` sets of a screen to measure, of those that were not, best first.

    Args: `candidates` pairs, singles or all of the `members` that are named ("KLF1", "meki=500 nM"; default: all, each
    at the dose it was given most often), in a `context` such as ("line=A",) (default: every one of the screen).
    `by` "balanced": each next one holds the members that were measured least, of equals what tells most; "information":
    each next one tells most about the responses in `channels` (default: all that are forecast) besides those before it.
    `discount` is taken off the log-variance for each pick of a member, where a world does not say how sets hang
    together (see `biowm.plan.information`). Raises: BadInput for a world that is no screen, unknown members or
    channels, and for more experiments than there are sets that were not measured.
    """
    return next_sets(
        fitted, count=count, candidates=candidates, members=members, context=context, channels=channels, by=by,
        discount=discount, seed=seed, progress=lambda share: progress("experiments", share),
    )  # fmt: skip


def cohort(
    model: Fitted | World,
    *,
    arms: Sequence[str],
    outcome: str,
    horizon: str | float,
    sizes: Sequence[int] = (100,),
    given: Sequence[str] = (),
    trials: int = 500,
    patients: int | None = None,
    alpha: float = ALPHA,
    seed: int = 0,
    progress: Progress = silent,
) -> Trial | Abstention:
    """An in-silico two-arm trial in virtual patients of a fitted world or a simulator, with its power by size.

    Args: `arms` two texts such as "control: " and "treated: cpa=200 mg/d@0:90 d"; `outcome` such as "mean psa at 90 d";
    `sizes` patients in each arm; `given` such as "age=60:70 yr" (see `biowm.engine.newcomers` for who is drawn);
    `trials` simulated for each size; `patients` virtual ones drawn (default: four times the largest size, at least
    1,000); `alpha` of the two-sided test. Returns an Abstention where an arm lies outside the training data or fewer
    than ten training subjects are as given. Raises: BadInput for what cannot be read.
    """
    asked = design(
        model.spec, arms=arms, outcome=outcome, horizon=horizon_of(model.spec, horizon), given=given, sizes=sizes,
        trials=trials, patients=patients, alpha=alpha,
    )  # fmt: skip
    return trial(model, asked, seed=seed, progress=lambda share: progress("virtual patients", share))


def certify(
    model: Fitted | World | Endpoint | Maker,
    study: Study | str | File | None = None,
    *,
    truth: World | None = None,
    data: str | File | None = None,
    seed: int = 0,
    progress: Progress = silent,
) -> Report:
    """Put every gate to a model: a fitted world, anybody's model on a study, or a simulator on subjects of its own.

    A fitted world is examined on its held-out subjects, or on all subjects of another `study`; any other model (see
    `biowm.adapters`) on the test subjects of a study, where the simple rules learn from the training subjects of the
    split by `seed`. A function of a study makes the model here, from those training subjects: nobody else is in the
    study it is given. `truth` is the simulator that the data came from, where there is one: some gates ask what only a
    simulator knows. Raises: BadInput where there is nobody to examine, or the study or the simulator is about other
    things, or a foreign function failed.
    """
    known: dict[str, str] = {}
    if not isinstance(model, Fitted | World | Endpoint):
        if study is None:
            raise BadInput("found no study for the function that makes the model, expected one: it learns from it")
        study = study if isinstance(study, Study) else studies.load(study, data=data)
        progress("making the model", 0.0)
        known, model = origin(model), made(model, study, seed)
    if truth is not None:
        check_same_truth(model.spec, truth.spec)
    if isinstance(model, World | Endpoint):
        with plain_errors():
            exam = _exam_of_any(model, study, truth, data, seed, progress)
            return examine(dataclasses.replace(exam, origin=known))
    if study is None:
        part = held_out(model)
        if part is None:
            raise BadInput(
                "no held-out subjects in this artefact: give --on STUDY.yaml, or fit with a test share and histories"
            )
    else:
        other = study if isinstance(study, Study) else studies.load(study, data=data)
        check_same_world(model, other)
        part = HeldOut(stack([aligned(model, other, p) for p in other.paths]), other.subjects, other.groups)
    exam = exam_of(
        model, part.paths, part.subjects, model.horizons, groups=part.groups, truth=truth, seed=seed, progress=progress
    )
    return examine(with_baselines(exam))


def _exam_of_any(
    model: World | Endpoint, study: Study | str | File | None, truth: World | None, data: str | File | None, seed: int,
    progress: Progress,
) -> Exam:  # fmt: skip
    """The exam of a model that was not fitted here."""
    if study is not None:
        source = study if isinstance(study, Study) else studies.load(study, data=data)
        return exam_of_model(model, source, truth=truth, seed=seed, progress=progress)
    if isinstance(model, Endpoint):
        raise BadInput(f"{model.spec.name} has no transition and no subjects of its own: give a study")
    return exam_of_world(model, seed=seed, progress=progress)


def bench(
    task: str,
    setting: Setting | None = None,
    *,
    seeds: int | None = None,
    jobs: int = 1,
    progress: Progress = silent,
) -> Result:
    """Run a benchmark task; see `biowm.evaluate.bench.run`. `jobs` seeds at a time, each in a process of its own.

    `progress(text, share)` hears of the work.
    A script that asks for several jobs must have its calls below `if __name__ == "__main__":`.
    """
    executor = Processes(jobs) if jobs > 1 else None
    return run_task(task, setting or Setting(), seeds=seeds, progress=progress, executor=executor)
