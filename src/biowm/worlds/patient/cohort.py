"""Cohorts of tumour patients whose doctors treat large tumours more often, and the truth about each of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from biowm.core.arrays import AnyArray
from biowm.core.buckets import bucket
from biowm.core.path import ENDED, RUNNING, Path
from biowm.core.rollout import noise_at, unroll
from biowm.core.schedule import Schedule

from .tumour import DEATH, Tumour, TumourState, alive
from .tumour_prior import MEAN, SD, diameter

WINDOW = 15  # days of tumour size that a doctor looks back on
ROWS = 4 * 59  # rows that a patient fills in the published test set: one a day and treatment
PLAIN = Tumour()
_CHUNK, _FEW = 512, 32  # subjects that one compiled program simulates, and asks what if
Policy = Literal["corrected", "published-train", "published-test"]


class _Patient(NamedTuple):
    """One simulated patient on day 0, and the keys of its days."""

    traits: Float[Array, "3"]
    state: TumourState
    noise: PRNGKeyArray
    doctor: PRNGKeyArray


@eqx.filter_jit
def _patients(world: Tumour, key: PRNGKeyArray, subject: Int[Array, " n"]) -> _Patient:
    def one(who: Int[Array, ""]) -> _Patient:
        kind_key, draw_key, noise, doctor = jax.random.split(jax.random.fold_in(key, who), 4)
        traits = jax.nn.one_hot(jax.random.randint(kind_key, (), 0, 3), 3)
        return _Patient(traits, world.draw(world.begin(traits), key=draw_key), noise, doctor)

    return jax.vmap(one)(subject)


def _day(world: Tumour, state: TumourState, action: Bool[Array, "2"], noise: PRNGKeyArray) -> TumourState:
    """One day under its treatment, with the noise that `unroll` would give it."""
    until = state.t + 1
    return world.step(state, action.astype(jnp.float32), jnp.ones(()), key=noise_at(noise, until))


class _Doctor(NamedTuple):
    """Which of 16 days of sizes (today's last) count, and the first day that is treated."""

    window: Bool[np.ndarray, "16"]
    first: int


_DOCTORS: dict[Policy, _Doctor] = {
    "corrected": _Doctor(np.arange(WINDOW + 1) > 0, 0),
    "published-train": _Doctor(np.arange(WINDOW + 1) < WINDOW, 1),
    "published-test": _Doctor(np.ones(WINDOW + 1, bool), 0),
}


def _live(
    world: Tumour,
    patient: _Patient,
    gamma: Float[Array, ""],
    window: Bool[Array, "16"],
    first: Int[Array, ""],
    lean: Float[Array, ""],
    watched: Float[Array, " t"],
) -> tuple[Float[Array, " t"], Bool[Array, "t-1 2"]]:
    """Volumes of days 0 to t - 1, and what was given on each day but the last, by the volumes `watched` (-1: own)."""
    days = watched.shape[0] - 1
    alpha, _, beta = 2 * ndtr((patient.state.rates - MEAN) / SD) - 1
    known = lean * jnp.stack([beta, alpha])  # chemo for whom chemo kills, radio for whom radio does

    def body(carry, day):
        state, sizes = carry
        number, dice, other = day
        size = diameter(jnp.where(other < 0, state.volume, other))
        sizes = jnp.concatenate([sizes[1:], size[None]])
        seen = (window & (sizes >= 0)).astype(jnp.float32)
        mean = jnp.sum(seen * sizes) / jnp.maximum(jnp.sum(seen), 1.0)
        action = (dice < jax.nn.sigmoid(gamma / 13.0 * (mean - 6.5) + known)) & alive(state.volume) & (number >= first)
        after = _day(world, state, action, patient.noise)
        return (after, sizes), (after.volume, action)

    start = (patient.state, jnp.full(WINDOW + 1, -1.0))  # -1: before day 0
    dice = jax.random.uniform(patient.doctor, (days, 2))
    _, (volumes, actions) = jax.lax.scan(body, start, (jnp.arange(days), dice, watched[:-1]))
    return jnp.concatenate([patient.state.volume[None], volumes]), actions


@eqx.filter_jit
def _simulate(
    world: Tumour,
    patients: _Patient,
    gamma: Float[Array, ""],
    window: Bool[Array, "16"],
    first: Int[Array, ""],
    lean: Float[Array, ""],
    watched: Float[Array, "n t"],
):
    def one(patient, others):
        return _live(world, patient, gamma, window, first, lean, others)

    return jax.vmap(one)(patients, watched)


def _simulated(
    world: Tumour, key: PRNGKeyArray, gamma: float, lean: float, doctor: _Doctor, watched: Float[np.ndarray, "n t"]
) -> tuple[np.ndarray, ...]:
    """Traits, volumes and treatments of all subjects, a chunk at a time: one compiled program serves any number."""
    n, parts = len(watched), []
    shared = (
        jnp.asarray(gamma, jnp.float32),
        jnp.asarray(doctor.window),
        jnp.asarray(doctor.first),
        jnp.asarray(lean, jnp.float32),
    )
    for start in range(0, n, _CHUNK):
        who = np.arange(start, start + _CHUNK).clip(max=n - 1)
        patients = _patients(world, key, jnp.asarray(who))
        got = (patients.traits, *_simulate(world, patients, *shared, jnp.asarray(watched[who])))
        parts.append([np.asarray(a)[: n - start] for a in got])
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def cohort(
    key: PRNGKeyArray,
    n: int,
    gamma: float,
    steps: int = 60,
    *,
    world: Tumour = PLAIN,
    policy: Policy = "corrected",
    lean: float = 0.0,
) -> Path:
    """`n` stacked paths of daily volumes (cm3, days 0 to steps - 1) under treatment confounded by size.

    On each day, from day 0 on, chemo and radio are each given with probability
    sigmoid(gamma / 13 (mean diameter of the last 15 days, this one included, in cm - 6.5)). A path is read no more
    after its end, death or recovery (event ENDED; the last reading of the recovered is 0). Subject i depends on
    (key, i, gamma) alone: a larger cohort has the same first patients. Doctors who `lean` know what no table tells: to
    the log odds of each treatment they add between -lean and lean, by how its kill in this patient ranks.

    The policies of the published generator (github.com/Valentyn1997/CausalTransformer, c49a24f) differ.
    "published-train": nothing is given on day 0, and the 15 days end the day before. "published-test": 16 days, this
    one included, but of the wrong volumes: patient i is treated by what row i of the test set holds, which is the
    course of patient i // 236 as far as that row goes, and zeros beyond (of a row's last entry, its factual value).
    """
    by_another = policy == "published-test"
    watched = np.full((n, steps), 0.0 if by_another else -1.0, np.float32)
    traits, volumes, actions = _simulated(world, key, gamma, lean, _DOCTORS[policy], watched)
    for _ in range(2 if by_another else 0):  # who is watched watches the first patient: settled after two rounds
        traits, volumes, actions = _simulated(world, key, gamma, lean, _DOCTORS[policy], _rows(volumes))
    last = volumes[:, -1]
    over = np.zeros_like(volumes, bool)
    over[:, 1:] = ~np.asarray(alive(volumes[:, :-1]))
    return Path(
        t=np.broadcast_to(np.arange(steps, dtype=np.float32), volumes.shape).copy(),
        x=np.where(over, np.nan, volumes).astype(np.float32)[:, :, None],
        plan=courses(actions),
        traits=traits,
        event=np.where((last >= np.float32(DEATH)) | (last <= 0), ENDED, RUNNING).astype(np.int32),
    )


def _rows(volumes: Float[np.ndarray, "n t"]) -> Float[np.ndarray, "n t"]:
    """The first n rows of the published test set: courses cut off after each day in turn, four treatments a day.

    The first patient is treated while row 0 is still empty.
    """
    row = np.arange(len(volumes))
    until = (row % ROWS) // 4 + 2
    kept = np.where(np.arange(volumes.shape[1])[None, :] < until[:, None], volumes[row // ROWS], 0.0)
    return np.where(row[:, None] > 0, kept, 0.0).astype(np.float32)


def courses(given: Bool[np.ndarray, "n t a"]) -> Schedule:
    """Stacked schedules from daily treatment (day 0 on): one entry for each run of treated days."""
    on = np.zeros((len(given), given.shape[2], given.shape[1] + 2), bool)  # a day without treatment at both ends
    on[:, :, 1:-1] = given.transpose(0, 2, 1)
    flat = on.reshape(-1)
    starts = np.flatnonzero(flat[1:] & ~flat[:-1])
    subject, card, onset = np.unravel_index(starts, on.shape)
    stop = onset + np.flatnonzero(flat[:-1] & ~flat[1:]) - starts
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


def daily(plan: Schedule, steps: int) -> Bool[np.ndarray, "n t a"]:
    """What stacked schedules give on each day: the inverse of `courses`."""
    day = np.arange(steps)[None, None, :]
    onset, stop, card = (np.asarray(a)[:, :, None] for a in (plan.onset, plan.stop, plan.card))
    given = (onset <= day) & (day < stop)
    return np.stack([(given & (card == a)).any(1) for a in (0, 1)], axis=-1)


def truth(
    key: PRNGKeyArray, subject: Int[AnyArray, " q"], plans: Schedule, steps: int = 60, *, world: Tumour = PLAIN
) -> Float[Array, "q t"]:
    """True volumes (cm3, days 0 to steps - 1) of `cohort(key, ...)`'s subjects, had they been treated by `plans`.

    The chance of each day is the one of the subject's own path, so its own schedule gives that path back and a
    schedule that differs from some day on gives the true counterfactual. Death and recovery hold the volume.
    """
    return _unrolled(world, _patients(world, key, jnp.asarray(subject)), plans, steps)


@eqx.filter_jit
def _unrolled(world: Tumour, patients: _Patient, plans: Schedule, steps: int) -> Float[Array, "q t"]:
    def one(patient: _Patient, plan: Schedule) -> Float[Array, " t"]:
        days = jnp.arange(steps, dtype=jnp.float32)
        return unroll(world, patient.state, plan, days, key=patient.noise)[1][:, 0]

    return jax.vmap(one)(patients, plans)


def branches(
    key: PRNGKeyArray,
    past: Bool[np.ndarray, "n t 2"],
    origin: Int[np.ndarray, "n o"],
    given: Bool[np.ndarray, "n o p h 2"],
    *,
    world: Tumour = PLAIN,
    luck: PRNGKeyArray | None = None,
) -> Float[np.ndarray, "n o p h"]:
    """Volumes (cm3) of the first n subjects of `cohort(key, ...)` in the h days after each origin, treated as `given`.

    `past` is what they were given before; only days before an origin matter. With the subject's own luck these are its
    true counterfactuals, as published without an end by death or recovery; another `luck` draws what whoever knew its
    state and rates could foretell.
    """
    n, parts = len(past), []
    for start in range(0, n, _CHUNK):
        who = np.arange(start, start + _CHUNK).clip(max=n - 1)
        patients = _patients(world, key, jnp.asarray(who))
        later = patients.noise if luck is None else jax.random.split(jax.random.fold_in(luck, start), _CHUNK)
        for few in range(0, min(_CHUNK, n - start), _FEW):
            rows = slice(few, few + _FEW)
            some = jax.tree.map(lambda leaf: leaf[rows], (patients, later))  # noqa: B023
            asked = [jnp.asarray(a[who[rows]]) for a in (past, origin, given)]
            parts.append(np.asarray(_branches(world, *some, *asked))[: n - start - few])
    return np.concatenate(parts)


@eqx.filter_jit
def _branches(
    world: Tumour,
    patients: _Patient,
    later: Key[Array, " n"],
    past: Bool[Array, "n t 2"],
    origin: Int[Array, "n o"],
    given: Bool[Array, "n o p h 2"],
) -> Float[Array, "n o p h"]:
    endless = replace(world, ends=False)

    def one(patient, noise, history, origins, plans):
        def live(state: TumourState, action: Bool[Array, "2"]) -> tuple[TumourState, TumourState]:
            return _day(world, state, action, patient.noise), state

        states = jax.lax.scan(live, patient.state, history)[1]

        def follow(now: TumourState, action: Bool[Array, "2"]) -> tuple[TumourState, Float[Array, ""]]:
            then = _day(endless, now, action, noise)
            return then, then.volume

        def from_day(o: Int[Array, ""], options: Bool[Array, "p h 2"]) -> Float[Array, "p h"]:
            state = jax.tree.map(lambda leaf: leaf[o], states)
            return jax.vmap(lambda plan: jax.lax.scan(follow, state, plan)[1])(options)

        return jax.vmap(from_day)(origins, plans)

    return jax.vmap(one)(patients, later, past, origin, given)
