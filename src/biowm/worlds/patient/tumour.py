"""A lung tumour under chemotherapy and radiotherapy: the simulator behind the benchmark `tumour-cf`.

Equations and constants: Geng et al. 2017, doi:10.1038/s41598-017-13646-z, as simulated by Lim et al. 2018
("Forecasting treatment responses over time using recurrent marginal structural networks") and Bica et al. 2020,
arXiv:2002.04083. Day by day, with V the volume, C the drug, a_c and a_r the two treatments (0 or 1):

    V' = V (1 + rho ln(K / V) - beta_c (C + 5 a_c) - a_r (2 alpha + 4 beta) + e),  e ~ N(0, 0.01^2)
    C' = (C + 5 a_c) / 2,  beta = alpha / 10

Three fields bend these equations (`variants.py` chooses their values), so that a learned world may be tried where its
own features do not fit: kill that saturates in the drug, kill that comes late, a hidden and less sensitive clone.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, ndtr
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.arrays import AnyArray
from biowm.core.registry import register
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec
from biowm.core.world import Belief, Moment, Observation, State, World

from .tumour_prior import MEAN, ROOT, SHIFT, first_volume, sphere, truncated

DEATH = float(np.float32(sphere(13.0)))  # cm3, as states hold it; the benchmark divides its errors by it
CAPACITY = sphere(30.0)  # cm3, K
CELLS = 5.8e8  # per cm3: recovery once no cell is left, with probability exp(-cells)
_SENSITIVITY = 0.3  # of the hidden clone to both treatments, relative to the rest
NOISE = 0.01  # sd of the relative change of a day
DOSE = 5.0  # mg/m3 of drug a day of chemotherapy
KILL = 2.0 + 2.0**2 / 10  # kill of one 2 Gy fraction, per alpha: linear + quadratic with beta = alpha / 10

SPEC = WorldSpec(
    name="patient/tumour",
    clock="d",
    # Read exactly, down to a single cell: a coarser floor hides most of what treated tumours do.
    channels=(Channel("volume", "cm^3", link="log", low=0.0, high=DEATH, floor=1 / CELLS),),
    # A day of chemo is 5 mg/m3 of drug, a day of radio one fraction of 2 Gy.
    actions=(ActionCard("chemo", "", "switch", 0.0, 1.0), ActionCard("radio", "", "switch", 0.0, 1.0)),
    traits=(Trait("type", kind="category", levels=("1", "2", "3")),),
)


class TumourState(State):
    """One patient: volume (cm3), drug left (mg/m3) and the rates (alpha, rho, beta_c).

    A volume of 0 is recovery and `DEATH` is death: both are for good. `coming` is kill (as a relative change) that
    waits in the two stages of a delay, `resistant` the share of the hidden clone; both are 0 in the plain equations.
    """

    t: Float[Array, ""]
    volume: Float[Array, ""]
    drug: Float[Array, ""]
    rates: Float[Array, "3"]
    coming: Float[Array, "2"]
    resistant: Float[Array, ""]


class TumourBelief(Belief):
    """A normal posterior of the rates (`mean`, covariance `root root'`, truncated at `low`) and the volume by now.

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
    root: Float[Array, "3 3"]
    low: Float[Array, "3"]


def alive(volume: Float[AnyArray, "..."]) -> Bool[AnyArray, "..."]:
    """Whether a patient with this volume has neither died nor recovered."""
    return (volume > 0) & (volume < DEATH)


def _effects(
    volume: Float[Array, ""], drug: Float[Array, ""], action: Float[Array, "2"], dt: Float[Array, ""]
) -> tuple[Float[Array, "3"], Float[Array, ""]]:
    """What multiplies the three rates in the relative change over `dt`, and the drug left after it.

    The exposure of a day, C + 5, is twice the drug that leaves the body in it; so it is in steps of any length,
    which makes exposures add up. Everything else is one Euler step.
    """
    left = DOSE * action[0] + (drug - DOSE * action[0]) * jnp.exp2(-dt)
    exposure = 2 * (DOSE * action[0] * dt + drug - left)
    growth = jnp.log(CAPACITY / jnp.where(volume > 0, volume, CAPACITY))
    return jnp.stack([-KILL * action[1] * dt, growth * dt, -exposure]), left


def _hazard(low: Float[Array, ""]) -> Float[Array, ""]:
    """The mean of a standard normal above `low`."""
    return jnp.exp(norm.logpdf(low) - log_ndtr(-low))


