"""Glucose and insulin in the body of a patient with type 1 diabetes: the UVA/Padova equations of 2008.

Equations: Dalla Man et al. 2007, doi:10.1109/TBME.2007.893506; emptying of the stomach 2006,
doi:10.1109/TBME.2006.883792; without pancreas and with insulin under the skin 2009, doi:10.1177/193229680900300106.
Details that the papers leave open (meals eaten at 5 g/min, what a meal is while another empties) are those of
simglucose 0.2.11, whose traces these equations give back.

Every compartment is filled by the others and emptied at a rate of its own, so that a step solves the emptying exactly
and takes the filling as linear in time (Cox and Matthews 2002, doi:10.1006/jcph.2002.6995, ETD2RK): of second order,
and stable in steps of any length.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .glucose_patients import Parameters, value

PMOL = 6000.0  # of insulin in 1 U
EATING = 5.0  # g of carbohydrate a minute
_PARTS = 2  # steps of a bite
_SMALL = 0.1  # decay in a step, below which the weight of the corrector is a series: single precision


class Compartments(NamedTuple):
    """What is where. Only `uptake` may be negative: insulin's effect relative to that of the basal rate."""

    solid: Array  # mg of carbohydrate in the stomach, chewed,
    liquid: Array  # mg, ground,
    gut: Array  # mg, and in the gut
    blood: Array  # mg/kg of glucose in the blood
    tissue: Array  # mg/kg
    insulin: Array  # pmol/kg in the blood
    uptake: Array  # pmol/L of insulin, as felt by glucose uptake
    delay: Array  # pmol/L, on its way to
    production: Array  # pmol/L, as felt by glucose production
    liver: Array  # pmol/kg of insulin
    depot: Array  # pmol/kg of insulin under the skin,
    monomers: Array  # pmol/kg, and fallen apart
    skin: Array  # mg/kg of glucose under the skin, where sensors are


class Body(eqx.Module):
    """One patient, or several along leading axes: the `Compartments` along the last axis of `x`.

    `to_eat` (g) is what is left of the meal that is being eaten, `meal` (mg) all of it that was eaten so far and what
    was in the stomach before it: emptying depends on it until the next meal.
    """

    x: Float[Array, "*b 13"]
    to_eat: Float[Array, "*b"]
    meal: Float[Array, "*b"]


def rest(own: Float[Array, "*b p"]) -> Body:
    """The body after a long time at the basal rate, fasting."""
    p = _parameters(own)
    zero = jnp.zeros_like(p.BW)
    x = Compartments(
        solid=zero,
        liquid=zero,
        gut=zero,
        blood=p.Gpb,
        tissue=p.Gtb,
        insulin=p.Ipb,
        uptake=zero,
        delay=p.Ib,
        production=p.Ib,
        liver=p.Ilb,
        depot=p.isc1ss,
        monomers=p.isc2ss,
        skin=p.Gpb,
    )
    return Body(jnp.stack(x, axis=-1), zero, zero)


def glucose(own: Float[Array, "*b p"], body: Body) -> Float[Array, "*b"]:
    """Glucose under the skin (mg/dL)."""
    return _x(body, "skin") / value(own, "Vg")


def give(own: Float[Array, "*b p"], body: Body, bolus: Float[Array, ""], carbs: Float[Array, ""]) -> Body:
    """The body just after insulin (U) went under the skin and a meal (g of carbohydrate) was served."""
    fresh = (body.to_eat <= 0) & (carbs > 0)
    stomach = _x(body, "solid") + _x(body, "liquid")
    depot = Compartments._fields.index("depot")
    return Body(
        body.x.at[..., depot].add(PMOL * bolus / value(own, "BW")),
        body.to_eat + carbs,
        jnp.where(fresh, stomach, body.meal),
    )


