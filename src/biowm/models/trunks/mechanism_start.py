"""A mechanism as a world before it is fitted: units, usual sizes, and steps of the solver that are short enough."""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from biowm.core.errors import BadInput
from biowm.core.mechanism import Mechanism, parameters, solve, vector, with_parameters
from biowm.core.mechanism_units import Wiring, factors
from biowm.core.path import Path
from biowm.core.spec import WorldSpec

from ..tracker import Frame
from .mechanism import Mechanistic, Notes

MOST_STEPS, ERROR = 64, 0.01  # of the solver in the longest gap; the error it may make, in standardised link space


def blank(spec: WorldSpec, frame: Frame, paths: Path, mechanism: Mechanism, wiring: Wiring) -> Mechanistic:
    """The world with the mechanism's own values and without spreads and noise."""
    x = np.abs(np.asarray(paths.x, np.float64)).reshape(-1, len(spec.channels))
    typical = np.array([np.median(c[c > 0]) if (c > 0).any() else 1.0 for c in x.T])
    card, dose = np.asarray(paths.plan.card), np.abs(np.asarray(paths.plan.dose))
    top = np.array([dose[card == a].max(initial=0.0) for a in range(len(spec.actions))])
    scale = factors(mechanism, spec, wiring, typical, np.where(top > 0, top, 1.0), frame.spacing)
    kinds = parameters(mechanism)
    mechanism = with_parameters(mechanism, {n: jnp.asarray(getattr(mechanism, n), jnp.float32) for n in kinds})
    usual = jnp.asarray(typical[list(wiring.channel)], jnp.float32) * scale.channel
    size = np.abs(np.asarray(vector(mechanism.start(usual))))
    if not size.any():
        most = jnp.asarray([0.0 if a < 0 else top[a] for a in wiring.action], jnp.float32) * scale.action
        size = _filled(mechanism, most, float(scale.clock) * frame.spacing)
    size = np.where(size > 0, size, size.max() if size.max() > 0 else 1.0)
    shifts, d = sum(p.varies != "no" for p in kinds.values()), len(spec.channels)
    wandering = (0 if mechanism.exact else len(mechanism.states)) + d - len(set(wiring.channel))
    return Mechanistic(
        spec=spec,
        spacing=frame.spacing,
        substeps=_declared(mechanism, paths, float(scale.clock)),
        notes=Notes(),
        wiring=wiring,
        frame=frame,
        factors=scale,
        mechanism=mechanism,
        size=jnp.asarray(size, jnp.float32),
        sd=jnp.zeros(shifts),
        shift=jnp.zeros((wiring.batch[1] - wiring.batch[0], shifts)),
        between=jnp.zeros(shifts),
        drift=jnp.zeros(wandering),
        noise=jnp.zeros(d),
        doubt=jnp.zeros(len(kinds) + shifts + wandering + d),
        shrinkage=jnp.zeros(shifts),
    )


def _filled(mechanism: Mechanism, given: Float[Array, " a"], gap: float) -> Float[np.ndarray, " s"]:
    """What doses (as boluses, and as rates for a usual gap) make of the states of a mechanism that begins empty."""
    empty = jnp.zeros(len(mechanism.states))
    filled = vector(mechanism.impulse(empty, given)) + vector(mechanism.slope(empty, given)) * gap
    return np.abs(np.asarray(filled))


def _declared(mechanism: Mechanism, paths: Path, clock: float) -> int:
    """Steps of the declared length in the longest gap; 1 where none is declared."""
    if mechanism.substep <= 0:
        return 1
    longest = float(np.diff(np.asarray(paths.t), axis=1).max(initial=0.0)) * clock
    return int(np.clip(np.ceil(longest / mechanism.substep), 1, MOST_STEPS))


def accurate(
    world: Mechanistic, rate: Float[Array, "n a"], dt: Float[Array, " n"], x: Float[Array, "n d"]
) -> Mechanistic:
    """The world with as many solver steps that halving them changes nothing any more.

    Args: `rate`, `dt`, `x` are rates in force, lengths and first readings of some gaps of the training paths.
    Raises: BadInput where 64 steps are too few: the system is stiff.
    """
    n, error = world.substeps, np.inf
    while n <= MOST_STEPS:
        error = float(_change(world, rate, dt, x, n))
        if error <= ERROR:
            return dataclasses.replace(world, substeps=n)
        n *= 2
    values = ", ".join(f"{name} {float(getattr(world.mechanism, name)):.3g}" for name in parameters(world.mechanism))
    raise BadInput(
        f"mechanism {type(world.mechanism).__name__}: found a solution that changes by {error:.2g} (standardised link "
        f"space) when {MOST_STEPS} steps between two readings are halved, expected at most {ERROR}: the system is "
        f"stiff or blows up at {values}"
    )


@eqx.filter_jit
def _change(
    world: Mechanistic, rate: Float[Array, "n a"], dt: Float[Array, " n"], x: Float[Array, "n d"], steps: int
) -> Float[Array, ""]:
    """By how much halving the steps changes what is read after the gaps: the largest over them."""

    def one(rate: Array, dt: Array, x: Array) -> Array:
        values = jnp.where(jnp.isfinite(x), x, world.frame.scale.to_x(world.frame.start_mean))
        begin = vector(
            world.mechanism.start(jnp.stack([values[j] for j in world.wiring.channel]) * world.factors.channel)
        )
        begin = jnp.where(jnp.any(begin != 0), begin, world.size)  # from empty nothing moves: see how it does when full
        given, idle = world.given(rate), jnp.zeros(x.shape[0] - len(set(world.wiring.channel)))
        ends = [solve(world.mechanism, begin, given, dt * world.factors.clock, k) for k in (steps, 2 * steps)]
        coarse, fine = (world.levels(world.mechanism, end, idle) for end in ends)
        return jnp.max(jnp.abs(coarse - fine))

    found = jax.vmap(one)(rate, dt, x)
    return jnp.where(jnp.all(jnp.isfinite(found)), jnp.max(found), jnp.inf)
