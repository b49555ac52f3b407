"""A lung tumour under chemotherapy and radiotherapy: the simulator behind the benchmark `tumour-cf`.

Equations and constants: Geng et al. 2017, doi:10.1038/s41598-017-13646-z, as simulated by Lim et al. 2018
("Forecasting treatment responses over time using recurrent marginal structural networks") and Bica et al. 2020,
arXiv:2002.04083. Day by day, with V the volume, C the drug, a_c and a_r the two treatments (0 or 1):

    V' = V (1 + rho ln(K / V) - beta_c (C + 5 a_c) - a_r (2 alpha + 4 beta) + e),  e ~ N(0, 0.01^2)
    C' = (C + 5 a_c) / 2,  beta = alpha / 10
"""

from __future__ import annotations

import math
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_factor, cho_solve, solve_triangular
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.arrays import AnyArray
from biowm.core.registry import register
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec
from biowm.core.world import Belief, Moment, Observation, State, World

Size = TypeVar("Size", float, Array)


def sphere(diameter: Size) -> Size:
    """Volume (cm3) of a sphere of a diameter (cm)."""
    return math.pi / 6 * diameter**3


def diameter(volume: Float[Array, "..."]) -> Float[Array, "..."]:
    """Diameter (cm) of a sphere of a volume (cm3)."""
    return jnp.cbrt(volume * (6 / math.pi))


DEATH = float(np.float32(sphere(13.0)))  # cm3, as states hold it; the benchmark divides its errors by it
CAPACITY = sphere(30.0)  # cm3, K
CELLS = 5.8e8  # per cm3: recovery once no cell is left, with probability exp(-cells)
NOISE = 0.01  # sd of the relative change of a day
DOSE = 5.0  # mg/m3 of drug a day of chemotherapy
KILL = 2.0 + 2.0**2 / 10  # kill of one 2 Gy fraction, per alpha: linear + quadratic with beta = alpha / 10

# The patient's own three rates (alpha per Gy, rho per day, beta_c per mg/m3 and day): normal, truncated to > 0.
_MEAN = np.array([0.0398, 7e-5, 0.028])
_SD = np.array([0.168, 7.23e-3, 7e-4])
_COVARIANCE = np.outer(_SD, _SD) * np.array([[1.0, 0.87, 0.0], [0.87, 1.0, 0.0], [0.0, 0.0, 1.0]])
_PRECISION = np.linalg.inv(_COVARIANCE).astype(np.float32)
# Added after truncation, by type: type 1 answers better to radiotherapy, type 3 to chemotherapy.
_SHIFT = np.array([[0.1 * _MEAN[0], 0, 0], [0, 0, 0], [0, 0, 0.1 * _MEAN[2]]], np.float32)
_TRIES = 32  # of a truncated normal by rejection; where all fail (one draw in thousands) the first is clipped

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

SPEC = WorldSpec(
    name="patient/tumour",
    clock="d",
    channels=(Channel("volume", "cm^3", link="log", low=0.0, high=DEATH, floor=1e-3),),
    # A day of chemo is 5 mg/m3 of drug, a day of radio one fraction of 2 Gy.
    actions=(ActionCard("chemo", "", "switch", 0.0, 1.0), ActionCard("radio", "", "switch", 0.0, 1.0)),
    traits=(Trait("type", kind="category", levels=("1", "2", "3")),),
)


class TumourState(State):
    """One patient: volume (cm3), drug left (mg/m3) and the rates (alpha, rho, beta_c).

    A volume of 0 is recovery and `DEATH` is death: both are for good.
    """

    t: Float[Array, ""]
    volume: Float[Array, ""]
    drug: Float[Array, ""]
    rates: Float[Array, "3"]


class TumourBelief(Belief):
    """A normal posterior of the rates (`mean`, `precision`, truncated below at `low`) and the volume by now.

    The volume is `volume`, as last read, times a ratio that is `ratio + slope . (rates - mean)` with variance
    `spread`. Just after a reading that ratio is 1, without doubt. Before the first reading (`seen` is False)
    `volume` only stands for the unknown volume of day 0.
    """

    t: Float[Array, ""]
    seen: Bool[Array, ""]
    volume: Float[Array, ""]
    ratio: Float[Array, ""]
    slope: Float[Array, "3"]
    spread: Float[Array, ""]
    drug: Float[Array, ""]
    mean: Float[Array, "3"]
    precision: Float[Array, "3 3"]
    low: Float[Array, "3"]


def alive(volume: Float[AnyArray, "..."]) -> Bool[AnyArray, "..."]:
    """Whether a patient with this volume has neither died nor recovered."""
    return (volume > 0) & (volume < DEATH)


def first_volume(*, key: PRNGKeyArray) -> Float[Array, ""]:
    """The volume (cm3) of a new patient: a stage by its share, then a log-normal diameter within its bounds."""
    which, size = jax.random.uniform(key, (2,))
    stage = jnp.searchsorted(jnp.cumsum(_STAGES) / _STAGES.sum(), which)
    mean, sd, low, high = jnp.asarray(_LOG_SIZES)[stage]
    below, above = ndtr((low - mean) / sd), ndtr((high - mean) / sd)
    return sphere(jnp.exp(mean + sd * ndtri(below + size * (above - below))))


def _effects(
    volume: Float[Array, ""], drug: Float[Array, ""], action: Float[Array, "2"], dt: Float[Array, ""]
) -> tuple[Float[Array, "3"], Float[Array, ""]]:
    """What multiplies the three rates in the relative change over `dt`, and the drug left after it.

    The exposure of a day, C + 5, is twice the drug that leaves the body in it; so it is in steps of any length,
    which makes exposures add up. Everything else is one Euler step.
    """
    left = DOSE * action[0] + (drug - DOSE * action[0]) * jnp.exp2(-dt)
    exposure = 2 * (DOSE * action[0] * dt + drug - left)
    growth = jnp.log(CAPACITY / jnp.where(alive(volume), volume, CAPACITY))
    return jnp.stack([-KILL * action[1] * dt, growth * dt, -exposure]), left


