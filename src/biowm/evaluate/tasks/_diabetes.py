"""Patients with type 1 diabetes in a closed loop: what they eat, and what becomes of them under a controller.

Meals are those of simglucose's random scenario (three meals and three snacks a day, as adults eat), set to half hours.
A controller sees what a pump sees: the sensor's reading, and a meal when it is eaten.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray
from scipy import stats

from biowm.core.admissible import admissible
from biowm.core.path import RUNNING, Path, stack
from biowm.core.rollout import noise_at
from biowm.core.schedule import Entry, schedule
from biowm.worlds.patient import glucose_patients
from biowm.worlds.patient.glucose import Glucose, GlucoseState
from biowm.worlds.patient.glucose_body import Compartments, rest
from biowm.worlds.patient.glucose_meals import HIGH, LOW, MEALS
from biowm.worlds.patient.glucose_patients import value
from biowm.worlds.patient.glucose_sensor import VARIANCE

TICK, EVERY, DAY = 5.0, 30.0, 24 * 60.0  # min: between readings, between meals at the least, and of a day
PLANT = Glucose(spacing=TICK, substeps=5)


class Patient(eqx.Module):
    """What is known of a patient: body (the equations' parameters), weight (kg), and the own rules of thumb.

    The basal rate (U/h), the carbohydrate (g) that 1 U covers, and by how much 1 U lowers glucose (mg/dL).
    """

    own: Float[Array, "*n p"]
    weight: Float[Array, "*n"]
    basal: Float[Array, "*n"]
    ratio: Float[Array, "*n"]
    correction: Float[Array, "*n"]


def patients(rows: list[int]) -> Patient:
    """Those of the thirty published patients, stacked."""
    own = glucose_patients.VALUES[rows]
    known = (own, value(own, "BW"), glucose_patients.basal(own))
    rules = (glucose_patients.CARB_RATIO[rows], glucose_patients.CORRECTION[rows])
    return Patient(*(jnp.asarray(a, jnp.float32) for a in (*known, *rules)))


def meals(n: int, days: int, seed: Sequence[int]) -> Float[np.ndarray, "n k"]:
    """What each of n patients eats (g of carbohydrate) at every half hour of some days; times are cut at 2 sd."""
    rng, steps = np.random.default_rng(seed), int(DAY / EVERY)
    eaten = np.zeros((n * days, steps), np.float32)
    for likely, hour, spread, grams, more in MEALS:
        when = hour + spread * stats.truncnorm.rvs(-2, 2, size=n * days, random_state=rng)
        size = np.clip(rng.normal(grams, more, n * days), 0.0, 100.0).round()
        place = np.clip(np.rint(np.asarray(60 * when / EVERY)).astype(int), 0, steps - 1)
        np.add.at(eaten, (np.arange(n * days), place), np.where(rng.random(n * days) < likely, size, 0.0))
    return np.minimum(eaten, 100.0).reshape(n, days * steps)


class Seen(NamedTuple):
    """What a controller knows at a decision: the time (min), the sensor's reading (mg/dL), and the meal (g) now."""

    t: Float[Array, ""]
    reading: Float[Array, ""]
    meal: Float[Array, ""]


class Dose(NamedTuple):
    """Insulin: the rate (U/h) until the next decision, and a bolus (U) now."""

    rate: Float[Array, ""]
    bolus: Float[Array, ""]


class Controller(eqx.Module):
    """Who decides on insulin, every `every` minutes; for one patient, callers vmap."""

    every: eqx.AbstractClassVar[float]

    @abstractmethod
    def start(self, who: Patient) -> Any:
        """What it remembers before its first decision: arrays of any structure that does not change."""

    @abstractmethod
    def decide(self, who: Patient, memory: Any, seen: Seen, *, key: PRNGKeyArray) -> tuple[Any, Dose]:
        """What it remembers after a decision, and the decision."""


class Live(eqx.Module):
    """Patients in the middle of it all: their bodies, and what the sensor shows."""

    state: GlucoseState
    reading: Float[Array, "*n"]


class Trace(eqx.Module):
    """What happened: blood glucose (mg/dL) every five minutes; at decisions the reading, the meal and the doses."""

    glucose: Float[Array, "*n t"]
    reading: Float[Array, "*n k"]
    meal: Float[Array, "*n k"]
    rate: Float[Array, "*n k"]
    bolus: Float[Array, "*n k"]


class Ward(eqx.Module):
    """Patients to be treated: where they are, what they will eat (g each half hour), and the luck they will have."""

    who: Patient
    live: Live
    eaten: Float[Array, "n k"]
    keys: Key[Array, " n"]


@eqx.filter_jit
def begin(who: Patient, keys: Key[Array, " n"]) -> Live:
    """At rest, and read once."""

    def one(own: Float[Array, " p"], key: PRNGKeyArray) -> Live:
        state = GlucoseState(jnp.zeros(()), own, rest(own), jnp.sqrt(VARIANCE) * jax.random.normal(key))
        return Live(state, shown(state))

    return jax.vmap(one)(who.own, keys)


@eqx.filter_jit
def loop(
    controller: Controller, who: Patient, memories: Any, live: Live, eaten: Float[Array, "n k"], keys: Key[Array, " n"]
) -> tuple[Live, Trace]:
    """Let all patients live under a controller while they eat at every half hour what they do (g)."""
    ticks, per = round(controller.every / TICK), round(EVERY / controller.every)

    def one(who: Patient, memory: Any, live: Live, eaten: Float[Array, " k"], key: PRNGKeyArray):
        def decision(carry: tuple[Any, Live], meal: Float[Array, ""]):
            memory, live = carry
            now = live.state.t
            memory, dose = controller.decide(
                who, memory, Seen(now, live.reading, meal), key=jax.random.fold_in(noise_at(key, now), 1)
            )
            state = PLANT.impulse(live.state, jnp.stack([jnp.zeros(()), dose.bolus, meal]))
            action = jnp.stack([dose.rate, jnp.zeros(()), jnp.zeros(())])

            def tick(state: GlucoseState, _: None) -> tuple[GlucoseState, Float[Array, ""]]:
                state = PLANT.step(state, action, jnp.asarray(TICK), key=noise_at(key, state.t))
                return state, blood(state)

            state, glucose = jax.lax.scan(tick, state, None, length=ticks)
            return (memory, Live(state, shown(state))), (glucose, live.reading, meal, *dose)

        served = jnp.zeros((len(eaten), per)).at[:, 0].set(eaten).reshape(-1)
        (_, live), (glucose, *rest) = jax.lax.scan(decision, (memory, live), served)
        return live, Trace(glucose.reshape(-1), *rest)

    return jax.vmap(one)(who, memories, live, eaten, keys)


def shown(state: GlucoseState) -> Float[Array, ""]:
    """What the sensor shows (mg/dL)."""
    return admissible(PLANT.spec, PLANT.observe(state).mean)[0]


def treat(controller: Controller, ward: Ward, memories: Any = None) -> Trace:
    """What becomes of a ward under a controller, which starts anew or with the `memories` it has of each patient."""
    memories = jax.vmap(controller.start)(ward.who) if memories is None else memories
    return loop(controller, ward.who, memories, ward.live, ward.eaten, ward.keys)[1]


def blood(state: GlucoseState) -> Float[Array, ""]:
    """Glucose (mg/dL) in the blood, which is what counts."""
    return state.body.x[Compartments._fields.index("blood")] / value(state.own, "Vg")


def paths(
    past: Trace, insulin: Float[np.ndarray, " n"], meal: Float[np.ndarray, " n"], traits: Float[np.ndarray, "n s"]
) -> Path:
    """What was logged every half hour, as stacked paths: all insulin as a rate times `insulin`, meals times `meal`."""
    times = EVERY * np.arange(past.reading.shape[1])

    def one(i: int) -> Path:
        rates = insulin[i] * (np.asarray(past.rate[i]) + np.asarray(past.bolus[i]) * 60 / EVERY)
        turns = np.flatnonzero(np.diff(rates, prepend=np.nan))
        stops = [*times[turns[1:]], times[-1] + EVERY]
        rows = [Entry(0, float(rates[k]), float(times[k]), float(s)) for k, s in zip(turns, stops, strict=True)]
        grams = meal[i] * np.asarray(past.meal[i])
        rows += [Entry(1, float(grams[k]), float(times[k]), float(times[k])) for k in np.flatnonzero(grams)]
        readings = np.asarray(past.reading[i], np.float32)[:, None]
        return Path(times.astype(np.float32), readings, schedule(rows), traits[i].astype(np.float32), np.int32(RUNNING))

    return stack([one(i) for i in range(len(insulin))])


def in_range(glucose: Float[np.ndarray, "*n"]) -> Bool[np.ndarray, "*n"]:
    """Whether glucose (mg/dL) is where it should be."""
    return (glucose >= LOW) & (glucose <= HIGH)
