"""What linear equations do in a time: exactly, by exponentials."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.linalg import expm
from jaxtyping import Array, Float

from biowm.core.mechanism import Mechanism, Scalar, vector

_CLOSE = 1e-3  # two rates so near that their difference, times the time, is taken as small
_APART = 1e-6  # of the sum of two rates: their least difference, so that a gradient does not divide by none


def through(first: Scalar, second: Scalar, dt: Scalar) -> Scalar:
    """(exp(-first dt) - exp(-second dt)) / (second - first), also where both rates are the same."""
    apart = jnp.abs(jnp.asarray(second - first)) * dt
    safe = jnp.where(apart < _CLOSE, 1.0, apart)
    return (
        dt
        * jnp.exp(-jnp.minimum(first, second) * dt)
        * jnp.where(apart < _CLOSE, 1 - apart / 2, -jnp.expm1(-safe) / safe)
    )


def propagator(mechanism: Mechanism, action: Float[Array, " a"], dt: Scalar) -> Float[Array, "m m"]:
    """The matrix that carries (state, 1) of a mechanism with linear equations over `dt` under constant rates.

    The equations are those of its `slope`, differentiated; equations that are not linear would be linearised at 0.
    Source: Van Loan 1978, doi:10.1109/TAC.1978.1101743.
    """
    none = jnp.zeros(len(mechanism.states), jnp.float32)
    rates = jax.jacfwd(lambda x: vector(mechanism.slope(x, action)))(none)
    given = vector(mechanism.slope(none, action))
    return expm(dt * jnp.pad(jnp.column_stack([rates, given]), ((0, 1), (0, 0))))


def two_states(
    into: Scalar, back: Scalar, made: Scalar, lost: tuple[Scalar, Scalar], state: Float[Array, "2"], dt: Scalar
) -> Float[Array, "2"]:
    """Two states (x, y) after `dt`: x' = made - (lost[0] + into) x + back y; y' = into x - (lost[1] + back) y.

    In closed form, also where rates are fast, far apart or equal. Both are lost at rates above 0; `into` and `back`
    may be 0. Everything but `made` (amount per time) is per time.
    """
    out, gone = lost[0] + into, lost[1] + back
    total = out + gone
    determinant = lost[0] * gone + into * lost[1]
    between = jnp.sqrt(jnp.square(out - gone) + 4 * into * back + jnp.square(_APART * total))
    fast = 0.5 * (total + between)
    slow = determinant / fast
    rest = made / determinant * jnp.stack([jnp.asarray(gone), jnp.asarray(into)])
    x, y = state - rest
    moved = jnp.stack([(slow - out) * x + back * y, into * x + (slow - gone) * y])  # (rates + slow) applied
    return rest + jnp.exp(-slow * dt) * (state - rest) + through(slow, fast, dt) * moved
