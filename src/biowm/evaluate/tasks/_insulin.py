"""Who decides on insulin in the task `glucose`: habit, basal-bolus, PID, and looking ahead in a world.

Each knows the patient's weight and own rules of thumb; the oracle alone knows its equations.
"""

from __future__ import annotations

import itertools
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from biowm.core.schedule import Schedule
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec
from biowm.core.world import Belief, World
from biowm.plan.goals import parse_goal
from biowm.plan.problem import Problem, pose
from biowm.plan.receding import decide, move
from biowm.worlds.patient import glucose as simulator
from biowm.worlds.patient.glucose import Glucose
from biowm.worlds.patient.glucose_meals import LOW

from ._diabetes import EVERY, TICK, Controller, Dose, Patient, Seen, Trace, Ward, begin, in_range, loop, treat

_TARGET, _ABOVE = 140.0, 150.0  # mg/dL: what corrections of the basal-bolus rule aim at, and above which they are made
_MOST = 10.0  # basal rates: the most that a PID pumps
_HOURS = EVERY / 60  # of a decision
_SHY, _OFF, _MISJUDGED = 0.8, 0.5, 0.3  # of habits: share of what is due; how far rates and boluses are off (log)
_SUSPEND = 80.0  # mg/dL: below which the pump of one who lives by habit stops
GAINS = ((0.005, 0.01, 0.02, 0.03), (0.0, 2e-5), (0.0, 0.5, 1.0), (0.0, 0.5, 0.75, 1.0), (120.0, 140.0))
"""What is tried: basal rates per mg/dL off target, per mg/dL min, per mg/dL/min; share of a meal's bolus; target."""

AHEAD = 240.0  # min that a decision looks ahead
GOAL = "maximise time cgm in 80 to 160 mg/dL"
"""Inside the range that counts: readings err, and lows are worse than highs."""

RATE, BOLUS = 5.0, 2.0  # most that may be given: basal rates, and times what the patient's ratio says of a meal
SPEC = WorldSpec(
    name="glucose",
    clock="min",
    channels=(Channel("cgm", "mg/dL", link="log", low=39.0, high=600.0),),
    actions=(
        ActionCard("insulin", "", "rate", 0.0, 200.0),  # own basal rates; a bolus counts as given over its half hour
        ActionCard("meal", "h", "bolus", 0.0, 100.0),  # hours at the basal rate that its own bolus is worth
    ),
    traits=(Trait("need"),),  # logarithm of what an hour at the basal rate lowers glucose (mg/dL), by the own rules
)


class Habit(Controller):
    """Basal-bolus therapy as people live it: too little, meals misjudged, boluses forgotten or given without need.

    All doses are a fifth too small in the middle; the basal rate is off by another factor every two hours, each
    bolus by another. A tenth of the meals get none, one half hour in twenty there is a bolus that nothing calls for,
    and the pump stops while the reading is low, so that doses tell of their effects.
    """

    every: ClassVar[float] = EVERY

    def start(self, who: Patient) -> Float[Array, ""]:
        return jnp.ones(())

    def decide(
        self, who: Patient, memory: Float[Array, ""], seen: Seen, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, ""], Dose]:
        off, other, forgets, extra = jax.random.split(key, 4)
        factor = jnp.where(jnp.mod(seen.t, 4 * EVERY) == 0, _SHY * jnp.exp(_OFF * jax.random.normal(off)), memory)
        units = rule(who, seen) * _SHY * jnp.exp(_MISJUDGED * jax.random.normal(other))
        units = jnp.where(jax.random.bernoulli(forgets, 0.1), 0.0, units)
        more = jnp.where(jax.random.bernoulli(extra, 0.05), 2 * who.basal, 0.0)
        stopped = seen.reading < _SUSPEND
        return factor, Dose(jnp.where(stopped, 0.0, who.basal * factor), units + jnp.where(stopped, 0.0, more))


