"""Worlds that others may be joined to: what they show, and what must be known of their beliefs for that."""

from __future__ import annotations

from abc import abstractmethod

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from biowm.core.world import Belief, State, World


class Open(World):
    """A world whose `outlets` (name, unit) may drive the actions of another, and whose belief comes apart.

    A belief is a list of hypotheses with weights (which subject is this). Within one of them what a world shows is
    taken as known, so that a world that is driven by it may be followed hypothesis by hypothesis.
    """

    outlets: eqx.AbstractVar[tuple[tuple[str, str], ...]]

    @abstractmethod
    def shown(self, moment: State | Belief) -> Float[Array, " o"]:
        """What is shown at the outlets, without the error of a reading; of a belief: the mean."""

    @abstractmethod
    def apart(self, belief: Belief) -> tuple[Belief, Float[Array, " k"]]:
        """A belief as k beliefs (leading axis), each sure of its hypothesis, and the logarithms of their weights."""

    @abstractmethod
    def evidence(self, belief: Belief, reading: Float[Array, " d"], mask: Bool[Array, " d"]) -> Float[Array, ""]:
        """How likely a belief holds a reading: the log density, up to what is the same for every hypothesis."""


def strides(dt: Float[Array, ""], spacing: float) -> Int[Array, ""]:
    """In how many parts of about `spacing` or less to go over `dt`."""
    return jnp.maximum(jnp.ceil(dt / spacing - 1e-3), 1.0).astype(jnp.int32)