@register("worlds", "patient/tumour")
class Tumour(World):
    """Tumour volume under chemotherapy and radiotherapy, read exactly; a step of 1 d is the benchmark's.

    The belief is exact when the volume is read at the end of every step (linear regression with known noise
    and a truncated prior), so forecasts drawn from it are the Bayes floor of every learned model. Over a gap it
    is linearised about the mean rates. Source: doi:10.1038/s41598-017-13646-z.
    """

    spec: WorldSpec = eqx.field(static=True, default=SPEC)
    spacing: float = eqx.field(static=True, default=1.0)

    def begin(self, traits: Float[Array, " 3"]) -> TumourBelief:
        """The prior of a new patient of the type that `traits` marks (one-hot)."""
        zero = jnp.zeros(())
        low = traits @ _SHIFT
        return TumourBelief(
            t=zero,
            seen=jnp.zeros((), bool),
            volume=jnp.float32(sphere(2.0)),
            ratio=jnp.ones(()),
            slope=jnp.zeros(3),
            spread=zero,
            drug=zero,
            mean=jnp.asarray(_MEAN, jnp.float32) + low,
            precision=jnp.asarray(_PRECISION),
            low=low,
        )

    def update(self, belief: TumourBelief, reading: Float[Array, "1"], mask: Bool[Array, "1"]) -> TumourBelief:
        """Regress the change since the last reading on the rates.

        A first reading tells nothing of them, and death or recovery little: the ratio is then censored.
        """
        volume = reading[0]
        tells = belief.seen & alive(belief.volume) & alive(volume) & (belief.spread > 0)
        spread = jnp.where(tells, belief.spread, 1.0)
        slope = jnp.where(tells, belief.slope, 0.0)
        precision = belief.precision + jnp.outer(slope, slope) / spread
        surprise = volume / jnp.where(tells, belief.volume, 1.0) - belief.ratio
        after = TumourBelief(
            t=belief.t,
            seen=jnp.ones((), bool),
            volume=volume,
            ratio=jnp.ones(()),
            slope=jnp.zeros(3),
            spread=jnp.zeros(()),
            drug=belief.drug,
            mean=belief.mean + cho_solve(cho_factor(precision), slope) * surprise / spread,
            precision=precision,
            low=belief.low,
        )
        return jax.tree.map(lambda a, b: jnp.where(mask[0], a, b), after, belief)

    def predict(self, belief: TumourBelief, action: Float[Array, "2"], dt: Float[Array, ""]) -> TumourBelief:
        """Carry the belief forward by one step: the ratio, its slope in the rates and its variance."""
        now = belief.volume * belief.ratio
        effects, drug = _effects(now, belief.drug, action, dt)
        lives = alive(now)
        growth = jnp.where(lives, effects @ belief.mean, 0.0)
        # d ln(K / V) / dV adds -rho dt: a larger tumour grows relatively slower.
        pull = jnp.where(lives, 1 + growth - belief.mean[1] * dt, 1.0)
        fresh = jnp.where(lives, belief.ratio, 0.0)
        return TumourBelief(
            t=belief.t + dt,
            seen=belief.seen,
            volume=belief.volume,
            ratio=jnp.maximum(belief.ratio * (1 + growth), 0.0),
            slope=pull * belief.slope + fresh * effects,
            spread=pull**2 * belief.spread + (fresh * NOISE) ** 2 * dt,
            drug=drug,
            mean=belief.mean,
            precision=belief.precision,
            low=belief.low,
        )

    def draw(self, belief: TumourBelief, *, key: PRNGKeyArray) -> TumourState:
        """Rates from the truncated posterior, and the volume that goes with them."""
        noise = jax.random.normal(key, (1 + 3 * _TRIES,))
        root = jnp.linalg.cholesky(belief.precision)
        tries = belief.mean[:, None] + solve_triangular(root.T, noise[1:].reshape(3, _TRIES), lower=False)
        fits = jnp.all(tries > belief.low[:, None], axis=0)
        rates = jnp.maximum(tries[:, jnp.argmax(fits)], belief.low)
        doubt = belief.slope @ (rates - belief.mean) + jnp.sqrt(belief.spread) * noise[0]
        volume = jnp.where(belief.seen, belief.volume, first_volume(key=jax.random.fold_in(key, 1)))
        return TumourState(belief.t, jnp.clip(volume * (belief.ratio + doubt), 0.0, DEATH), belief.drug, rates)

    def step(
        self, state: TumourState, action: Float[Array, "2"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> TumourState:
        """The transition; a volume that would pass `DEATH` stays there, one that would fall below 0 is 0."""
        noise, luck = jax.random.normal(key, (2,))
        effects, drug = _effects(state.volume, state.drug, action, dt)
        change = effects @ state.rates + NOISE * jnp.sqrt(dt) * noise
        volume = jnp.clip(state.volume * (1 + change), 0.0, DEATH)
        cured = ndtr(luck) < jnp.exp(-CELLS * volume)
        volume = jnp.where(alive(state.volume), jnp.where(cured, 0.0, volume), state.volume)
        return TumourState(state.t + dt, volume, drug, state.rates)

    def impulse(self, state: Moment, dose: Float[Array, "2"]) -> Moment:
        """Nothing: both treatments are switches."""
        return state

    def observe(self, state: TumourState) -> Observation:
        """The volume, exactly."""
        return Observation(state.volume[None], jnp.zeros(1))
