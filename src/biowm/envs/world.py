"""Any world as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from biowm.core.errors import BadInput
from biowm.core.schedule import Schedule, schedule
from biowm.core.spec import WorldSpec
from biowm.core.world import State, World

from .base import Policy, Quantity, SubjectEnv
from .game import Game, Verdict, advance, begin, ranges

_begin, _advance = eqx.filter_jit(begin), eqx.filter_jit(advance)
Reading = Float[Array, " d"]


def nothing(reading: Reading) -> Float[Array, ""]:
    """No reward: a world says what happens, not what is wanted."""
    return jnp.zeros(())


class Open(Game):
    """Any world, without a scenario: the player decides on every action card, all the time.

    A subject is drawn from the world's prior, real traits are 0 and categories equally likely. The reward is `worth` of
    the mean reading after each step, the cost the mean share of the doses; nobody dies.

    Args: `every` is the time between decisions (world clock, default: the world's spacing).
    """

    world: World
    every: float = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    controls: tuple[int, ...] = eqx.field(static=True)
    worth: Callable[[Reading], Float[Array, ""]] = eqx.field(static=True)

    def __init__(
        self,
        world: World,
        *,
        steps: int = 50,
        every: float | None = None,
        worth: Callable[[Reading], Float[Array, ""]] = nothing,
    ) -> None:
        self.world, self.steps, self.worth = world, steps, worth
        self.every = world.spacing if every is None else every
        self.controls = tuple(range(len(world.spec.actions)))

    def start(self, *, key: PRNGKeyArray) -> tuple[State, Schedule]:
        k_traits, k_draw = jax.random.split(key)
        belief = self.world.begin(_traits(self.world.spec, key=k_traits))
        return self.world.draw(belief, key=k_draw), jax.tree.map(jnp.asarray, schedule([]))

    def judge(self, before: State, after: State, given: Float[Array, " a"]) -> Verdict:
        low, high = jnp.array(ranges(self.world.spec, self.controls)).reshape(-1, 2).T
        share = jnp.sum((given - low) / (high - low)) / max(len(self.controls), 1)
        return Verdict(self.worth(self.world.observe(after).mean), share, jnp.zeros((), bool))


def _traits(spec: WorldSpec, *, key: PRNGKeyArray) -> Float[Array, " s"]:
    parts = [jnp.zeros(0)]
    for trait, k in zip(spec.traits, jax.random.split(key, len(spec.traits) + 1), strict=False):
        n = len(trait.levels)
        parts.append(jnp.zeros(1) if trait.kind == "real" else jax.nn.one_hot(jax.random.randint(k, (), 0, n), n))
    return jnp.concatenate(parts)


class WorldEnv(SubjectEnv[np.ndarray, np.ndarray]):
    """One subject of a game, one decision a step.

    Observation: a reading of every channel, in its unit. Action: for each controlled card a share from 0 to 1 of its
    declared range; `info["given"]` holds the doses of the step in their units, those of the scenario too.
    """

    def __init__(self, game: Game, render_mode: str | None = None) -> None:
        spec = game.world.spec
        if not game.controls:
            raise BadInput(f"world {spec.name!r}: found no action, expected one to decide on")
        ranges(spec, game.controls)
        self.game, self.render_mode = game, render_mode
        self.steps, self.clock = game.steps, spec.clock
        self.shows = tuple(Quantity(c.name, c.unit) for c in spec.channels)
        self.gives = tuple(Quantity(a.name, a.unit) for a in spec.actions)
        low = [-np.inf if c.low is None else c.low for c in spec.channels]
        high = [np.inf if c.high is None else c.high for c in spec.channels]
        self.observation_space = gymnasium.spaces.Box(np.array(low, np.float32), np.array(high, np.float32))
        self.action_space = gymnasium.spaces.Box(0.0, 1.0, (len(game.controls),), np.float32)
        self._episode, self._left = None, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        key = jax.random.key(int(self.np_random.integers(2**31)))
        self._episode, reading = _begin(self.game, key=key)
        self._left = self.game.steps
        return np.array(reading), self._info(np.zeros(len(self.game.world.spec.actions)), 0.0)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self._episode is None or self._left <= 0:
            raise RuntimeError("step after the end of an episode: expected reset() first")
        if not self.action_space.contains(np.asarray(action, np.float32)):
            raise ValueError(f"found action {action}, expected {self.action_space}")
        self._episode, done = _advance(self.game, self._episode, jnp.asarray(action, jnp.float32))
        dead = bool(done.verdict.dead)
        self._left = 0 if dead else self._left - 1
        info = self._info(np.asarray(done.given), float(done.verdict.cost))
        return np.array(done.reading), float(done.verdict.reward), dead, not dead and self._left == 0, info

    def policies(self) -> Mapping[str, Policy]:
        nothing = np.zeros(self.action_space.shape or (), np.float32)
        return {"none": lambda rng: lambda seen: nothing}

    def _info(self, given: np.ndarray, cost: float) -> dict[str, Any]:
        assert self._episode is not None
        doses = {card.name: float(dose) for card, dose in zip(self.game.world.spec.actions, given, strict=True)}
        return {"cost": cost, "t": float(self._episode.state.t), "given": doses}
