"""Task `speed`: how long the machine's main parts take, beside the plain way to do the same in the same run.

- `cohort`: 10,000 simulated patients of 60 days; beside it the same equations in NumPy, one patient and one day at a
  time (`loop`, from 50 patients), as the published generator does it, and all patients in one array (`numpy`).
- `glucose`: a day of 1,000 patients with type 1 diabetes, read every 5 min; beside it the same equations in the package
  simglucose (extra `[peers]`), from half an hour of one patient, without a sensor.
- `sepsis`: 20 steps of 100,000 patients of ICU-Sepsis; beside it the package's own environment, from 500 steps.
- `mpc`: one decision of the task `glucose`: 512 schedules over four hours, ten futures each, of five members; beside it
  as many schedules one after the other, each followed by one compiled call from Python.
- `rollout`: five members, 1,024 draws each, 30 steps of one subject; beside it one compiled step called from Python.
- `fit`: the mixed-effects trunk on 2,000 patients of 60 days; beside it the simple rule ridge.

Each is run once to compile and then timed; the figures hold for the machine that the version names.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path as File
from types import ModuleType
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from biowm.core.path import Path
from biowm.core.registry import register
from biowm.core.rollout import assimilate, at, draw_states, resume, rollout, unroll
from biowm.core.schedule import Entry, schedule
from biowm.core.world import Belief, World
from biowm.models.blend import blend
from biowm.models.candidate import Candidate, Material, material
from biowm.plan.problem import doses, follow, planned
from biowm.train.candidates import entrants
from biowm.train.contest import Progress
from biowm.worlds.patient import tumour
from biowm.worlds.patient.cohort import cohort
from biowm.worlds.patient.glucose import Glucose
from biowm.worlds.patient.sepsis import Sepsis
from biowm.worlds.patient.sepsis_tables import ACTIONS, LIVE

from ..metrics import Metric, Tally, given
from ..task import Answer, Setting, Task
from . import _insulin as insulin
from ._diabetes import EVERY, Patient, Seen, meals, paths, patients
from ._icu_sepsis import icu_sepsis, steps
from ._simglucose import simglucose, trace
from ._tumours import at_once, luck, one_by_one

_DAYS, _MEMBERS, _DRAWS, _STEPS, _SCHEDULES = 60, 5, 1024, 30, 512
_MINUTES, _TURNS = 24 * 60, 20
_SECONDS, _RATE = Metric(given), Metric(given)


@dataclass(frozen=True)
class Problem:
    """Patients to simulate (a tenth as many with diabetes), and the material of a cohort to fit."""

    seed: int
    patients: int
    ready: Material
    repeats: int


Prediction = Mapping[str, tuple[float, ...]]  # seconds of each repeat, by split


@register("tasks", "speed")
class Speed(Task[Problem, Prediction]):
    """Seconds of the main parts, beside the plain way to do the same."""

    version = "5"  # 2: glucose, 3: sepsis, 4: mpc, 5: a loop over patients
    primary = "seconds"

    def make(self, seed: int, setting: Setting) -> Problem:
        """A cohort at gamma 2; quick runs have a tenth of it."""
        share = 10 if setting.effort == "quick" else 1
        paths = jax.tree.map(np.asarray, cohort(jax.random.key(seed), 2000 // share, 2.0, _DAYS))
        ready = material(tumour.SPEC, paths, 1.0, 30.0)
        return Problem(seed, 10_000 // share, ready, 5)

    def scope(self, setting: Setting) -> str:
        """The machine, and the size of a quick run."""
        size = "; quick: a tenth of the patients" if setting.effort == "quick" else ""
        missing = [name for name, peer in (("simglucose", simglucose()), ("icu-sepsis", icu_sepsis())) if peer is None]
        peer = "".join(f"; {name} is not installed: no row of it" for name in missing)
        machine = f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}, JAX {jax.__version__}"
        return machine + size + peer

    def contend(self, problem: Problem, tell: Progress) -> Iterator[Answer[Prediction]]:
        """The plain ways first, then ours."""
        rules = {c.name: c for c in entrants()}
        yield Answer("loop", "baseline", {"cohort": _by_loop(problem)})
        whole = _time(lambda: at_once(luck(problem.seed, problem.patients, _DAYS)), problem.repeats)
        yield Answer("numpy", "baseline", {"cohort": whole})
        if (peer := simglucose()) is not None:
            yield Answer("simglucose", "baseline", {"glucose": _by_simglucose(peer, problem)})
        if (ward := icu_sepsis()) is not None:
            yield Answer("icu-sepsis", "baseline", {"sepsis": _by_icu_sepsis(ward, problem)})
        choice = _choice(problem)
        plain = {"rollout": _time(_stepwise(problem), problem.repeats), "mpc": _time(_one_by_one(choice), 2)}
        yield Answer("stepwise", "baseline", plain)
        yield Answer("ridge", "baseline", {"fit": _time(lambda: _fit(rules["ridge"], problem), 2)})
        key = jax.random.key(problem.seed + 1)
        yield Answer(
            "world",
            "ours",
            {
                "cohort": _time(lambda: cohort(key, problem.patients, 2.0, _DAYS), problem.repeats),
                "glucose": _time(_diabetics(problem), problem.repeats),
                **({} if ward is None else {"sepsis": _time(_septic(problem), problem.repeats)}),
                "mpc": _time(_decision(choice), problem.repeats),
                "rollout": _time(_ensemble(problem), problem.repeats),
                "fit": _time(lambda: _fit(rules["mixed(full)"], problem), 2),
            },
        )

    def score(self, prediction: Prediction, problem: Problem) -> Mapping[tuple[str, str], Tally]:
        """Seconds of each repeat; where patients are simulated patient-days (sepsis: steps) a second, too."""
        days = {"cohort": problem.patients * _DAYS, "glucose": problem.patients // 10}
        rates = {split: ("patient_days_per_second", n) for split, n in days.items()}
        rates["sepsis"] = ("steps_per_second", 10 * problem.patients * _TURNS)
        found = {}
        for split, seconds in prediction.items():
            units = np.array([f"{problem.seed}/{i}" for i in range(len(seconds))])
            taken, one = np.array(seconds), np.ones(len(seconds))
            found[split, "seconds"] = Tally(_SECONDS, units, taken, one)
            if split in rates:
                name, n = rates[split]
                found[split, name] = Tally(_RATE, units, one * n, taken)
        return found


def _time(run: Callable[[], object], repeats: int) -> tuple[float, ...]:
    """Seconds of each of `repeats` runs after a first one that compiles."""
    jax.block_until_ready(run())
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        seconds.append(time.perf_counter() - start)
    return tuple(seconds)


def _fit(candidate: Candidate, problem: Problem) -> World:
    """One candidate fitted from the paths on: nothing that an earlier fit left in the material is used."""
    ready = problem.ready
    return candidate.fit(material(ready.spec, ready.paths, ready.frame.spacing, ready.longest))


def _first(problem: Problem) -> tuple[Path, World]:
    path: Path = jax.tree.map(lambda leaf: leaf[0], problem.ready.paths)
    return path, next(c for c in entrants() if c.name == "mixed(full)").fit(problem.ready)


def _ensemble(problem: Problem) -> Callable[[], jax.Array]:
    """Five members under one vmap: all futures of one subject in one compiled call."""
    path, world = _first(problem)
    arrays, rest = eqx.partition(world, eqx.is_array)
    members = jax.tree.map(lambda leaf: jnp.stack([leaf] * _MEMBERS), arrays)
    times = path.t[-1] + jnp.arange(1, _STEPS + 1, dtype=jnp.float32)

    @eqx.filter_jit
    def run(members: World, key: jax.Array) -> jax.Array:
        def one(member: World, key: jax.Array) -> jax.Array:
            belief = at(assimilate(eqx.combine(member, rest), path), -1)
            return rollout(eqx.combine(member, rest), belief, path.plan, times, key=key, draws=_DRAWS)

        return jax.vmap(one)(members, jax.random.split(key, _MEMBERS))

    return lambda: run(members, jax.random.key(problem.seed))


def _stepwise(problem: Problem) -> Callable[[], jax.Array]:
    """The same futures, one compiled step at a time and one member after another, called from Python."""
    path, world = _first(problem)
    times = path.t[-1] + jnp.arange(1, _STEPS + 1, dtype=jnp.float32)
    belief = at(eqx.filter_jit(assimilate)(world, path), -1)
    step = eqx.filter_jit(lambda states, t, key: resume(world, states, path.plan, t[None], key=key))
    start = eqx.filter_jit(lambda key: draw_states(world, belief, key=key, draws=_DRAWS))

    def run() -> jax.Array:
        ends = []
        for key in jax.random.split(jax.random.key(problem.seed), _MEMBERS):
            states = start(key)
            for t in times:
                states, reading = step(states, t, key)
            ends.append(reading)
        return jnp.stack(ends)

    return run


class _Choice(NamedTuple):
    """A patient before a meal, and who decides for it: through five members that were fitted to others' logs."""

    controller: insulin.Mpc
    who: Patient
    belief: Belief
    seen: Seen
    key: jax.Array