class BasalBolus(Controller):
    """The patient's own basal rate, and at a meal its bolus with a correction (the BBController of simglucose)."""

    every: ClassVar[float] = EVERY

    def start(self, who: Patient) -> tuple[()]:
        return ()

    def decide(self, who: Patient, memory: tuple[()], seen: Seen, *, key: PRNGKeyArray) -> tuple[tuple[()], Dose]:
        return (), Dose(who.basal, rule(who, seen))


def rule(who: Patient, seen: Seen) -> Float[Array, ""]:
    """The bolus (U) at a meal by the patient's own rules: what covers it, and a correction where glucose is high."""
    correction = jnp.where(seen.reading > _ABOVE, (seen.reading - _TARGET) / who.correction, 0.0)
    return jnp.where(seen.meal > 0, seen.meal / who.ratio + correction, 0.0)


class Pid(Controller):
    """A rate by the error of glucose, its integral and its slope, every five minutes, and part of the meal's bolus.

    The gains are in basal rates per mg/dL off target, per mg/dL min and per mg/dL/min; `meal` is the share of what
    the patient's own ratio says that a meal gets at once.
    """

    every: ClassVar[float] = TICK
    off: Float[Array, ""]
    total: Float[Array, ""]
    slope: Float[Array, ""]
    meal: Float[Array, ""]
    target: Float[Array, ""]

    def start(self, who: Patient) -> tuple[Float[Array, ""], Float[Array, ""]]:
        return jnp.zeros(()), jnp.full((), jnp.nan)

    def decide(
        self, who: Patient, memory: tuple[Array, Array], seen: Seen, *, key: PRNGKeyArray
    ) -> tuple[tuple[Array, Array], Dose]:
        total, last = memory
        off = seen.reading - self.target
        slope = jnp.where(jnp.isnan(last), 0.0, (seen.reading - last) / TICK)
        share = 1 + self.off * off + self.total * total + self.slope * slope
        still = (share < 0) | (share > _MOST)  # the integral waits while the pump is at a limit
        total = jnp.where(still, total, total + off * TICK)
        rate = who.basal * jnp.clip(share, 0.0, _MOST)
        return (total, seen.reading), Dose(rate, self.meal * seen.meal / who.ratio)


def by_habit(
    who: Patient, eaten: Float[Array, "n k"], after: Float[Array, "n l"], keys: Key[Array, " n"]
) -> tuple[Trace, Ward]:
    """What patients log who dose by habit, from rest on; and the same patients then, with what they eat `after`."""
    habit = Habit()
    live, past = loop(habit, who, jax.vmap(habit.start)(who), begin(who, keys), eaten, keys)
    return past, Ward(who, live, after, keys)


def tuned(ward: Ward) -> Pid:
    """The PID controller with the most time in range on this ward, of those no more often below 70 than basal-bolus.

    The rates of GAINS are tried; where all are below 70 more often, the one that is least often so is taken.
    """
    _, bearable = shares(treat(BasalBolus(), ward))
    tried = [Pid(*(jnp.asarray(g, jnp.float32) for g in gains)) for gains in itertools.product(*GAINS)]
    scores = np.array([shares(treat(pid, ward)) for pid in tried])
    fine = scores[:, 1] <= max(bearable, scores[:, 1].min())
    return tried[int(np.argmax(np.where(fine, scores[:, 0], -1.0)))]


def shares(past: Trace) -> tuple[float, float]:
    """Percent of the time in range, and below it, over all patients."""
    glucose = np.asarray(past.glucose)
    return float(100 * in_range(glucose).mean()), float(100 * (glucose < LOW).mean())