@register("worlds", "patient/tumour")
class Tumour(World):
    """Tumour volume under chemotherapy and radiotherapy, read exactly; a step of 1 d is the benchmark's.

    The belief is exact when the volume is read at the end of every step (linear regression with known noise
    and a truncated prior), so forecasts drawn from it are the Bayes floor of every learned model. Over a gap it
    is linearised about the mean rates. It knows the plain equations only.

    Args: `saturation` (m3/mg) divides the kill of drug at concentration c by 1 + saturation c; `delay` (d) is the
    mean time that kill spends in each of two stages before it acts; `clone` is the first share of a hidden clone
    with .3 of the sensitivity; `ends` whether death and recovery end a course. Source: doi:10.1038/s41598-017-13646-z.
    """

    spec: WorldSpec = eqx.field(static=True, default=SPEC)
    spacing: float = eqx.field(static=True, default=1.0)
    saturation: float = eqx.field(static=True, default=0.0)
    delay: float = eqx.field(static=True, default=0.0)
    clone: float = eqx.field(static=True, default=0.0)
    ends: bool = eqx.field(static=True, default=True)

    def begin(self, traits: Float[Array, " 3"]) -> TumourBelief:
        """The prior of a new patient of the type that `traits` marks (one-hot)."""
        zero = jnp.zeros(())
        low = traits @ SHIFT
        return TumourBelief(
            t=zero,
            seen=jnp.zeros((), bool),
            volume=jnp.float32(sphere(2.0)),
            ratio=jnp.ones(()),
            slope=jnp.zeros(3),
            spread=zero,
            drug=zero,
            mean=jnp.asarray(MEAN, jnp.float32) + low,
            root=jnp.asarray(ROOT),
            low=low,
        )

    def update(self, belief: TumourBelief, reading: Float[Array, "1"], mask: Bool[Array, "1"]) -> TumourBelief:
        """Regress the change since the last reading on the rates.

        A first reading tells nothing of them. Death says that the ratio was at least so large, recovery that at most
        about one cell was left: such a censored ratio moves mean and covariance to those of the normal it truncates.
        """
        volume = reading[0]
        tells = belief.seen & alive(belief.volume) & (belief.spread > 0)
        slope = jnp.where(tells, belief.slope, 0.0)
        reach = belief.root.T @ slope
        variance = reach @ reach + jnp.where(tells, belief.spread, 1.0)
        sd = jnp.sqrt(variance)
        bound = jnp.clip(volume, 1 / CELLS, DEATH)
        surprise = (bound / jnp.where(tells, belief.volume, 1.0) - belief.ratio) / sd
        side = jnp.where(volume > 0, 1.0, -1.0)
        hazard = _hazard(side * surprise)
        exact = alive(volume)
        shift = jnp.where(exact, surprise, side * hazard) / sd
        known = jnp.where(exact, 1.0, hazard * (hazard - side * surprise)) / variance
        gain = belief.root @ reach
        part = known / (1 + jnp.sqrt(jnp.maximum(1 - known * (reach @ reach), 0.0)))  # Potter, doi:10.2514/3.3090
        after = TumourBelief(
            t=belief.t,
            seen=jnp.ones((), bool),
            volume=volume,
            ratio=jnp.ones(()),
            slope=jnp.zeros(3),
            spread=jnp.zeros(()),
            drug=belief.drug,
            mean=belief.mean + gain * shift,
            root=belief.root - part * jnp.outer(gain, reach),
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
            root=belief.root,
            low=belief.low,
        )

    def draw(self, belief: TumourBelief, *, key: PRNGKeyArray) -> TumourState:
        """Rates from the truncated posterior, and the volume that goes with them."""
        k_rates, k_first, k_doubt = jax.random.split(key, 3)
        rates = truncated(belief.mean, belief.root, belief.low, key=k_rates)
        doubt = belief.slope @ (rates - belief.mean) + jnp.sqrt(belief.spread) * jax.random.normal(k_doubt)
        volume = jnp.where(belief.seen, belief.volume, first_volume(key=k_first))
        volume = jnp.clip(volume * (belief.ratio + doubt), 0.0, DEATH)
        return TumourState(belief.t, volume, belief.drug, rates, jnp.zeros(2), jnp.full((), self.clone, jnp.float32))

    def step(
        self, state: TumourState, action: Float[Array, "2"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> TumourState:
        """The transition; a volume that would pass `DEATH` stays there, one that would fall below 0 is 0."""
        noise, luck = jax.random.normal(key, (2,))
        effects, drug = _effects(state.volume, state.drug, action, dt)
        radio, growth, chemo = effects * state.rates
        if self.saturation:
            chemo = chemo / (1 - self.saturation * effects[2] / jnp.maximum(dt, 1e-6))
        kill, coming = self._delayed(-radio - chemo, state.coming, dt)
        grown = 1 + growth + NOISE * jnp.sqrt(dt) * noise
        plain, hardy = jnp.maximum(grown - kill, 0.0), jnp.maximum(grown - _SENSITIVITY * kill, 0.0)
        ratio = (1 - state.resistant) * plain + state.resistant * hardy
        resistant = jnp.where(ratio > 0, state.resistant * hardy / jnp.where(ratio > 0, ratio, 1.0), state.resistant)
        volume = state.volume * ratio
        if self.ends:
            cured = ndtr(luck) < jnp.exp(-CELLS * volume)
            volume = jnp.where(cured, 0.0, jnp.minimum(volume, DEATH))
            volume = jnp.where(alive(state.volume), volume, state.volume)
        return TumourState(state.t + dt, volume, drug, state.rates, coming, resistant)

    def _delayed(
        self, kill: Float[Array, ""], coming: Float[Array, "2"], dt: Float[Array, ""]
    ) -> tuple[Float[Array, ""], Float[Array, "2"]]:
        """The kill that acts now, and what waits: all of it acts in the end."""
        if not self.delay:
            return kill, coming
        stays = jnp.exp(-dt / self.delay)
        first = coming[0] + kill
        second = coming[1] + first * (1 - stays)
        return second * (1 - stays), stays * jnp.stack([first, second])

    def impulse(self, state: Moment, dose: Float[Array, "2"]) -> Moment:
        """Nothing: both treatments are switches."""
        return state

    def observe(self, state: TumourState) -> Observation:
        """The volume, exactly."""
        return Observation(state.volume[None], jnp.zeros(1))
