"""Cohorts of any world: subjects of its prior, treated by a policy, and how they would have fared otherwise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from biowm.core.buckets import bucket
from biowm.core.path import RUNNING, Path
from biowm.core.rollout import draw_states, resume
from biowm.core.schedule import Schedule
from biowm.core.spec import WorldSpec
from biowm.core.world import State, World

Policy = Callable[[Float[np.ndarray, "n k d"], np.random.Generator], Float[np.ndarray, "n a"]]
"""What to give until the next decision, from all readings so far (units of the channels): doses of every action."""


@dataclass(frozen=True)
class Cohort:
    """Simulated subjects: their stacked `paths`, and the `keys` of the chances that befall them."""

    world: World
    paths: Path
    keys: Key[Array, " n"]


@eqx.filter_jit
def _born(world: World, traits: Float[Array, "n s"], keys: Key[Array, " n"]) -> State:
    """One state a subject (with the axis of one draw)."""
    return jax.vmap(lambda own, key: draw_states(world, world.begin(own), key=key, draws=1))(traits, keys)


@eqx.filter_jit
def _live(
    world: World, states: State, plans: Schedule, times: Float[Array, " t"], keys: Key[Array, " n"]
) -> tuple[State, Float[Array, "n t d"]]:
    def one(state: State, plan: Schedule, key: PRNGKeyArray) -> tuple[State, Float[Array, "t d"]]:
        after, readings = resume(world, state, plan, times, key=key)
        return after, readings[0]

    return jax.vmap(one)(states, plans, keys)


def simulate(world: World, n: int, times: Float[np.ndarray, " t"], policy: Policy, *, seed: int = 0) -> Cohort:
    """`n` subjects of a world, read at `times` (its clock, from 0 on) and treated anew by `policy` at each of them.

    What a subject is and what befalls it depends on (seed, subject) alone, so that two policies meet the same
    subjects. Categories among the traits are drawn evenly, other traits are 0.
    """
    rng = np.random.default_rng(seed)
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(n, dtype=jnp.uint32))
    traits = even_traits(world.spec, n, seed)
    states = _born(world, jnp.asarray(traits), keys)
    plans = _blank(n, len(times) * len(world.spec.actions))
    readings: list[np.ndarray] = []
    for k, now in enumerate(times):
        states, read = _live(world, states, plans, jnp.asarray([now], jnp.float32), keys)
        readings.append(np.asarray(read))
        if k + 1 < len(times):
            doses = policy(np.concatenate(readings, axis=1), rng)
            _give(world.spec, plans, k, doses, float(now), float(times[k + 1]))
    paths = Path(
        t=np.broadcast_to(np.asarray(times, np.float32), (n, len(times))).copy(),
        x=np.concatenate(readings, axis=1),
        plan=plans,
        traits=traits,
        event=np.full(n, RUNNING, np.int32),
    )
    return Cohort(world, paths, keys)


def had_been(
    cohort: Cohort, subject: Int[np.ndarray, " q"], plans: Schedule, times: Float[np.ndarray, " t"]
) -> Float[np.ndarray, "q t d"]:
    """What would have been read of subjects at `times`, had they been treated by `plans` (one a question) all along.

    The chances of each moment are the subject's own: its own schedule gives its own path back, and one that differs
    from some time on gives the true counterfactual.
    """
    keys, traits = cohort.keys[jnp.asarray(subject)], jnp.asarray(cohort.paths.traits)[jnp.asarray(subject)]
    states = _born(cohort.world, traits, keys)
    return np.asarray(_live(cohort.world, states, plans, jnp.asarray(times, jnp.float32), keys)[1])


def born(cohort: Cohort) -> State:
    """What every subject truly is at the start (leading axes: subjects, one draw)."""
    return _born(cohort.world, jnp.asarray(cohort.paths.traits), cohort.keys)


def random_policy(spec: WorldSpec, share: float = 0.5) -> Policy:
    """Each action by the toss of a coin, at a dose drawn between nothing and its highest."""
    top = doses_of(spec)

    def choose(readings: Float[np.ndarray, "n k d"], rng: np.random.Generator) -> Float[np.ndarray, "n a"]:
        shape = (len(readings), len(top))
        return np.where(rng.random(shape) < share, top * _size(spec, rng.random(shape)), 0.0)

    return choose


def confounded_policy(spec: WorldSpec, strength: float = 2.0) -> Policy:
    """The higher a subject's last reading of the first target channel among all, the likelier each action."""
    top, channel = doses_of(spec), spec.targets[0]

    def choose(readings: Float[np.ndarray, "n k d"], rng: np.random.Generator) -> Float[np.ndarray, "n a"]:
        shape = (len(readings), len(top))
        last = readings[:, -1, channel]
        rank = (last.argsort().argsort() + 0.5) / len(last)
        likely = 1 / (1 + np.exp(-strength * (4 * rank - 2)))
        return np.where(rng.random(shape) < likely[:, None], top * _size(spec, rng.random(shape)), 0.0)

    return choose


def doses_of(spec: WorldSpec) -> Float[np.ndarray, " a"]:
    """The highest dose of each action; 1 where the action card has no limit."""
    return np.array([1.0 if card.kind == "switch" or card.high is None else card.high for card in spec.actions])


def _size(spec: WorldSpec, share: Float[np.ndarray, "n a"]) -> Float[np.ndarray, "n a"]:
    """A switch is on or off; anything else is given in part."""
    return np.where([card.kind == "switch" for card in spec.actions], 1.0, share)


def _blank(n: int, size: int) -> Schedule:
    """Nothing given: one place for every decision and action."""
    shape = (n, bucket(size))
    card, dose = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
    return Schedule(card, dose, dose.copy(), dose.copy(), np.zeros(shape, bool))


def _give(spec: WorldSpec, plans: Schedule, k: int, doses: Float[np.ndarray, "n a"], now: float, until: float) -> None:
    """Write decision number `k` into the schedules: a bolus now, anything else until the next decision."""
    bolus = np.array([card.kind == "bolus" for card in spec.actions])
    place = slice(k * len(bolus), (k + 1) * len(bolus))
    acts = doses != 0
    plans.card[:, place] = np.where(acts, np.arange(len(bolus)), -1)
    plans.dose[:, place] = doses
    plans.onset[:, place] = np.where(acts, now, 0.0)
    plans.stop[:, place] = np.where(acts, np.where(bolus, now, until), 0.0)


def even_traits(spec: WorldSpec, n: int, seed: int) -> Float[np.ndarray, "n s"]:
    """Traits of n subjects of a simulator: levels of categories evenly, other traits 0."""
    rng, columns = np.random.default_rng([seed, 1]), []
    for trait in spec.traits:
        if trait.kind == "category":
            columns.append(np.eye(len(trait.levels))[rng.integers(len(trait.levels), size=n)])
        else:
            columns.append(np.zeros((n, 1)))
    return np.concatenate([np.zeros((n, 0)), *columns], axis=1).astype(np.float32)
