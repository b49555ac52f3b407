"""The error of a continuous glucose sensor: it wanders, and it is skewed with heavy tails.

Breton and Kovatchev 2008, doi:10.1177/193229680800200517: a hidden normal process with correlation .7 after 15 min,
bent into the distribution of errors by a Johnson SU transform; its constants as in simglucose 0.2.11 (Dexcom).
simglucose draws the hidden process every 15 min and joins the errors by splines; here it is drawn at any time, as the
Ornstein-Uhlenbeck process of the same law every 15 min, so that what is read does not depend on when else one looks.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

LOW, HIGH = 39.0, 600.0  # mg/dL: the sensor shows no more and no less
_PACF, _STEP = 0.7, 15.0  # min
VARIANCE = _PACF**2 / (1 - _PACF**2)  # of e <- PACF (e + N(0, 1)), in the long run
_GAMMA, _DELTA, _XI, _LAMBDA = -0.5444, 1.6898, -5.47, 15.9574


def fades(dt: Float[Array, ""]) -> Float[Array, ""]:
    """The correlation of the hidden error with itself `dt` minutes later."""
    return jnp.exp(dt * (jnp.log(_PACF) / _STEP))


def shown(hidden: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """The error (mg/dL) of a reading, from the hidden one."""
    return _XI + _LAMBDA * jnp.sinh((hidden - _GAMMA) / _DELTA)


def hidden(error: Float[Array, "*b"]) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """The inverse of `shown`, and the logarithm of its slope (per mg/dL)."""
    scaled = (error - _XI) / _LAMBDA
    return _GAMMA + _DELTA * jnp.arcsinh(scaled), jnp.log(_DELTA / _LAMBDA) - 0.5 * jnp.log1p(scaled**2)
