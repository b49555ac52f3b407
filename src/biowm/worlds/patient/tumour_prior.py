"""New tumour patients: how large their tumours are, and how their rates vary (see `tumour.py` for sources)."""

from __future__ import annotations

import math
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Float, PRNGKeyArray

Size = TypeVar("Size", float, Array)


def sphere(diameter: Size) -> Size:
    """Volume (cm3) of a sphere of a diameter (cm)."""
    return math.pi / 6 * diameter**3


def diameter(volume: Float[Array, "..."]) -> Float[Array, "..."]:
    """Diameter (cm) of a sphere of a volume (cm3)."""
    return jnp.cbrt(volume * (6 / math.pi))


# The patient's own three rates (alpha per Gy, rho per day, beta_c per mg/m3 and day): normal, truncated to > 0.
MEAN = np.array([0.0398, 7e-5, 0.028])
SD = np.array([0.168, 7.23e-3, 7e-4])
_COVARIANCE = np.outer(SD, SD) * np.array([[1.0, 0.87, 0.0], [0.87, 1.0, 0.0], [0.0, 0.0, 1.0]])
ROOT = np.linalg.cholesky(_COVARIANCE).astype(np.float32)
# Added after truncation, by type: type 1 answers better to radiotherapy, type 3 to chemotherapy.
SHIFT = np.array([[0.1 * MEAN[0], 0, 0], [0, 0, 0], [0, 0, 0.1 * MEAN[2]]], np.float32)
_TRIES = 8  # of alpha, by rejection (three of four are kept); where all fail the first is taken
_FAR = 8.0  # standard deviations: further out, tails are no longer told apart in single precision

# Counts of the stages I, II, IIIA, IIIB, IV (Detterbeck and Gibson 2008) and, for each, the log diameter in cm:
# mean, sd, and the bounds between which it is truncated (Winer-Muram et al. 2002, doi:10.1148/radiol.2233011026).
_STAGES = np.array([1432, 128, 1306, 7248, 12840], np.float32)
_LOG_SIZES = np.array(
    [
        [1.72, 4.70, np.log(0.3), np.log(5.0)],
        [1.96, 1.63, np.log(0.3), np.log(13.0)],
        [1.91, 9.40, np.log(0.3), np.log(13.0)],
        [2.76, 6.87, np.log(0.3), np.log(13.0)],
        [3.86, 8.82, np.log(0.3), np.log(13.0)],
    ],
    np.float32,
)


def first_volume(*, key: PRNGKeyArray) -> Float[Array, ""]:
    """The volume (cm3) of a new patient: a stage by its share, then a log-normal diameter within its bounds."""
    which, size = jax.random.uniform(key, (2,))
    stage = jnp.searchsorted(jnp.cumsum(_STAGES) / _STAGES.sum(), which)
    mean, sd, low, high = jnp.asarray(_LOG_SIZES)[stage]
    below, above = ndtr((low - mean) / sd), ndtr((high - mean) / sd)
    return sphere(jnp.exp(mean + sd * ndtri(below + size * (above - below))))


def _beyond(u: Float[Array, "..."], low: Float[Array, "..."]) -> Float[Array, "..."]:
    """A standard normal above `low`, from a uniform `u` (upper tails: exact where `low` is far out)."""
    return jnp.maximum(-ndtri(u * ndtr(-jnp.minimum(low, _FAR))), low)


def truncated(
    mean: Float[Array, "3"], root: Float[Array, "3 3"], low: Float[Array, "3"], *, key: PRNGKeyArray
) -> Float[Array, "3"]:
    """One draw of N(mean, root root') above `low`.

    alpha above its bound, kept with the chance that rho then is above its own; rho given alpha; beta_c given both (its
    bound is 40 standard deviations away).
    """
    (a, b, c), (_, d, e), (_, _, f) = root @ root.T
    sd = jnp.sqrt(a)
    rho_alpha, chemo_alpha = b / sd, c / sd
    rho_sd = jnp.sqrt(jnp.maximum(d - rho_alpha**2, 1e-4 * d * jnp.finfo(jnp.float32).eps))
    chemo_rho = (e - chemo_alpha * rho_alpha) / rho_sd
    luck = jax.random.uniform(key, (2 * _TRIES + 2,), minval=jnp.finfo(jnp.float32).tiny)
    alphas = _beyond(luck[:_TRIES], (low[0] - mean[0]) / sd)
    bounds = (low[1] - mean[1] - rho_alpha * alphas) / rho_sd
    first = jnp.argmax(luck[_TRIES : 2 * _TRIES] < ndtr(-bounds))
    alpha, rho = alphas[first], _beyond(luck[-2], bounds[first])
    chemo = jnp.sqrt(jnp.maximum(f - chemo_alpha**2 - chemo_rho**2, 0.0)) * ndtri(luck[-1])
    rates = jnp.stack([sd * alpha, rho_alpha * alpha + rho_sd * rho, chemo_alpha * alpha + chemo_rho * rho + chemo])
    return jnp.maximum(mean + rates, low)
