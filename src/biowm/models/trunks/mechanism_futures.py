"""Fitting a mechanism by its futures: whole curves foretold from the first reading, whatever the filter would say.

The one-step likelihood of `mechanism_fit` forgives equations that drift away a little in every gap, because the next
reading puts them right; a forecast has no next reading. Here the parameters (and the shifts that batches share) follow
the gradient of a curve's own loss: one minus its concordance (doi:10.2307/2532051) in the study's units, and a
quarter of its mean squared miss in standardised link space. A fixed number of short steps from the declared values is
part of the regularisation: parameters that no curve asks for stay where they were declared. Spreads are three numbers
(of shifts, of drift, of readings), by the CRPS of the filter's own forecasts from two readings.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, Int
from scipy.optimize import minimize

from biowm.core.concordance import concordance
from biowm.core.errors import BadInput
from biowm.core.mechanism import Mechanism, parameters, solve, vector
from biowm.core.mechanism_units import Wiring
from biowm.core.path import Path
from biowm.core.spec import WorldSpec

from ..tracker import Frame
from .mechanism import Mechanistic, Notes
from .mechanism_climb import at, valued
from .mechanism_fit import first_values
from .mechanism_start import accurate, blank
from .mechanism_walk import Walk, gaps_of, walk_of

_SUBJECTS, _STEPS, _RATE = 64, 200, 0.06
_MISS = 0.25  # of the squared miss beside 1 - concordance
_PRIOR_SD, _SHIFT_SD = 3.0, 0.5  # of parameters about their start, of the shifts of batches (unbounded scale)
_BELIEVED = -2.0  # the first reading is nearly taken at its word: added to the logarithm of the noise
_PRIOR = 0.05  # of the prior beside the loss of one subject
_SPREADS = (0.2, 0.1, 0.1)  # of shifts, drift and readings, where the search begins
_EVALUATIONS = 40  # of the search for three spreads
_STEEP = 0.05  # of the loss: what a parameter may still gain a unit (unbounded scale) where the steps end


class Descent(NamedTuple):
    """Parameters and batch shifts (NaN of batches not met), their loss and its steepness along each parameter.

    `bad` says of each parameter whether its gradient was no number somewhere on the way.
    """

    theta: Float[Array, " p"]
    shift: Float[Array, "l e"]
    loss: Float[Array, ""]
    slope: Float[Array, " p"]
    bad: Bool[Array, " p"]


def fit_futures(spec: WorldSpec, frame: Frame, paths: Path, mechanism: Mechanism, wiring: Wiring) -> Mechanistic:
    """Fit a wired mechanism to whole curves of at most 64 training subjects, from the values it holds.

    Raises: BadInput where a parameter starts outside its bounds, a gradient is not a number there, or the equations
    cannot be solved to 1 % in steps of a 64th of a gap.
    """
    walk, _ = walk_of(spec, paths, _SUBJECTS)
    gaps = gaps_of(walk)
    base = accurate(blank(spec, frame, paths, mechanism, wiring), *gaps)
    start = first_values(base)
    believing = at(base, start._replace(noise=start.noise + _BELIEVED))
    theta, shift, loss, slope, bad = _descend(believing, walk, _begin(believing, walk), start.theta)
    names = ", ".join(n for n, b in zip(parameters(mechanism), np.asarray(bad), strict=True) if b)
    if not np.isfinite(float(loss)):
        raise BadInput(
            f"mechanism {type(mechanism).__name__}: found a gradient that is not a number for "
            f"{names or 'the loss'} at the start, expected equations that can be solved from there"
        )
    note = f"gradients of {names} were not numbers for some values: the last good ones are kept"
    world = at(base, start._replace(theta=theta))
    notes = ((note,) if names else ()) + _underway(world, np.asarray(slope) > _STEEP * float(loss))
    met = jnp.maximum(jnp.sum(jnp.isfinite(shift), axis=0), 1).astype(jnp.float32)
    among = jnp.sqrt(jnp.nansum(shift**2, axis=0) / met)
    world = eqx.tree_at(lambda w: (w.shift, w.between), world, (shift, among))
    unsaid = eqx.tree_at(lambda w: (w.doubt, w.shrinkage), replace_fn=lambda a: jnp.full_like(a, jnp.nan), pytree=world)
    return dataclasses.replace(accurate(_spread(unsaid, walk), *gaps), notes=Notes(notes))


def _underway(world: Mechanistic, steep: Bool[np.ndarray, " p"]) -> tuple[str, ...]:
    """What to say of the parameters along which the loss is still `steep`: the steps were too few for them."""
    return tuple(
        f"parameter {name} was still on its way, at {float(getattr(world.mechanism, name)):.3g} [{p.unit}], when the "
        f"steps ended: declare a start nearer to it"
        for (name, p), falls in zip(parameters(world.mechanism).items(), steep, strict=True)
        if falls
    )


@eqx.filter_jit
def _descend(base: Mechanistic, walk: Walk, begin: Float[Array, "b n"], theta: Float[Array, " p"]) -> Descent:
    """The best values on the way."""
    p, (levels, e) = theta.shape[0], base.shift.shape
    kinds = [q.varies == "batch" for q in parameters(base.mechanism).values() if q.varies != "no"]
    by_batch = jnp.asarray(kinds, jnp.float32).reshape(1, e)
    member = jnp.nan_to_num(walk.traits[:, base.wiring.batch[0] : base.wiring.batch[1]])
    there = jnp.any(member > 0, axis=0).astype(jnp.float32)[:, None]
    count = jnp.sum(jnp.any(jnp.isfinite(walk.x), axis=(1, 2))).astype(jnp.float32)

    def parts(flat: Float[Array, " h"]) -> tuple[Float[Array, " p"], Float[Array, "l e"]]:
        """Shifts sum to nothing over the batches that were seen: a new one is an average one."""
        raw = flat[p:].reshape(levels, e)
        mean = jnp.sum(raw * there, axis=0, keepdims=True) / jnp.maximum(jnp.sum(there), 1.0)
        return flat[:p], (raw - mean) * there * by_batch

    def loss(flat: Float[Array, " h"]) -> Float[Array, ""]:
        own, shift = parts(flat)
        world = eqx.tree_at(lambda w: w.mechanism, base, valued(base.mechanism, own))
        each = jax.vmap(lambda who, w, path: _curve(world, w.at[:e].add(who @ shift), path))(member, begin, walk)
        prior = jnp.sum((own - theta) ** 2) / _PRIOR_SD**2 + jnp.sum(shift**2) / _SHIFT_SD**2
        return (jnp.sum(each) + _PRIOR * prior) / count

    tune = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.cosine_decay_schedule(_RATE, _STEPS)))

    def step(carry, _):
        flat, state, best, bad = carry
        value, slope = jax.value_and_grad(loss)(flat)
        odd = ~jnp.isfinite(slope)
        good = jnp.isfinite(value) & ~jnp.any(odd)
        best = jax.tree.map(lambda new, old: jnp.where(good & (value < best[0]), new, old), (value, flat, slope), best)
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to the power of integers
            change, state = tune.update(jnp.where(good, slope, jnp.zeros_like(slope)), state)
        return (jnp.where(good, flat + change, best[1]), state, best, bad | odd), None

    flat = jnp.concatenate([theta, jnp.zeros(levels * e)])
    first = (flat, tune.init(flat), (jnp.asarray(jnp.inf), flat, jnp.zeros_like(flat)), jnp.zeros(flat.shape[0], bool))
    (_, _, (value, flat, slope), bad), _ = jax.lax.scan(step, first, None, length=_STEPS)
    own, shift = parts(flat)
    return Descent(own, jnp.where(there > 0, shift, jnp.nan), value, jnp.abs(slope[:p]), bad[:p])


@eqx.filter_jit
def _begin(base: Mechanistic, walk: Walk) -> Float[Array, "b n"]:
    """What is believed most of each subject after the first time, without the shifts of a batch."""

    def one(x: Float[Array, "t d"], traits: Float[Array, " s"]) -> Float[Array, " n"]:
        mask = jnp.isfinite(x[0])
        return base.update(base.begin(jnp.full_like(traits, jnp.nan)), jnp.where(mask, x[0], 1.0), mask).m

    return jax.vmap(one)(walk.x, walk.traits)


def _curve(world: Mechanistic, start: Float[Array, " n"], walk: Walk) -> Float[Array, ""]:
    """The loss of one subject's curves, foretold from what is believed at the first time; 0 where nothing was read."""
    e, k = world.sd.shape[0], len(world.mechanism.states)
    own, idle = world.own(start[:e]), start[e + k :]

    def body(s: Float[Array, " s"], now: tuple[Array, Array, Array]) -> tuple[Array, Array]:
        dt, rate, bolus = now
        given = world.given(bolus)
        struck = jnp.where(jnp.any(given != 0), vector(own.impulse(s, given)), s)
        after = solve(own, struck, world.given(rate), dt * world.factors.clock, world.substeps)
        s = jnp.where(dt > 0, after, s)
        return s, world.levels(own, s, idle)

    level = jax.lax.scan(body, world.amounts(start[e : e + k]), (walk.dt, walk.rate, walk.bolus))[1]
    scale, losses = world.frame.scale, []
    seen = jnp.isfinite(walk.x)
    x = jnp.where(seen, walk.x, 1.0)
    z, said = scale.to_z(x), scale.to_x(level)
    for j in sorted(set(world.wiring.channel)):
        count = jnp.sum(seen[:, j])
        some = seen[:, j] | (count == 0)
        miss = jnp.sum(jnp.where(some, z[:, j] - level[:, j], 0.0) ** 2) / jnp.sum(some).astype(jnp.float32)
        unit = jnp.max(jnp.where(some, jnp.abs(x[:, j]), 0.0)) + jnp.finfo(jnp.float32).tiny
        loss = 1 - concordance(said[:, j] / unit, x[:, j] / unit, some) + _MISS * miss
        losses.append(jnp.where(count > 0, loss, 0.0))
    return jnp.mean(jnp.stack(losses))


