"""`biowm/Glucose-v0`: an artificial pancreas for a day."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from biowm.core.schedule import Schedule
from biowm.core.world import World
from biowm.worlds.patient.glucose import Glucose, GlucoseState
from biowm.worlds.patient.glucose_body import glucose
from biowm.worlds.patient.glucose_meals import HIGH, LOW, MEALS

from .game import Game, Verdict
from .world import WorldEnv

_DEADLY = (10.0, 600.0)  # mg/dL, where simglucose ends an episode
_EARLIEST, _LATEST = np.array([5, 9, 10, 14, 16, 20]) * 60.0, np.array([9, 10, 14, 16, 20, 23]) * 60.0  # min
_CHANCE, _HOUR, _HOUR_SD, _GRAMS, _GRAMS_SD = (np.array(column) for column in zip(*MEALS, strict=True))
_USUAL, _SPREAD = 60 * _HOUR, 60 * _HOUR_SD  # min


def meals(*, key: PRNGKeyArray) -> Schedule:
    """A day's meals: the time (min after midnight) and the carbohydrate (g) of each, 0 g for one that is left out."""
    k_eaten, k_time, k_size = jax.random.split(key, 3)
    low, high = (jnp.asarray((edge - _USUAL) / _SPREAD, jnp.float32) for edge in (_EARLIEST, _LATEST))
    late = jax.random.truncated_normal(k_time, low, high)
    time = jnp.round(jnp.asarray(_USUAL, jnp.float32) + jnp.asarray(_SPREAD, jnp.float32) * late)
    size = jnp.asarray(_GRAMS, jnp.float32) + jnp.asarray(_GRAMS_SD, jnp.float32) * jax.random.normal(k_size, (6,))
    eaten = jax.random.uniform(k_eaten, (6,)) < jnp.asarray(_CHANCE, jnp.float32)
    grams = jnp.where(eaten, jnp.maximum(jnp.round(size), 0.0), 0.0)
    return Schedule(jnp.full(6, 2, jnp.int32), grams, time, time, jnp.zeros(6, bool))


class _Day(Game):
    world: World = eqx.field(default_factory=lambda: Glucose(spacing=5.0, substeps=5))
    every: float = eqx.field(static=True, default=5.0)
    steps: int = eqx.field(static=True, default=288)
    controls: tuple[int, ...] = eqx.field(static=True, default=(0, 1))

    def start(self, *, key: PRNGKeyArray) -> tuple[GlucoseState, Schedule]:
        k_who, k_meals = jax.random.split(key)
        return self.world.draw(self.world.begin(jnp.zeros(3)), key=k_who), meals(key=k_meals)  # type: ignore[return-value]

    def judge(self, before: GlucoseState, after: GlucoseState, given: Float[Array, "3"]) -> Verdict:
        level = glucose(after.own, after.body)
        return Verdict(
            reward=((level >= LOW) & (level <= HIGH)).astype(jnp.float32),
            cost=(level < LOW).astype(jnp.float32),
            dead=(level < _DEADLY[0]) | (level > _DEADLY[1]),
        )


class GlucoseControl(WorldEnv):
    """Data sheet of `biowm/Glucose-v0`: insulin for one day of a patient with type 1 diabetes.

    - Patient: one of the 30 published ones of the UVA/Padova simulator, equally likely, at rest at midnight; who it is,
      is hidden. Three meals and three snacks at random times and of random size, as simglucose draws them, unannounced.
    - Decision: every 5 min, 288 of them (24 h).
    - Observation: Box(1), glucose as a sensor under the skin reads it, mg/dL, 39 to 600, with the sensor's error.
    - Action: Box(2), from 0 to 1: basal rate (1: 5 U/h) and bolus (1: 10 U) of insulin. No basal rate runs by itself.
    - Reward: 1 for each 5 min after which true glucose under the skin is from 70 to 180 mg/dL, else 0: the sum over
      288 is the time in range.
    - Cost: `info["cost"]`, 1 where it is below 70 mg/dL, else 0: the sum over 288 is the time below.
    - `info["given"]`: basal (U/h), bolus (U) and meal (g of carbohydrate) since the last decision.
    - End: terminated where true glucose is below 10 or above 600 mg/dL (simglucose's bounds, taken as death);
      truncated after 24 h.

    Source: doi:10.1109/TBME.2007.893506, doi:10.1177/193229680900300106; time in range: doi:10.2337/dci19-0028.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(_Day(), render_mode)