class Mpc(Controller):
    """Looks ahead from what it believes of a patient and does the best first half hour; without a `world`, the oracle.

    The oracle knows the patient's own equations, but not the sensor's error to come. Doses never exceed RATE and BOLUS.
    """

    every: ClassVar[float] = EVERY
    world: World | None
    question: Problem
    draws: int = eqx.field(static=True, default=8)

    def start(self, who: Patient) -> Belief:
        return self.model(who).begin(jnp.zeros(self.question.spec.trait_width) if self.world is None else traits(who))

    def decide(self, who: Patient, memory: Belief, seen: Seen, *, key: PRNGKeyArray) -> tuple[Belief, Dose]:
        belief = self.read(who, memory, seen)
        insulin, meal = self.units(who)
        usual, cover = RATE * who.basal, BOLUS * seen.meal / who.ratio
        most = jnp.zeros_like(self.question.high).at[:, 0].set(usual).at[0, 0].add(cover / _HOURS)
        question = eqx.tree_at(lambda q: q.high, self.question, insulin * most)
        now, card = jnp.reshape(seen.t, 1), jnp.full(1, self.meal, jnp.int32)
        served = Schedule(card, jnp.reshape(meal * seen.meal, 1), now, now, jnp.zeros(1, jnp.bool_))
        rate = decide(self.model(who), belief, question, served, key=key, draws=self.draws)[0][0] / insulin
        dose = Dose(jnp.minimum(rate, usual), _HOURS * jnp.maximum(rate - usual, 0.0))
        return self.after(who, belief, seen, dose), dose

    def read(self, who: Patient, belief: Belief, seen: Seen) -> Belief:
        """The belief after the reading."""
        return self.model(who).update(belief, seen.reading[None], jnp.ones(1, jnp.bool_))

    def after(self, who: Patient, belief: Belief, seen: Seen, dose: Dose) -> Belief:
        """The belief half an hour later, under what is given and eaten now."""
        insulin, meal = self.units(who)
        none = jnp.zeros(self.meal + 1)
        rate = none.at[0].set(insulin * (dose.rate + dose.bolus / _HOURS))
        return move(self.model(who), belief, rate, none.at[self.meal].set(meal * seen.meal), seen.t + EVERY)

    @property
    def meal(self) -> int:
        """The place of the meal among the world's actions; insulin is the first."""
        return self.question.spec.action("meal")

    def model(self, who: Patient) -> World:
        """The world that is looked ahead in."""
        if self.world is not None:
            return self.world
        return Glucose(spacing=EVERY, substeps=10, patients=who.own[None], groups=jnp.ones((1, 3)))

    def units(self, who: Patient) -> tuple[Array, Array]:
        """What turns insulin (U) and carbohydrate (g) into the doses of the world."""
        return (jnp.ones(()), jnp.ones(())) if self.world is None else scales(who)


def scales(who: Patient) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Doses by the own rules: what turns U/h into basal rates, and g into the hours at it that its bolus is worth."""
    return 1 / who.basal, 1 / (who.ratio * who.basal)


def traits(who: Patient) -> Float[Array, "*n 1"]:
    """What a world is told of a patient, as SPEC says."""
    return jnp.log(who.basal * who.correction)[..., None]


def mpc(world: World | None, draws: int = 8) -> Mpc:
    """The controller that plans through a world, or the oracle."""
    spec = SPEC if world is not None else simulator.SPEC
    goal, control = parse_goal(GOAL, spec), spec.actions[0].name
    steps = int(AHEAD / EVERY)
    question = pose(
        spec, goal, (), now=0.0, horizon=AHEAD, spacing=EVERY, segments=steps, controls=(control,)
    )  # fmt: skip
    return Mpc(world, question, draws)


@eqx.filter_jit
def watch(controller: Mpc, who: Patient, past: Trace) -> Belief:
    """What is believed of each patient after watching what it did by habit."""

    def one(who: Patient, past: Trace) -> Belief:
        def body(belief: Belief, now: tuple) -> tuple[Belief, None]:
            t, reading, meal, rate, bolus = now
            seen = Seen(t, reading, meal)
            return controller.after(who, controller.read(who, belief, seen), seen, Dose(rate, bolus)), None

        times = EVERY * jnp.arange(past.reading.shape[0], dtype=jnp.float32)
        rows = (times, past.reading, past.meal, past.rate, past.bolus)
        return jax.lax.scan(body, controller.start(who), rows)[0]

    return jax.vmap(one)(who, past)