def _choice(problem: Problem) -> _Choice:
    """Members are the same fit five times over: what a decision takes depends on how many there are, not which."""
    who, key = patients(list(range(0, 30, 5))), jax.random.key(problem.seed)
    eaten = jnp.asarray(meals(len(who.weight), 2, [problem.seed]))
    past, ward = insulin.by_habit(who, eaten, eaten, jax.random.split(key, len(who.weight)))
    logs = paths(past, *(np.asarray(a) for a in (*insulin.scales(who), insulin.traits(who))))
    trunk = next(c for c in entrants() if c.name == "mixed(full)")
    member = trunk.fit(material(insulin.SPEC, logs, EVERY, insulin.AHEAD))
    names = [f"member {i}" for i in range(_MEMBERS)]
    world = blend(insulin.SPEC, dict.fromkeys(names, member), dict.fromkeys(names, 1 / _MEMBERS))
    controller = insulin.mpc(world, 2 * _MEMBERS)
    beliefs = insulin.watch(controller, who, past)
    live, one, belief = jax.tree.map(lambda leaf: leaf[0], (ward.live, who, beliefs))
    return _Choice(controller, one, belief, Seen(live.state.t, live.reading, jnp.asarray(60.0)), key)


def _decision(choice: _Choice) -> Callable[[], object]:
    """The whole decision in one compiled call: a reading, the search, and what is then believed."""

    @eqx.filter_jit
    def run(c: _Choice) -> object:
        return c.controller.decide(c.who, c.belief, c.seen, key=c.key)

    return lambda: run(choice)


