"""Gate `action`: what is done must move the state, and the right actions must forecast better than wrong ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from biowm.core.forecast import belief_at
from biowm.core.interval import Interval
from biowm.core.path import take
from biowm.core.registry import register
from biowm.core.rollout import draw_states, resume
from biowm.core.schedule import Schedule
from biowm.core.world import State, World
from biowm.safety.dosepath import dose_paths

from ..exam import Exam, Verdict
from ..metrics import difference
from ..tamper import delayed, masked, pack, shuffled, unpack

_LOOKED_AT, _DRAWS = 4, 8
_PIECES = (8, 128)  # two schedules differ where they give different amounts in a piece of the horizon: so many pieces


@dataclass(frozen=True)
class Effect:
    """What one way of tampering does: to how many questions, to states (None: there are none), forecasts and CRPS."""

    questions: int
    moves_state: bool | None
    moves_forecast: bool
    crps_change: Interval


@register("gates", "action")
def check(exam: Exam) -> Verdict:
    """Masked, swapped and late actions change the forecast, latent and decoded; masked and swapped ones worsen it.

    Where actions do not differ between the subjects of the exam nothing can be tested; of a model without transition
    only forecasts can (R3, R27 of the ladder).
    """
    queries = exam.asked.queries
    given = take(exam.paths, queries.subject).plan
    if not exam.world.spec.actions:
        return _untested(exam, "the world has no action")
    if len(set(exam.units)) < 2:
        return _untested(exam, "there is no other subject to swap actions with")
    plans = unpack(given)
    origins = np.asarray(exam.paths.t)[queries.subject, queries.origin]
    tampered = {
        "mask": masked(plans, origins),
        "shuffle": shuffled(plans, origins, queries.subject, exam.seed),
        "late": delayed(plans, origins, float(exam.world.spacing)),
    }
    size = given.card.shape[1]  # where it fits, the program that is compiled already serves
    return _judge(exam, {name: _effect(exam, given, pack(other, size)) for name, other in tampered.items()})


def _untested(exam: Exam, why: str) -> Verdict:
    return exam.skip("action", f"{why}: nothing to test")


def _amounts(exam: Exam, plans: Schedule) -> Float[np.ndarray, "q p a"]:
    """What each question's schedule gives in each piece of its horizon, none longer than what late actions are late."""
    start = exam.asked.start
    length = exam.asked.queries.times[:, -1] - start
    pieces = int(np.clip(np.ceil(length.max() / exam.world.spacing), *_PIECES))
    return dose_paths(exam.world.spec, plans, start, length, pieces)


def _effect(exam: Exam, given: Schedule, other: Schedule) -> Effect:
    """What other actions do to latent states, forecasts and CRPS."""
    differ = np.flatnonzero(np.abs(_amounts(exam, given) - _amounts(exam, other)).max((1, 2)) > 1e-6)
    if not len(differ):
        return Effect(0, False, False, Interval(np.nan, np.nan, np.nan, 0))
    right, wrong = exam.answer("world"), exam.answer("world", other)
    change = difference(exam.area(exam.curve(wrong)), exam.area(exam.curve(right)), seed=exam.seed)
    world, states = exam.dynamics, None
    if world is not None:
        states = all(_moves(exam, world, given, other, q) for q in differ[:_LOOKED_AT].tolist())
    return Effect(len(differ), states, bool((right != wrong).any()), change)


def _moves(exam: Exam, world: World, given: Schedule, other: Schedule, question: int) -> bool:
    """Whether other actions lead to other latent states."""
    ends = (jax.tree.leaves(_ends(exam, world, plans, question)) for plans in (given, other))
    return any(not np.array_equal(np.asarray(a), np.asarray(b)) for a, b in zip(*ends, strict=True))


def _ends(exam: Exam, world: World, plans: Schedule, question: int) -> State:
    """The states in which a question's rollout ends under its schedule among `plans`."""
    queries = exam.asked.queries
    key = jax.random.key(exam.seed)
    belief = belief_at(world, exam.path(question), int(queries.origin[question]))
    states = eqx.filter_jit(draw_states)(world, belief, key=key, draws=_DRAWS)
    plan = jax.tree.map(lambda leaf: leaf[question], plans)
    return eqx.filter_jit(resume)(world, states, plan, jnp.asarray(queries.times[question]), key=key)[0]


def _judge(exam: Exam, effects: dict[str, Effect]) -> Verdict:
    tested = {name: e for name, e in effects.items() if e.questions}
    if not {"mask", "shuffle"} <= set(tested):
        return _untested(exam, "the actions do not differ between the subjects")
    ignored = [name for name, e in tested.items() if e.moves_state is False or not e.moves_forecast]
    useless = [name for name in ("mask", "shuffle") if not tested[name].crps_change.low > 0]
    said = [f"the state or the forecast ignores them ({', '.join(ignored)})"] if ignored else []
    said += [f"wrong actions do not forecast worse ({', '.join(useless)})"] if useless else []
    moved = "state and forecast" if exam.dynamics is not None else "the forecast (there is no state)"
    which = "masked, swapped and late" if "late" in tested else "masked and swapped"
    said += [] if said else [f"{which} actions move {moved}, and wrong ones forecast worse"]
    said += [] if "late" in tested else ["late actions could not be tested: none changes within the horizon"]
    evidence = {name: asdict(e) for name, e in effects.items()}
    passed = not (ignored or useless)
    return exam.verdict("action", passed, effects["shuffle"].crps_change, "; ".join(said), evidence)