def _spread(world: Mechanistic, walk: Walk) -> Mechanistic:
    """The world with one spread of shifts, of drift and of readings, by the CRPS of the filter's own forecasts."""
    there = np.isfinite(np.asarray(walk.x)).any(-1)
    middle = np.array([np.flatnonzero(row)[row.sum() // 2] if row.any() else 0 for row in np.atleast_2d(there)])
    origins = jnp.asarray(np.stack([np.zeros_like(middle), middle], axis=1), jnp.int32)
    start = np.log(_SPREADS)

    def objective(three: np.ndarray) -> float:
        value = float(_foretold(_spreads(world, jnp.asarray(three, jnp.float32)), walk, origins))
        return value + 1e-3 * float(np.sum((three - start) ** 2)) if np.isfinite(value) else 1e6

    simplex = np.vstack([start, start + np.diag([-1.0, -1.0, -1.0])])
    best = minimize(
        objective, start, method="Nelder-Mead", options={"maxfev": _EVALUATIONS, "initial_simplex": simplex}
    ).x
    return _spreads(world, jnp.asarray(best, jnp.float32))


def _spreads(world: Mechanistic, three: Float[Array, " 3"]) -> Mechanistic:
    sd = jnp.exp(three)
    same = (jnp.full_like(a, sd[i]) for i, a in enumerate((world.sd, world.drift, world.noise)))
    return eqx.tree_at(lambda w: (w.sd, w.drift, w.noise), world, tuple(same))


@eqx.filter_jit
def _foretold(world: Mechanistic, walk: Walk, origins: Int[Array, "b o"]) -> Float[Array, ""]:
    """Mean CRPS (standardised link space) of readings after each origin, by the filter that reads no further."""
    each = jax.vmap(lambda path, some: jax.vmap(lambda origin: _ahead(world, path, origin))(some))(walk, origins)
    total, count = each
    return jnp.mean(jnp.sum(total, axis=1) / jnp.maximum(jnp.sum(count, axis=1), 1.0))


def _ahead(world: Mechanistic, walk: Walk, origin: Int[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
    def body(belief, now):
        k, dt, rate, bolus, x = now
        ahead = world.predict(world.impulse(belief, bolus), rate, dt)
        belief = jax.tree.map(lambda a, b: jnp.where(dt > 0, a, b), ahead, belief)
        seen = jnp.isfinite(x)
        x = jnp.where(seen, x, 1.0)
        H = jax.jacfwd(world.level_of)(belief.m)
        cover = jnp.sum(jnp.sum(H[:, :, None] * belief.P[None, :, :], axis=1) * H, axis=1)
        sd = jnp.sqrt(cover + world.noise**2)
        u = (world.frame.scale.to_z(x) - world.level_of(belief.m)) / sd
        crps = sd * (u * (2 * norm.cdf(u) - 1) + 2 * norm.pdf(u) - 1 / jnp.sqrt(jnp.pi))
        asked = seen & (k > origin)
        belief = world.update(belief, x, seen & (k <= origin))
        return belief, (jnp.sum(jnp.where(asked, crps, 0.0)), jnp.sum(asked).astype(jnp.float32))

    steps = (jnp.arange(walk.dt.shape[0]), walk.dt, walk.rate, walk.bolus, walk.x)
    total, count = jax.lax.scan(body, world.begin(walk.traits), steps)[1]
    return jnp.sum(total), jnp.sum(count)