def carry(
    own: Float[Array, "*b p"], body: Body, rate: Float[Array, ""], dt: Float[Array, ""], bites: int
) -> Body:  # fmt: skip
    """The body after `dt` minutes under insulin at `rate` (U/min).

    Whoever eats does so in `bites` equal parts of the time, which should not exceed 1 min (the step of simglucose, that
    a bite counts as eaten from its beginning on); each is solved in `_PARTS` steps. No compartment falls below 0:
    glucose that would is 0 until it rises (in simglucose it stays below 0 for good).
    """
    p, minute = _parameters(own), dt / bites
    h = minute / _PARTS
    insulin = PMOL * rate / p.BW
    stays, first, second = (jnp.unstack(w, axis=-1) for w in _weights(_leaks(p), h))

    def part(x: Compartments, carbs: Array, meal: Array) -> Compartments:
        flow = _inflow(p, x, carbs, insulin, meal)
        ahead = Compartments(*(k * v + w * s for k, v, w, s in zip(stays, x, first, flow, strict=True)))
        later = _inflow(p, ahead, carbs, insulin, meal)
        after = Compartments(*(v + w * (b - a) for v, w, a, b in zip(ahead, second, flow, later, strict=True)))
        return Compartments(*(jnp.maximum(v, 0.0) for v in after))._replace(uptake=after.uptake)

    def bite(now: tuple[Compartments, Array, Array], _: None) -> tuple[tuple[Compartments, Array, Array], None]:
        x, to_eat, meal = now
        eaten = jnp.minimum(EATING * minute, to_eat)
        meal = meal + 1000 * eaten
        carbs = 1000 * eaten / jnp.where(minute > 0, minute, 1.0)
        for _part in range(_PARTS):
            x = part(x, carbs, meal)
        return (x, to_eat - eaten, meal), None

    start = (Compartments(*jnp.unstack(body.x, axis=-1)), body.to_eat, body.meal)
    (x, to_eat, meal), _ = jax.lax.scan(bite, start, None, length=bites)
    return Body(jnp.stack(x, axis=-1), to_eat, meal)


def _parameters(own: Float[Array, "*b p"]) -> Parameters:
    return Parameters(*jnp.unstack(own, axis=-1))


def _x(body: Body, name: str) -> Float[Array, "*b"]:
    return body.x[..., Compartments._fields.index(name)]


def _leaks(p: Parameters) -> Float[Array, "*b 13"]:
    """How fast each compartment empties (1/min): most of it, where it is not linear."""
    leaks = Compartments(
        solid=p.kmax,
        liquid=p.kmax,
        gut=p.kabs,
        blood=p.k1,
        tissue=p.k2,
        insulin=p.m2 + p.m4,
        uptake=p.p2u,
        delay=p.ki,
        production=p.ki,
        liver=p.m1 + p.m30,
        depot=p.ka1 + p.kd,
        monomers=p.ka2,
        skin=p.ksc,
    )
    return jnp.stack(leaks, axis=-1)


def _inflow(p: Parameters, x: Compartments, carbs: Array, insulin: Array, meal: Array) -> Compartments:
    """What each compartment gains a minute beside its leak: dx/dt = inflow - leak x."""
    emptying = _emptying(p, x.solid + x.liquid, meal)
    produced = jnp.maximum(p.kp1 - p.kp2 * x.blood - p.kp3 * x.production, 0.0)
    appears = p.f * p.kabs * x.gut / p.BW
    excreted = p.ke1 * jnp.maximum(x.blood - p.ke2, 0.0)
    used = (p.Vm0 + p.Vmx * x.uptake) * x.tissue / (p.Km0 + x.tissue)
    concentration = x.insulin / p.Vi
    return Compartments(
        solid=carbs,
        liquid=p.kmax * x.solid + (p.kmax - emptying) * x.liquid,
        gut=emptying * x.liquid,
        blood=produced + appears - p.Fsnc - excreted + p.k2 * x.tissue,
        tissue=p.k1 * x.blood - used,
        insulin=p.m1 * x.liver + p.ka1 * x.depot + p.ka2 * x.monomers,
        uptake=p.p2u * (concentration - p.Ib),
        delay=p.ki * concentration,
        production=p.ki * x.delay,
        liver=p.m2 * x.insulin,
        depot=insulin,
        monomers=p.kd * x.depot,
        skin=p.ksc * x.blood,
    )


def _emptying(p: Parameters, stomach: Array, meal: Array) -> Array:
    """How fast the stomach empties (1/min): fast when full, slow in between, fast again at the end of a meal."""
    whole = jnp.where(meal > 0, meal, 1.0)
    full = jnp.tanh(2.5 / (1 - p.b) * (stomach / whole - p.b))
    empty = jnp.tanh(2.5 / p.d * (stomach / whole - p.d))
    return jnp.where(meal > 0, p.kmin + (p.kmax - p.kmin) / 2 * (full - empty + 2), p.kmax)


def _weights(leak: Float[Array, "*b 13"], h: Float[Array, ""]) -> tuple[Array, Array, Array]:
    """What stays of each compartment after `h`, and the weights of its inflow and of the change of its inflow."""
    decay = leak * h
    large = jnp.where(decay > _SMALL, decay, 1.0)
    exact = (large + jnp.expm1(-large)) / large**2
    series = 0.5 - decay / 6 + decay**2 / 24 - decay**3 / 120
    return jnp.exp(-decay), -jnp.expm1(-decay) / leak, h * jnp.where(decay > _SMALL, exact, series)
