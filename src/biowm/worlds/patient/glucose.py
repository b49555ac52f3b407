"""Type 1 diabetes under insulin and meals: the UVA/Padova simulator of 2008, read by a continuous glucose sensor.

The body is deterministic (`glucose_body.py`), patients are the thirty published ones (`glucose_patients.py`), readings
err as sensors do (`glucose_sensor.py`). Doses that are not in a schedule are not given, the basal rate included.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr, logsumexp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from biowm.core.registry import register
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec
from biowm.core.world import Belief, Observation, State, World

from . import glucose_patients, glucose_sensor
from .glucose_body import Body, carry, give, glucose, rest

SPEC = WorldSpec(
    name="patient/glucose",
    clock="min",
    channels=(Channel("cgm", "mg/dL", link="log", low=glucose_sensor.LOW, high=glucose_sensor.HIGH),),
    actions=(
        ActionCard("basal", "U_insulin/h", "rate", 0.0, 5.0),
        ActionCard("bolus", "U_insulin", "bolus", 0.0, 10.0),
        ActionCard("meal", "g", "bolus", 0.0, 100.0),  # of carbohydrate
    ),
    traits=(Trait("group", kind="category", levels=glucose_patients.GROUPS),),
)
_NEVER = -1e9  # log weight of a patient that it is not: finite, so that beliefs are


class GlucoseState(State):
    """One patient: parameters `own`, the body, and the hidden error of the sensor."""

    t: Float[Array, ""]
    own: Float[Array, " p"]
    body: Body
    error: Float[Array, ""]


class GlucoseBelief(Belief):
    """Which of k patients this is (log `weight`), and for each: the body, mean and variance of the hidden error."""

    t: Float[Array, ""]
    own: Float[Array, "k p"]
    body: Body
    weight: Float[Array, " k"]
    error: Float[Array, " k"]
    doubt: Float[Array, " k"]


@register("worlds", "patient/glucose")
class Glucose(World):
    """Glucose under the skin under insulin and meals, as a sensor reads it.

    A new subject is one of `patients` (their parameters; `groups` one-hot), each of its group equally likely, or of all
    where no group is given or nobody is in it; it starts at rest at its basal rate. As bodies are deterministic and the
    sensor's error is known once it is read, the belief is exact (Bayes' rule over patients), but that after a reading
    at the sensor's limits the error is normal with the mean and variance it has.

    Args: `spacing` (min) is the longest step, solved in `substeps`; a closed loop of 5 min needs no more than 5.
    Source: doi:10.1109/TBME.2007.893506, doi:10.1177/193229680900300106, doi:10.1177/193229680800200517.
    """

    spec: WorldSpec = eqx.field(static=True, default=SPEC)
    spacing: float = eqx.field(static=True, default=15.0)
    substeps: int = eqx.field(static=True, default=15)
    patients: Float[Array, "k p"] = eqx.field(default_factory=lambda: jnp.asarray(glucose_patients.VALUES, jnp.float32))
    groups: Float[Array, "k g"] = eqx.field(default_factory=lambda: jnp.asarray(glucose_patients.GROUP))

    def begin(self, traits: Float[Array, " g"]) -> GlucoseBelief:
        member = self.groups @ traits > 0
        member = member | ~jnp.any(member)
        zero = jnp.zeros(len(self.patients))
        return GlucoseBelief(
            t=jnp.zeros(()),
            own=self.patients,
            body=rest(self.patients),
            weight=_normalised(jnp.where(member, 0.0, _NEVER)),
            error=zero,
            doubt=zero + glucose_sensor.VARIANCE,
        )

    def update(self, belief: GlucoseBelief, reading: Float[Array, "1"], mask: Bool[Array, "1"]) -> GlucoseBelief:
        """Weigh the patients by how likely their sensor errs so; a reading at a limit says only that it is beyond."""
        found, slope = glucose_sensor.hidden(reading[0] - glucose(belief.own, belief.body))
        sd = jnp.sqrt(jnp.maximum(belief.doubt, 1e-6))  # a second reading at one time is the first
        off = (found - belief.error) / sd
        exact = (reading[0] > glucose_sensor.LOW) & (reading[0] < glucose_sensor.HIGH)
        side = jnp.where(reading[0] <= glucose_sensor.LOW, 1.0, -1.0)
        beyond = log_ndtr(side * off)
        hazard = jnp.exp(norm.logpdf(off) - beyond)
        likely = jnp.where(exact, norm.logpdf(off) - jnp.log(sd) + slope, beyond)
        left = jnp.where(exact, 0.0, jnp.clip(1 - hazard * (hazard + side * off), 0.0, 1.0))
        after = GlucoseBelief(
            t=belief.t,
            own=belief.own,
            body=belief.body,
            weight=_normalised(belief.weight + likely),
            error=jnp.where(exact, found, belief.error - side * sd * hazard),
            doubt=left * belief.doubt,
        )
        return jax.tree.map(lambda a, b: jnp.where(mask[0], a, b), after, belief)

    def predict(self, belief: GlucoseBelief, action: Float[Array, "3"], dt: Float[Array, ""]) -> GlucoseBelief:
        fades = glucose_sensor.fades(dt)
        return GlucoseBelief(
            t=belief.t + dt,
            own=belief.own,
            body=carry(belief.own, belief.body, action[0] / 60, dt, self.substeps),
            weight=belief.weight,
            error=fades * belief.error,
            doubt=fades**2 * belief.doubt + (1 - fades**2) * glucose_sensor.VARIANCE,
        )

    def draw(self, belief: GlucoseBelief, *, key: PRNGKeyArray) -> GlucoseState:
        who, luck = jax.random.split(key)
        k = jax.random.categorical(who, belief.weight)
        own, body, error, doubt = jax.tree.map(
            lambda leaf: leaf[k], (belief.own, belief.body, belief.error, belief.doubt)
        )
        return GlucoseState(belief.t, own, body, error + jnp.sqrt(doubt) * jax.random.normal(luck))

    def step(
        self, state: GlucoseState, action: Float[Array, "3"], dt: Float[Array, ""], *, key: PRNGKeyArray
    ) -> GlucoseState:
        fades = glucose_sensor.fades(dt)
        sd = jnp.sqrt(glucose_sensor.VARIANCE * (1 - fades**2))
        return GlucoseState(
            t=state.t + dt,
            own=state.own,
            body=carry(state.own, state.body, action[0] / 60, dt, self.substeps),
            error=fades * state.error + sd * jax.random.normal(key),
        )

    def impulse(self, state, dose: Float[Array, "3"]):  # a state or a belief
        """Insulin goes under the skin at once; a meal is served and eaten at 5 g/min from now on."""
        return eqx.tree_at(lambda s: s.body, state, give(state.own, state.body, dose[1], dose[2]))

    def observe(self, state: GlucoseState) -> Observation:
        """Glucose under the skin plus the sensor's error; who reads it sees no more than the sensor's limits."""
        reading = glucose(state.own, state.body) + glucose_sensor.shown(state.error)
        return Observation(reading[None], jnp.zeros(1))


def patient(own: Float[Array, " p"]) -> GlucoseState:
    """One patient at rest at its basal rate, time 0, with a sensor that errs as it usually does."""
    return GlucoseState(jnp.zeros(()), own, rest(own), jnp.zeros(()))


def _normalised(weight: Float[Array, " k"]) -> Float[Array, " k"]:
    return weight - logsumexp(weight)
