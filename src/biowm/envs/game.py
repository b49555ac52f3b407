"""A game: a world, who plays what in it for how long, and what that is worth. Pure functions, for callers to vmap."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.errors import BadInput
from biowm.core.rollout import unroll
from biowm.core.schedule import Schedule, between
from biowm.core.spec import WorldSpec
from biowm.core.world import State, World


class Verdict(NamedTuple):
    """What a step was worth (`reward`), what it cost in safety (`cost`), and whether the subject is `dead`."""

    reward: Float[Array, ""]
    cost: Float[Array, ""]
    dead: Bool[Array, ""]


class Game(eqx.Module):
    """Rules of an environment in `world`: a decision every `every` (world clock), `steps` of them at most.

    A player decides on the action cards `controls`, from 0 to 1: shares of their declared range. All other
    interventions are those of the scenario.
    """

    world: eqx.AbstractVar[World]
    every: eqx.AbstractVar[float]
    steps: eqx.AbstractVar[int]
    controls: eqx.AbstractVar[tuple[int, ...]]

    @abstractmethod
    def start(self, *, key: PRNGKeyArray) -> tuple[State, Schedule]:
        """A subject, and what happens to it whatever the player does."""

    @abstractmethod
    def judge(self, before: State, after: State, given: Float[Array, " a"]) -> Verdict:
        """A step from `before` to `after` in which each action card was `given` (mean rate, or sum of boluses)."""


class Episode(eqx.Module):
    """One subject in a game; its noise depends on `key` and the time alone."""

    state: State
    scenario: Schedule
    key: PRNGKeyArray


class Step(NamedTuple):
    """What a step shows and brings: a reading of every channel, the doses `given`, the verdict."""

    reading: Float[Array, " d"]
    given: Float[Array, " a"]
    verdict: Verdict


def begin(game: Game, *, key: PRNGKeyArray) -> tuple[Episode, Float[Array, " d"]]:
    """A new episode and its first reading."""
    who, luck = jax.random.split(key)
    state, scenario = game.start(key=who)
    reading = unroll(game.world, state, scenario, state.t[None], key=luck)[1][0]
    return Episode(state, scenario, luck), reading


def advance(game: Game, episode: Episode, action: Float[Array, " c"]) -> tuple[Episode, Step]:
    """One decision: `action` (shares of the range of each controlled card) in force until the next."""
    before, spec = episode.state, game.world.spec
    until = before.t + game.every
    plan = _with(spec, episode.scenario, game.controls, action, before.t, until)
    parts = max(1, math.ceil(game.every / game.world.spacing - 1e-6))
    times = before.t + game.every * jnp.arange(1, parts + 1, dtype=jnp.float32) / parts
    after, readings = unroll(game.world, before, plan, times, key=episode.key)
    rate, bolus = between(plan, before.t, until, len(spec.actions))
    given = jnp.where(jnp.array([card.kind == "bolus" for card in spec.actions]), bolus, rate)
    step = Step(readings[-1], given, game.judge(before, after, given))
    return Episode(after, episode.scenario, episode.key), step


def _with(
    spec: WorldSpec,
    scenario: Schedule,
    controls: tuple[int, ...],
    action: Float[Array, " c"],
    start: Float[Array, ""],
    stop: Float[Array, ""],
) -> Schedule:
    """The scenario and the player's own doses from `start` on."""
    low, high = jnp.array(ranges(spec, controls)).T
    dose = low + jnp.clip(action, 0.0, 1.0) * (high - low)
    ends = jnp.stack([start if spec.actions[c].kind == "bolus" else stop for c in controls])
    own = Schedule(
        card=jnp.array(controls, jnp.int32),
        dose=dose,
        onset=jnp.broadcast_to(start, dose.shape),
        stop=ends,
        assigned=jnp.ones(dose.shape, bool),
    )
    return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), scenario, own)


def ranges(spec: WorldSpec, controls: tuple[int, ...]) -> list[tuple[float, float]]:
    """The declared range of each controlled card. Raises BadInput for one without an upper end."""
    for card in (spec.actions[c] for c in controls):
        if card.high is None:
            raise BadInput(f"action {card.name!r} has no upper end: expected one, a player decides on shares of it")
    return [(spec.actions[c].low, spec.actions[c].high or 0.0) for c in controls]
