"""Cohorts of tumour patients whose doctors treat large tumours more often, and the truth about each of them."""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.buckets import bucket
from biowm.core.path import CENSORED, ENDED, RUNNING, Path
from biowm.core.rollout import unroll
from biowm.core.schedule import Schedule

from .tumour import DEATH, Tumour, TumourState, alive, diameter

WINDOW = 15  # days of tumour size that a doctor looks back on
_WORLD = Tumour()


class _Patient(NamedTuple):
    """One simulated patient on day 0, and the keys of its days."""

    traits: Float[Array, "3"]
    state: TumourState
    noise: PRNGKeyArray
    doctor: PRNGKeyArray


def _patient(key: PRNGKeyArray, subject: Int[Array, ""]) -> _Patient:
    kind_key, draw_key, noise, doctor = jax.random.split(jax.random.fold_in(key, subject), 4)
    traits = jax.nn.one_hot(jax.random.randint(kind_key, (), 0, 3), 3)
    return _Patient(traits, _WORLD.draw(_WORLD.begin(traits), key=draw_key), noise, doctor)


def _day(day: Float[Array, ""], action: Bool[Array, "2"]) -> Schedule:
    """Both treatments, each given or not, for one day."""
    days = jnp.broadcast_to(day, (2,))
    return Schedule(jnp.arange(2), action.astype(jnp.float32), days, days + 1, jnp.zeros(2, bool))


def _live(patient: _Patient, gamma: Float[Array, ""], steps: int) -> tuple[Float[Array, " t"], Bool[Array, "t-1 2"]]:
    """Volumes of days 0 to steps - 1, and what was given on each day but the last."""

    def body(carry, day):
        state, sizes = carry
        sizes = jnp.concatenate([sizes[1:], diameter(state.volume)[None]])
        chance = jax.nn.sigmoid(gamma / 13.0 * (jnp.nanmean(sizes) - 6.5))
        action = jax.random.uniform(jax.random.fold_in(patient.doctor, day.astype(jnp.int32)), (2,)) < chance
        action = action & alive(state.volume)
        state, reading = unroll(_WORLD, state, _day(day, action), day[None] + 1, key=patient.noise)
        return (state, sizes), (reading[0, 0], action)

    start = (patient.state, jnp.full(WINDOW, jnp.nan))
    _, (volumes, actions) = jax.lax.scan(body, start, jnp.arange(steps - 1, dtype=jnp.float32))
    return jnp.concatenate([patient.state.volume[None], volumes]), actions


@eqx.filter_jit
def _simulate(key: PRNGKeyArray, n: int, gamma: Float[Array, ""], steps: int):
    def one(subject):
        patient = _patient(key, subject)
        return patient.traits, *_live(patient, gamma, steps)

    return jax.vmap(one)(jnp.arange(n))


def cohort(key: PRNGKeyArray, n: int, gamma: float, steps: int = 60) -> Path:
    """`n` stacked paths of daily volumes (cm3, days 0 to steps - 1) under treatment confounded by size.

    On each day, from day 0 on, chemo and radio are each given with probability
    sigmoid(gamma / 13 (mean diameter of the last 15 days, this one included, in cm - 6.5)). (The published training
    cohorts hold day 0 untreated and look back from the day before, their test cohorts do not; here there is one rule.)
    A path is read no more after death (event ENDED) or recovery (CENSORED, its last reading 0). Subject i depends on
    (key, i, gamma) alone: a larger cohort has the same first patients.
    """
    traits, volumes, actions = jax.tree.map(np.asarray, _simulate(key, n, jnp.asarray(gamma, jnp.float32), steps))
    last = volumes[:, -1]
    over = np.zeros_like(volumes, bool)
    over[:, 1:] = ~np.asarray(alive(volumes[:, :-1]))
    return Path(
        t=np.broadcast_to(np.arange(steps, dtype=np.float32), volumes.shape).copy(),
        x=np.where(over, np.nan, volumes).astype(np.float32)[:, :, None],
        plan=courses(actions),
        traits=traits,
        event=np.select([last >= np.float32(DEATH), last <= 0], [ENDED, CENSORED], RUNNING).astype(np.int32),
    )


def courses(given: Bool[np.ndarray, "n t a"]) -> Schedule:
    """Stacked schedules from daily treatment (day 0 on): one entry for each run of treated days."""
    daily = np.pad(given.astype(np.int8), ((0, 0), (1, 1), (0, 0)))
    change = np.diff(daily, axis=1).transpose(0, 2, 1)
    subject, card, onset = np.nonzero(change > 0)
    stop = np.nonzero(change < 0)[2]
    count = np.bincount(subject, minlength=len(given))
    place = np.arange(len(subject)) - np.repeat(np.cumsum(count) - count, count)
    shape = (len(given), bucket(int(count.max(initial=0))))

    def column(values: np.ndarray | float, fill: float, kind: type) -> np.ndarray:
        out = np.full(shape, fill, kind)
        out[subject, place] = values
        return out

    return Schedule(
        card=column(card, -1, np.int32),
        dose=column(1.0, 0, np.float32),
        onset=column(onset, 0, np.float32),
        stop=column(stop, 0, np.float32),
        assigned=np.zeros(shape, bool),
    )


@eqx.filter_jit
def truth(key: PRNGKeyArray, subject: Int[Array, " q"], plans: Schedule, steps: int = 60) -> Float[Array, "q t"]:
    """True volumes (cm3, days 0 to steps - 1) of `cohort(key, ...)`'s subjects, had they been treated by `plans`.

    The chance of each day is the one of the subject's own path, so its own schedule gives that path back and a
    schedule that differs from some day on gives the true counterfactual. Death and recovery hold the volume.
    """

    def one(who: Int[Array, ""], plan: Schedule) -> Float[Array, " t"]:
        patient = _patient(key, who)
        days = jnp.arange(steps, dtype=jnp.float32)
        return unroll(_WORLD, patient.state, plan, days, key=patient.noise)[1][:, 0]

    return jax.vmap(one)(jnp.asarray(subject), plans)
