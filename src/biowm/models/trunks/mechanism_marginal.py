"""How likely one subject's readings are under a mechanism, whatever its shifts: first order, about its own shifts.

The mechanism is linearised about some shifts and about the states that follow from them and the readings. Of what is
then linear and normal the filter gives the density of all readings and the mean of the shifts, both exactly: that mean
is a step of Gauss and Newton towards the likeliest shifts, and linearised there the density is the first-order
conditional one (Lindstrom and Bates 1990, doi:10.2307/2532087), which is Laplace's approximation with the Hessian of
Gauss and Newton; its determinant is the product of the variances of what the filter misses. Noise has one variance in
link space, so its spread depends on no shift. Readings below the limit of quantification count as such (M3 of Beal
2001, doi:10.1023/A:1012299115260).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float

from .mechanism import Mechanistic
from .mechanism_filter import FREE, WILD, Normal, absorb, carry
from .mechanism_walk import Walk


def marginal(
    world: Mechanistic, walk: Walk, about: Float[Array, " e"], heavy: Bool[Array, ""]
) -> tuple[Float[Array, ""], Normal]:
    """Log likelihood of one subject's readings, linearised about shifts; what is then believed of the shifts.

    `heavy`: what the filter misses has Student's t with four degrees of freedom, not a normal distribution.
    """
    e = about.shape[0]
    centre, spread = world.expected(walk.traits)
    first, J = world.opening(about, spread)
    by = jnp.concatenate([(centre - about) / spread, jnp.zeros(J.shape[1] - e)])
    whole = Normal(first + jnp.sum(J * by[None, :], axis=1), J @ J.T)
    states = Normal(first[e:], J[e:, e:] @ J[e:, e:].T)  # given the shifts

    def body(carried: tuple[Normal, Normal], now: Walk) -> tuple[tuple[Normal, Normal], Float[Array, ""]]:
        ahead = _ahead(world, about, *carried, now)
        whole, states = jax.tree.map(lambda new, old: jnp.where(now.dt > 0, new, old), ahead, carried)
        whole, states, gained = _read(world, about, whole, states, now.x, heavy)
        return (whole, states), gained

    steps = Walk(walk.dt, walk.rate, walk.bolus, walk.x, jnp.zeros((walk.dt.shape[0], 0)))
    (whole, _), gained = jax.lax.scan(body, (whole, states), steps)
    return jnp.sum(gained), Normal(whole.m[:e], whole.P[:e, :e])


def _ahead(
    world: Mechanistic, about: Float[Array, " e"], whole: Normal, states: Normal, now: Walk
) -> tuple[Normal, Normal]:
    """Both beliefs after boluses and a gap, linearised about the likeliest states at these shifts."""

    def move(w: Float[Array, " n"]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        after = world.moved(world.struck(w, now.bolus), now.rate, now.dt)
        return after, after

    e, point, noise = about.shape[0], jnp.concatenate([about, states.m]), world.wander(now.dt) ** 2
    J, after = jax.jacfwd(move, has_aux=True)(point)
    m = after + jnp.sum(J * (whole.m - point)[None, :], axis=1)
    inner = Normal(after[e:], carry(J[e:, e:], states.P) + jnp.diag(noise[e:]))
    return Normal(m, carry(J, whole.P) + jnp.diag(noise)), inner


def _read(
    world: Mechanistic,
    about: Float[Array, " e"],
    whole: Normal,
    states: Normal,
    x: Float[Array, " d"],
    heavy: Bool[Array, ""],
) -> tuple[Normal, Normal, Float[Array, ""]]:
    """Both beliefs after the readings of one time, one after the other, and their log density."""

    def read(w: Float[Array, " n"]) -> tuple[Float[Array, " d"], Float[Array, " d"]]:
        level = world.level_of(w)
        return level, level

    e, point, mask = about.shape[0], jnp.concatenate([about, states.m]), jnp.isfinite(x)
    z, below = world.told(jnp.where(mask, x, 1.0), mask)
    H, level = jax.jacfwd(read, has_aux=True)(point)
    total, here = jnp.zeros(()), states.m
    far = jnp.where(heavy & (jnp.arange(point.shape[0]) < e), WILD, FREE)
    for j in range(x.shape[0]):
        h, seen, off = H[j], mask[j], z[j] - level[j]
        new, miss, s = absorb(whole, h, off + jnp.sum(h * point), world.noise[j], below[j], far)
        inner = absorb(states, h[e:], off + jnp.sum(h[e:] * here), world.noise[j], below[j], far[e:])[0]
        whole, states = (_keep(a, b, seen) for a, b in ((new, whole), (inner, states)))
        known = jnp.where(heavy, _heavy(miss, s), norm.logpdf(miss, scale=jnp.sqrt(s)))
        total = total + jnp.where(seen, jnp.where(below[j], norm.logcdf(miss / jnp.sqrt(s)), known), 0.0)
    return whole, states, total


def _keep(new: Normal, old: Normal, seen: Bool[Array, ""]) -> Normal:
    return jax.tree.map(lambda a, b: jnp.where(seen, a, b), new, old)


def _heavy(miss: Float[Array, ""], s: Float[Array, ""]) -> Float[Array, ""]:
    """Log density of Student's t with 4 degrees of freedom and squared scale `s`."""
    return jnp.log(0.375) - 0.5 * jnp.log(s) - 2.5 * jnp.log1p(miss * miss / (4 * s))