def _one_by_one(choice: _Choice) -> Callable[[], jax.Array]:
    """As many schedules, one compiled rollout each; what searches among them is left out."""
    controller, question = choice.controller, choice.controller.question

    @eqx.filter_jit
    def run(world: World, belief: Belief, share: jax.Array, key: jax.Array) -> jax.Array:
        plan = planned(question, doses(question, share))
        return follow(world, belief, question, plan, key=key, draws=controller.draws).x

    belief = eqx.tree_at(lambda b: b.t, choice.belief, jnp.zeros(()))
    shares = np.random.default_rng(0).random((_SCHEDULES, *question.low.shape)).astype(np.float32)
    return lambda: jnp.stack([run(controller.model(choice.who), belief, share, choice.key)[0, -1] for share in shares])


def _by_loop(problem: Problem) -> tuple[float, ...]:
    """Seconds that a loop over patients and days would take for the cohort, from 50 patients."""
    few = 50
    scale = problem.patients / few
    return tuple(scale * s for s in _time(lambda: one_by_one(luck(problem.seed, few, _DAYS)), problem.repeats))


def _diabetics(problem: Problem) -> Callable[[], jax.Array]:
    """A day of insulin and three meals of patients of the prior, in one compiled call: sensor readings every 5 min."""
    world = Glucose(spacing=5.0, substeps=5)
    plan = schedule(
        [Entry(0, 1.0, 0.0, _MINUTES)]
        + [Entry(card, dose, 60.0 * hour, 60.0 * hour) for hour in (7, 12, 19) for card, dose in ((1, 5.0), (2, 60.0))]
    )
    times = jnp.arange(5.0, _MINUTES + 1, 5.0)

    @eqx.filter_jit
    def run(world: Glucose, keys: jax.Array) -> jax.Array:
        belief = world.begin(jnp.zeros(3))
        return jax.vmap(lambda key: unroll(world, world.draw(belief, key=key), plan, times, key=key)[1])(keys)

    return lambda: run(world, jax.random.split(jax.random.key(problem.seed), problem.patients // 10))


def _by_simglucose(peer: ModuleType, problem: Problem) -> tuple[float, ...]:
    """Seconds that simglucose would take for as many patient-days, from one patient and half an hour after a meal."""
    minutes = 30
    insulin, carbs = np.full(minutes, 1 / 60), np.zeros(minutes)
    insulin[0], carbs[0] = 5.0, 60.0
    scale = problem.patients // 10 * _MINUTES / minutes
    return tuple(scale * s for s in _time(lambda: trace(peer, "adult#001", insulin, carbs), problem.repeats))


def _septic(problem: Problem) -> Callable[[], jax.Array]:
    """Steps of many patients under random actions, in one compiled call; who has died or survived is begun anew."""
    n = 10 * problem.patients

    @eqx.filter_jit
    def run(world: Sepsis, key: jax.Array) -> jax.Array:
        k_new, k_act, k_move = jax.random.split(key, 3)
        fresh = jax.vmap(lambda k: world.begin(key=k))(jax.random.split(k_new, n))
        actions = jax.random.randint(k_act, (_TURNS, n), 0, ACTIONS)

        def turn(states: jax.Array, now: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, None]:
            number, action, key = now
            states = jnp.where(states < LIVE, states, jnp.roll(fresh, number))
            return jax.vmap(lambda s, a, k: world.step(s, a, key=k))(states, action, jax.random.split(key, n)), None

        turns = jnp.arange(_TURNS), actions, jax.random.split(k_move, _TURNS)
        return jax.lax.scan(turn, jnp.full(n, LIVE, jnp.int32), turns)[0]

    world = Sepsis()
    return lambda: run(world, jax.random.key(problem.seed))


def _by_icu_sepsis(peer: type, problem: Problem) -> tuple[float, ...]:
    """Seconds that the package's own environment would take for as many steps, from 500 of them."""
    few = 500
    scale = 10 * problem.patients * _TURNS / few
    env = peer()
    return tuple(scale * s for s in _time(lambda: steps(env, few, problem.seed), problem.repeats))


def _processor() -> str:
    """The model of the processor, where the system says it."""
    info = File("/proc/cpuinfo")
    names = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")] \
        if info.exists() else []  # fmt: skip
    return names[0] if names else platform.processor() or platform.machine()
