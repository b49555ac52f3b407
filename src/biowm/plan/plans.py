"""Planning: with one model, or with a promise from models that did not plan."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from biowm.core.errors import Abstention
from biowm.core.forecast import belief_at
from biowm.core.futures import Support
from biowm.core.interval import Interval
from biowm.core.path import Path, lengths, stack
from biowm.core.registry import get
from biowm.core.schedule import Schedule
from biowm.core.world import Belief, World
from biowm.train.contest import Progress, silent

from .goals import Goal, Limit
from .held import hold
from .problem import REFERENCES, Problem, pose, references, tidy
from .promise import Judged, disagreement, interval, judge, kept, pool
from .result import Alternative, LimitCheck, Plan
from .unlikely import unlikely

DRAWS = 256  # futures that a finished plan is valued with
MUST_BEAT = ("nothing", "hold")
SURE = 0.9  # share of the draws, where the two differ, in which a plan must beat each that keeps the hard limits
APART = 1.0  # half-widths of a band that the judges' medians may be apart


@dataclass(frozen=True)
class Ground:
    """What an answer may stand on; None or empty: not known, so not asked about.

    The support of the question, the horizons that were validated (in the world's clock), the number of subjects
    that bands were calibrated on, and the stacked training cohort.
    """

    support: Support | None = None
    horizons: tuple[float, ...] = ()
    calibration_subjects: int | None = None
    cohort: Path | None = None


def plan(
    world: World, belief: Belief, problem: Problem, *, key: PRNGKeyArray, planner: str = "cem"
) -> Plan | Abstention:
    """The best schedule by one model's own account: for simulators whose equations are known.

    The value comes from futures that were not used to plan, but from the same model: no promise is made.
    Abstains where no schedule keeps the hard limits, or none beats doing nothing and holding on.
    """
    seek, value = jax.random.split(key)
    found = get("planners", planner)(world, belief, problem, key=seek)
    own = judge(world, belief, problem, [found, found, *_simple(problem)], key=value, draws=DRAWS)
    return _decide(problem, found, own, [])


def plan_crossfit(
    world: World,
    halves: tuple[World, World],
    path: Path,
    goal: Goal,
    limits: Sequence[Limit],
    horizon: float,
    *,
    key: PRNGKeyArray,
    origin: int | None = None,
    ground: Ground = Ground(),
    controls: Sequence[str] | None = None,
    held: Schedule | None = None,
    segments: int = 12,
    planner: str = "cem",
    progress: Progress = silent,
) -> Plan | Abstention:
    """A schedule from `world`, and a promise from `halves`: worlds fitted on two disjoint halves of the subjects.

    Each half plans for this subject and the other half values that plan; the promise is the average both ways.
    The subject's `path` is used up to reading number `origin` (default: the last); `held` is what goes on without
    a decision (default: `hold`); `progress(text, share)` hears of each search and judgement. Returns an Abstention,
    with every reason, where the question lies outside what was validated, no schedule keeps the hard limits by the
    judges' account, the promise does not beat doing nothing and holding on, or the judges disagree by more than their
    bands are wide.
    """
    reasons = _refusals(world, (*goal.limits, *limits), horizon, ground)
    if reasons:
        return Abstention(reasons)
    alone = stack([path])
    whole = jax.tree.map(lambda leaf: leaf[0], alone)
    origin = int(lengths(alone)[0]) - 1 if origin is None else origin
    now = float(whole.t[origin])
    problem = pose(
        world.spec, goal, limits, now=now, horizon=horizon, spacing=min(w.spacing for w in (world, *halves)),
        segments=segments, controls=controls, held=hold(path.plan, world.spec, now, horizon) if held is None else held,
    )  # fmt: skip
    seek, value = jax.random.split(key)
    find = functools.partial(get("planners", planner), problem=problem, key=seek)
    found, own, judges = _cross((world, *halves), whole, origin, problem, find, value, progress)
    decided = _decide(problem, found, own, judges)
    if isinstance(decided, Abstention) or ground.cohort is None:
        return decided
    return replace(decided, unlikely=unlikely(found, ground.cohort, world.spec, problem.controls, now, horizon))


def _cross(
    worlds: tuple[World, World, World],
    path: Path,
    origin: int,
    problem: Problem,
    find: Callable[[World, Belief], Schedule],
    key: PRNGKeyArray,
    progress: Progress,
) -> tuple[Schedule, Judged, list[Judged]]:
    """The schedule of the first world, its own account of it, and each half's account of what the other half chose."""
    names = ("the world", "one half", "the other half")
    beliefs = [belief_at(w, path, origin) for w in worlds]
    plans, accounts = [], []
    for i, name in enumerate(names):
        progress(f"a plan by {name}", i / 6)
        plans.append(jax.block_until_ready(find(worlds[i], beliefs[i])))
    found, of_a, of_b = plans
    for i, name in enumerate(names):
        progress(f"plans judged by {name}", (3 + i) / 6)
        asked = [(found, of_b, of_a)[i], found, *_simple(problem)]
        accounts.append(judge(worlds[i], beliefs[i], problem, asked, key=key, draws=DRAWS))
    return found, accounts[0], accounts[1:]


def _refusals(world: World, limits: Sequence[Limit], horizon: float, ground: Ground) -> tuple[str, ...]:
    """Reasons, known before any planning, not to answer."""
    reasons = []
    clock, subjects = world.spec.clock, ground.calibration_subjects
    if ground.support is not None and ground.support.verdict == "outside":
        reasons += [f"outside the data: {reason}" for reason in ground.support.reasons] or ["outside the data"]
    if ground.horizons and horizon > max(ground.horizons) * (1 + 1e-5):
        reasons.append(
            f"the horizon, {horizon:g} {clock}, is beyond what was validated, {max(ground.horizons):g} {clock}"
        )
    for limit in limits:
        if subjects is not None and limit.level < 1 and (subjects + 1) * (1 - limit.level) < 1 - 1e-9:
            need = int(np.ceil(1 / (1 - limit.level) - 1e-9)) - 1
            reasons.append(f"{limit.meaning} takes {need} calibration subjects, there are {subjects}")
    return tuple(reasons)


def _simple(problem: Problem) -> list[Schedule]:
    stacked = references(problem)
    return [jax.tree.map(lambda leaf, i=i: leaf[i], stacked) for i in range(len(REFERENCES))]


def _decide(problem: Problem, found: Schedule, own: Judged, judges: list[Judged]) -> Plan | Abstention:
    """The plan or the reasons not to give one.

    Rows of `own` and `judges`: the schedule to be valued (by a judge: the one that the other half chose), the
    schedule found, the simple ones.
    """
    verdict = pool(judges) if judges else own
    promised, claimed = kept(verdict)[:2].min(0), kept(own)[1]
    limits = tuple(
        LimitCheck(x.text, x.meaning, x.severity, x.source, x.level, float(claimed[i]),
                   float(promised[i]) if judges else None, bool(promised[i] >= x.level - 1e-9))
        for i, x in enumerate(problem.limits)
    )  # fmt: skip
    others = tuple(_alternative(problem, verdict, i) for i in range(len(REFERENCES)))
    asked = {q.index for q in (problem.goal.quantity, *(x.quantity for x in problem.limits)) if q.kind == "channel"}
    apart = disagreement(judges[0].x[1], judges[1].x[1], sorted(asked)) if judges else None
    chosen = Plan(
        spec=problem.spec,
        goal=problem.goal,
        now=float(problem.now),
        horizon=float(problem.edges[-1] - problem.now),
        entries=tidy(problem, found),
        own=interval(own.goal[1]),
        promise=interval(verdict.goal[0]) if judges else None,
        limits=limits,
        alternatives=others,
        disagreement=apart,
    )
    reasons = _doubts(chosen)
    return Abstention(reasons) if reasons else chosen


def _alternative(problem: Problem, verdict: Judged, i: int) -> Alternative:
    """Simple schedule number `i` beside the plan, draw by draw under the same noise."""
    ours, theirs = verdict.goal[0], verdict.goal[2 + i]
    gain = (theirs - ours) * (1 if problem.goal.sense == "minimise" else -1)
    differ = gain != 0  # a blend's draws from rules that look at no action say nothing either way
    levels = kept(verdict)[2 + i]
    ok = all(levels[j] >= x.level - 1e-9 for j, x in enumerate(problem.limits) if x.severity == "hard")
    return Alternative(REFERENCES[i], interval(theirs), ok, float(np.mean(gain[differ] > 0)) if differ.any() else 0.0)


def _doubts(plan: Plan) -> tuple[str, ...]:
    """Reasons not to give a plan that was made."""
    by = "the model that planned" if plan.promise is None else "models fitted on other subjects"
    reasons = [
        f"no feasible schedule was found: {x.meaning} holds with probability "
        f"{x.own if x.promised is None else x.promised:.2f} by {by}"
        + ("" if x.promised is None else f" ({x.own:.2f} by the model that planned)")
        for x in plan.limits
        if x.severity == "hard" and not x.ok
    ]
    if plan.disagreement is not None and plan.disagreement > APART:
        reasons.append(f"the judges' median paths are {plan.disagreement:.1f} half-widths of their 80 % bands apart")
    return tuple(reasons) or tuple(
        f"the plan, {_short(plan.promise or plan.own)}, does not beat {other.name!r}, {_short(other.value)}: "
        f"better in {other.beaten:.0%} of the draws that differ, by {by}, {SURE:.0%} asked"
        for other in plan.alternatives
        if other.name in MUST_BEAT and other.ok and other.beaten < SURE
    )


def _short(number: Interval) -> str:
    return f"{number.value:.4g} [{number.low:.4g}, {number.high:.4g}]"
