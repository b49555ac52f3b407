"""Prostate cancer under intermittent androgen suppression: PSA of virtual patients, on and off treatment.

Cells and PSA follow the equations of Brady-Nicholls et al. 2020 (`core/mechanisms/androgen.py`), exactly; readings err
by a factor. How patients differ is in `androgen_patients`.
"""

from __future__ import annotations

import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.mechanism import Mechanism, parameters, vector, with_parameters
from biowm.core.mechanisms.androgen import Androgen
from biowm.core.registry import register
from biowm.core.spec import ActionCard, Channel, WorldSpec
from biowm.core.world import Belief, Moment, Observation, State, World

PATIENTS = 256
NOISE = 0.15  # sd of the logarithm of a reading about the true PSA: assumed
_STEPS = 2  # of the integral for PSA in a step of the world: good to 1e-5 over 120 d
_DIM = 1e-3  # ng/mL: no reading is taken as less

SPEC = WorldSpec(
    name="patient/androgen",
    clock="d",
    channels=(Channel("psa", "ng/mL", link="log", low=0.0, floor=0.1),),
    actions=(ActionCard("on", "", "switch", 0.0, 1.0),),
)

# Medians, and sd of the logarithms (of the logit of the renewal). Kill, decay and stem-like share: the mechanism fitted
# to 42 of the 72 men of the Canadian trial (doi:10.1002/cncr.21989); first PSA: of all. Those data do not hold the
# renewal: its values are assumed, so that under steady treatment stem-like cells double in about one to three years.
POPULATION = {"renewal": (0.02, 0.5), "kill": (0.07, 0.4), "decay": (0.26, 0.0), "stem": (0.006, 0.8)}
FIRST_PSA = (14.0, 0.55)


def androgen_patients(n: int = PATIENTS) -> Float[np.ndarray, "n p"]:
    """Parameters of virtual patients, in the mechanism's order, and the PSA (ng/mL) that each begins with."""
    luck = np.random.default_rng(0).standard_normal((n, len(POPULATION) + 1))
    columns = []
    for (name, p), z in zip(parameters(Androgen).items(), luck.T, strict=False):
        median, sd = POPULATION[name]
        columns.append(np.asarray(jax.vmap(p.value)(p.free(median) + jnp.asarray(sd * z, jnp.float32))))
    return np.stack([*columns, FIRST_PSA[0] * np.exp(FIRST_PSA[1] * luck[:, -1])], axis=1).astype(np.float32)


class AndrogenState(State):
    """One patient: parameters and first PSA `own`, cells and PSA (ng/mL), and the error of a reading now (log)."""

    t: Float[Array, ""]
    own: Float[Array, " p"]
    body: Float[Array, "3"]
    error: Float[Array, ""]


class AndrogenBelief(Belief):
    """Which of k patients this is (log `weight`); of each cells, PSA and the error of a reading (`doubt`: its sd)."""

    t: Float[Array, ""]
    own: Float[Array, "k p"]
    body: Float[Array, "k 3"]
    weight: Float[Array, " k"]
    error: Float[Array, " k"]
    doubt: Float[Array, ""]


@register("worlds", "patient/androgen")
class AndrogenWorld(World):
    """PSA while treatment is switched on and off.

    A new subject is one of `patients`, each equally likely. Bodies follow equations, and each reading errs anew by a
    log-normal factor of sd `noise`, so the belief is exact: Bayes' rule over patients.
    Sources: doi:10.1038/s41467-020-15424-4, doi:10.1002/cncr.21989.
    """

    spec: WorldSpec = eqx.field(static=True, default=SPEC)
    spacing: float = eqx.field(static=True, default=28.0)
    noise: float = eqx.field(static=True, default=NOISE)
    patients: Float[Array, "k p"] = eqx.field(default_factory=lambda: jnp.asarray(androgen_patients()))

    def begin(self, traits: Float[Array, " 0"]) -> AndrogenBelief:
        k = len(self.patients)
        body = jax.vmap(first)(self.patients)
        even = jnp.full(k, -math.log(k), jnp.float32)
        return AndrogenBelief(jnp.zeros(()), self.patients, body, even, jnp.zeros(k), jnp.float32(self.noise))

    def update(self, belief: AndrogenBelief, reading: Float[Array, "1"], mask: Bool[Array, "1"]) -> AndrogenBelief:
        """Weigh the patients by how likely they are read so; a second reading at one time is the first."""
        found = jnp.log(jnp.maximum(reading[0], _DIM)) - jnp.log(jnp.maximum(belief.body[:, 2], _DIM))
        likely = norm.logpdf(found, belief.error, jnp.maximum(belief.doubt, 1e-3))
        weight = belief.weight + likely
        after = AndrogenBelief(
            belief.t, belief.own, belief.body, weight - logsumexp(weight), found, jnp.zeros_like(belief.doubt)
        )
        return jax.tree.map(lambda a, b: jnp.where(mask[0], a, b), after, belief)

    def predict(self, belief: AndrogenBelief, action: Float[Array, "1"], dt: Float[Array, ""]) -> AndrogenBelief:
        body = jax.vmap(lambda own, x: carry(own, x, action, dt))(belief.own, belief.body)
        calm, sd = jnp.zeros_like(belief.error), jnp.float32(self.noise)
        return AndrogenBelief(belief.t + dt, belief.own, body, belief.weight, calm, sd)

    def draw(self, belief: AndrogenBelief, *, key: PRNGKeyArray) -> AndrogenState:
        who, luck = jax.random.split(key)
        k = jax.random.categorical(who, belief.weight)
        error = belief.error[k] + belief.doubt * jax.random.normal(luck)
        return AndrogenState(belief.t, belief.own[k], belief.body[k], error)

    def step(
        self, state: AndrogenState, action: Float[Array, "1"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> AndrogenState:
        error = self.noise * jax.random.normal(key)
        return AndrogenState(state.t + dt, state.own, carry(state.own, state.body, action, dt), error)

    def impulse(self, state: Moment, dose: Float[Array, "1"]) -> Moment:
        """Nothing: treatment is a switch."""
        return state

    def observe(self, state: AndrogenState) -> Observation:
        """PSA with its error."""
        return Observation(state.body[2:] * jnp.exp(state.error), jnp.zeros(1))


def mechanism(own: Float[Array, " p"]) -> Mechanism:
    """The equations with one patient's parameters."""
    return with_parameters(Androgen(), dict(zip(parameters(Androgen), own, strict=False)))


def first(own: Float[Array, " p"]) -> Float[Array, "3"]:
    """Cells and PSA of a patient at time 0, in balance."""
    return vector(mechanism(own).start(own[-1:]))


def carry(
    own: Float[Array, " p"], body: Float[Array, "3"], action: Float[Array, "1"], dt: Float[Array, ""]
) -> Float[Array, "3"]:
    """Cells and PSA after `dt` (d)."""
    return vector(mechanism(own).flow(body, action, dt, _STEPS))
