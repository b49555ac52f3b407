"""The contract that simulators and learned worlds share: begin, update, predict, draw, step, observe."""

from __future__ import annotations

from abc import abstractmethod
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .spec import WorldSpec


class Belief(eqx.Module):
    """A distribution over what one subject is now; `t` is now."""

    t: eqx.AbstractVar[Float[Array, ""]]


class State(eqx.Module):
    """One draw from a belief: everything the transition needs; `t` is now."""

    t: eqx.AbstractVar[Float[Array, ""]]


Moment = TypeVar("Moment", Belief, State)


class Observation(eqx.Module):
    """What a reading of each channel would be: normal about `mean` with `sd` (0: the state is read exactly)."""

    mean: Float[Array, " d"]
    sd: Float[Array, " d"]

    def sample(self, *, key: PRNGKeyArray) -> Float[Array, " d"]:
        """One reading of every channel."""
        return self.mean + self.sd * jax.random.normal(key, self.mean.shape)

    def log_prob(self, reading: Float[Array, " d"]) -> Float[Array, " d"]:
        """Log density of a reading, per channel; NaN readings give 0."""
        sd = jnp.maximum(self.sd, 1e-12)
        z = (reading - self.mean) / sd
        value = -0.5 * z * z - jnp.log(sd) - 0.5 * jnp.log(2 * jnp.pi)
        return jnp.where(jnp.isnan(reading), 0.0, value)


class World(eqx.Module):
    """A transition with explicit action, elapsed time and randomness, and a belief about each subject.

    All methods are pure and for one subject; callers vmap. `spacing` is the longest step, in the world's
    clock, that the transition was learned or defined for: grids are made no coarser (`time_grid`).
    """

    spec: eqx.AbstractVar[WorldSpec]
    spacing: eqx.AbstractVar[float]

    @abstractmethod
    def begin(self, traits: Float[Array, " s"]) -> Belief:
        """The prior of a new subject, at time 0."""

    @abstractmethod
    def update(self, belief: Belief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> Belief:
        """Assimilate one reading; channels whose mask is False were not read."""

    @abstractmethod
    def predict(self, belief: Belief, action: Float[Array, " a"], dt: Float[Array, ""]) -> Belief:
        """Carry the belief forward by `dt` under the mean `action` rates."""

    def strides(self, belief: Belief, dt: Float[Array, ""]) -> Int[Array, ""]:
        """In how many equal parts, each with its own doses, to go over `dt`: one, unless a world says more."""
        return jnp.ones((), jnp.int32)

    @abstractmethod
    def draw(self, belief: Belief, *, key: PRNGKeyArray) -> State:
        """One state from the belief."""

    @abstractmethod
    def step(self, state: State, action: Float[Array, " a"], dt: Float[Array, ""], *, key: PRNGKeyArray) -> State:
        """The transition: `action` (mean rates) in force on [t, t + dt)."""

    @abstractmethod
    def impulse(self, state: Moment, dose: Float[Array, " a"]) -> Moment:
        """Give boluses at the present instant, to a state or to a belief."""

    @abstractmethod
    def observe(self, state: State) -> Observation:
        """The distribution of a reading now."""


class Mixture(World):
    """A world whose every future is one of several members'; what its draws share out by weight."""

    @abstractmethod
    def members(self) -> list[tuple[World, float]]:
        """The members with weight; the weights sum to one."""
