"""The search for what all subjects share: the values under which their readings are likeliest, and how sure that is.

Subjects are linearised about their own likeliest shifts (`mechanism_marginal`), which are found anew after each search
by L-BFGS until nothing moves any more. Standard errors are those of the observed information, by differences of the
gradient. Whether what is missed is normal or has heavy tails is for the likelihood to say: spreads are those of a
normal distribution unless a heavy one is likelier.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.optimize import minimize

from biowm.core.errors import BadInput
from biowm.core.mechanism import Mechanism, parameters, with_parameters

from .mechanism import Mechanistic
from .mechanism_marginal import marginal
from .mechanism_walk import Walk

EDGE = 6.0  # how far a parameter may go from its start, on the unbounded scale (a factor of 400 above a bound)
PRIOR_SD = (3.0, 0.7, 1.0, 1.0)  # about the start (see Free)
_ROUNDS, _STEPS, _PASSES = 10, 25, 8  # linearisations, steps of a search each, passes to the likeliest shifts
_STILL = 0.03  # of a standard error: by less nothing moves any more
_SETTLED = 3e-3  # the same of a subject's shifts, on the unbounded scale
_FURTHEST = 1.0  # that a subject's shift moves at once
_DIFFERENCE = 0.3  # of a standard error: over which the gradient is differenced
_SINGULAR = 1e-10  # of the largest information: less is none, in double precision
_NARROWER = 0.23  # the logarithm by which the scale of a heavy tail is below the sd of a normal distribution


class Free(NamedTuple):
    """What is fitted, unbounded: parameters, and logarithms of the sd of shifts, of drift and of noise."""

    theta: Float[Array, " p"]
    sd: Float[Array, " e"]
    drift: Float[Array, " k"]
    noise: Float[Array, " d"]


class Found(NamedTuple):
    """The likeliest values, their covariance, each subject's shifts and what to say of the search."""

    flat: Float[np.ndarray, " h"]
    covariance: Float[np.ndarray, "h h"]
    shifts: Float[np.ndarray, "b e"]
    notes: tuple[str, ...]


class _About(NamedTuple):
    """Where subjects are linearised, and how the log likelihood of each changes with that.

    The likeliest shifts follow what is fitted. With `pull` their way belongs to the slope: without it the determinant
    of the Hessian would draw typical values where shifts are best known, and biases them by a standard error.
    """

    shifts: Float[np.ndarray, "b e"]
    pull: Float[np.ndarray, "b e"]


class _Look(NamedTuple):
    """What was seen at some values: the loss, its slope, each subject's gradient, and where to linearise next."""

    loss: float
    slope: Float[np.ndarray, " h"]
    each: Float[np.ndarray, "b h"]
    next: _About

    @property
    def good(self) -> bool:
        return bool(np.isfinite(self.loss) and np.isfinite(self.slope).all())


class _Search(NamedTuple):
    """What stays the same in a search."""

    base: Mechanistic
    walk: Walk
    start: Free
    heavy: bool
    broken: list[str]

    def look(self, flat: Float[np.ndarray, " h"], about: _About) -> _Look:
        """Loss and slope where subjects are linearised `about` shifts; the prior is about the start."""
        here, shifts, pull = (jnp.asarray(a, jnp.float32) for a in (flat, *about))
        found = _scores(self.base, here, self.walk, self.start, shifts, pull, jnp.asarray(self.heavy))
        value, each, *moved = (np.asarray(a, np.float64) for a in found)
        off = self.precision * (flat - flattened(self.start))
        slope = off - each.sum(0)
        names = _names(self.base, self.start)
        self.broken.extend(n for n, v in zip(names, slope, strict=True) if not np.isfinite(v) and n not in self.broken)
        return _Look(
            0.5 * float(np.sum(off * (flat - flattened(self.start)))) - value.sum(), slope, each, _About(*moved)
        )

    def unit(self, seen: _Look) -> Float[np.ndarray, " h"]:
        """About one standard error of each, were the others known."""
        return 1 / np.sqrt(np.sum(seen.each**2, axis=0) + self.precision)

    @property
    def precision(self) -> Float[np.ndarray, " h"]:
        return np.concatenate([np.full(len(a), 1 / sd**2) for a, sd in zip(self.start, PRIOR_SD, strict=True)])


def climb(base: Mechanistic, walk: Walk, start: Free, flat: Float[np.ndarray, " h"]) -> Found:
    """The likeliest values from `flat` on. Raises BadInput where there is no gradient there."""
    nothing = np.zeros((walk.dt.shape[0], base.sd.shape[0]))
    about = _About(nothing, nothing)
    search = _Search(base, walk, start, False, [])
    flat, about, seen = _settle(search, flat, about)
    wider = flattened(Free(*(jnp.full_like(a, 0.0 if i == 0 else _NARROWER) for i, a in enumerate(start))))
    heavy = search._replace(heavy=True)
    notes = []
    if heavy.look(flat - wider, about).loss < seen.loss:
        flat, about, seen = _settle(heavy, flat - wider, about)
        search = heavy
        notes += ["readings are off as by Student's t with 4 degrees of freedom: spreads are its scales"]
    covariance, exact = _covariance(search, flat, about, seen)
    if not exact:
        notes += ["the likelihood has no top here: standard errors are by the subjects' gradients"]
    if search.broken:
        broken = ", ".join(search.broken)
        notes += [f"gradients of {broken} were not numbers for some values: the last good ones are kept"]
    return Found(flat, covariance, about.shifts, tuple(notes))


@eqx.filter_jit
def _scores(
    base: Mechanistic,
    flat: Float[Array, " h"],
    walk: Walk,
    like: Free,
    about: Float[Array, "b e"],
    pull: Float[Array, "b e"],
    heavy: Bool[Array, ""],
) -> tuple[Array, Array, Array, Array]:
    """Per subject: log likelihood, its gradient by what is fitted, the mean of the shifts and the pull there."""

    def one(flat: Array, walk: Walk, about: Array, pull: Array) -> tuple[Array, tuple[Array, Array]]:
        value, own = marginal(at(base, split(flat, like)), walk, about, heavy)
        value = value + jnp.sum(pull * (own.m - about))
        return value, (value, own.m)

    def each(walk: Walk, about: Array, pull: Array) -> tuple[Array, Array, Array, Array]:
        (gradient, along), (value, shifts) = jax.grad(one, (0, 2), has_aux=True)(flat, walk, about, pull)
        return value, gradient, shifts, along + pull  # `about` itself is taken from what it pulls

    return jax.vmap(each)(walk, about, pull)


def _settle(
    search: _Search, flat: Float[np.ndarray, " h"], about: _About
) -> tuple[Float[np.ndarray, " h"], _About, _Look]:
    """Search and linearise anew by turns, until neither moves."""
    for _ in range(_ROUNDS):
        before, (about, seen) = flat, _centre(search, flat, about)
        if not seen.good:
            raise BadInput(
                f"mechanism {type(search.base.mechanism).__name__}: found a gradient that is not a number for "
                f"{', '.join(search.broken) or 'the likelihood'} at the start, expected equations that can be solved "
                "from there"
            )
        flat = _uphill(search, flat, about, seen)
        if np.max(np.abs(flat - before) / search.unit(seen)) < _STILL:
            break
    return flat, *_centre(search, flat, about)


def _centre(search: _Search, flat: Float[np.ndarray, " h"], about: _About) -> tuple[_About, _Look]:
    """The likeliest shifts at these values, and what is seen about them.

    Steps that turn back have gone too far: they are halved, of shifts and of their pull, which else grows without end.
    """
    seen, last, share = search.look(flat, about), np.zeros_like(about.shifts), np.ones((len(about.shifts), 1))
    for _ in range(_PASSES):
        move = np.clip(seen.next.shifts - about.shifts, -_FURTHEST, _FURTHEST)
        if not seen.good or np.max(np.abs(move)) < _SETTLED:
            break
        share = np.where(np.sum(move * last, axis=1, keepdims=True) < 0, 0.5 * share, share)
        last = move
        there = _About(about.shifts + share * move, about.pull + share * (seen.next.pull - about.pull))
        further = search.look(flat, there)
        if not further.good:
            break
        about, seen = there, further
    return _About(about.shifts, about.pull + share * (seen.next.pull - about.pull)), seen


def _uphill(search: _Search, flat: Float[np.ndarray, " h"], about: _About, seen: _Look) -> Float[np.ndarray, " h"]:
    """The best values of one search, in steps of their standard errors."""
    unit, best = search.unit(seen), [seen.loss, flat]

    def objective(steps: np.ndarray) -> tuple[float, np.ndarray]:
        here = flat + unit * steps
        look = search.look(here, about)
        if not look.good:
            return 1e12, np.zeros_like(flat)  # the search turns back to where it was
        if look.loss < best[0]:
            best[:] = [look.loss, here]
        return look.loss, unit * look.slope

    centre = flattened(search.start)
    reach = np.concatenate([np.full(len(a), EDGE if i == 0 else 4.0) for i, a in enumerate(search.start)])
    limits = list(zip((centre - reach - flat) / unit, (centre + reach - flat) / unit, strict=True))
    options = {"maxiter": _STEPS, "ftol": 1e-7, "gtol": _STILL / 3}
    minimize(objective, np.zeros_like(flat), jac=True, method="L-BFGS-B", bounds=limits, options=options)
    return best[1]


def _covariance(
    search: _Search, flat: Float[np.ndarray, " h"], about: _About, seen: _Look
) -> tuple[Float[np.ndarray, "h h"], bool]:
    """The inverse of the observed information, or of the gradients' outer products where that has no inverse."""
    outer = seen.each.T @ seen.each + np.diag(search.precision)
    by = _DIFFERENCE / np.sqrt(np.diag(outer))
    slopes = []
    for i, step in enumerate(by):
        ends = [_moved(search, flat + sign * step * np.eye(len(flat))[i], about) for sign in (1.0, -1.0)]
        slopes.append((ends[0] - ends[1]) / (2 * step))
    information = 0.5 * (np.array(slopes) + np.array(slopes).T)
    exact = bool(np.isfinite(information).all() and np.linalg.eigvalsh(information).min() > 0)
    return _inverse(information if exact else outer), exact


def _inverse(information: Float[np.ndarray, "h h"]) -> Float[np.ndarray, "h h"]:
    """The inverse, with positive variances however unlike the scales of what is known and what is not.

    NaN where the information is no number.
    """
    if not np.isfinite(information).all():
        return np.full_like(information, np.nan)
    unit = 1 / np.sqrt(np.diag(information))
    values, ways = np.linalg.eigh(information * unit[:, None] * unit[None, :])
    return (ways / np.maximum(values, _SINGULAR)) @ ways.T * unit[:, None] * unit[None, :]


def _moved(search: _Search, flat: Float[np.ndarray, " h"], about: _About) -> Float[np.ndarray, " h"]:
    """The slope at values near by, linearised about the shifts that are likeliest there."""
    return search.look(flat, search.look(flat, about).next).slope


def valued(mechanism: Mechanism, theta: Float[Array, " p"]) -> Mechanism:
    """The mechanism with these values of its parameters (unbounded scale)."""
    return with_parameters(mechanism, {n: p.value(theta[i]) for i, (n, p) in enumerate(parameters(mechanism).items())})


def at(base: Mechanistic, free: Free) -> Mechanistic:
    """The world with these values."""
    values = (valued(base.mechanism, free.theta), jnp.exp(free.sd), jnp.exp(free.drift), jnp.exp(free.noise))
    return eqx.tree_at(lambda w: (w.mechanism, w.sd, w.drift, w.noise), base, values)


def flattened(free: Free) -> Float[np.ndarray, " h"]:
    """All that is fitted, one after the other."""
    return np.concatenate([np.asarray(a, np.float64) for a in free])


def split(flat: Array | np.ndarray, like: Free) -> Free:
    """The inverse of `flattened`."""
    ends = np.cumsum([a.shape[0] for a in like])
    flat = jnp.asarray(flat, jnp.float32)
    return Free(*(flat[e - a.shape[0] : e] for e, a in zip(ends, like, strict=True)))


def _names(base: Mechanistic, start: Free) -> list[str]:
    own = list(parameters(base.mechanism))
    varying = [n for n, p in parameters(base.mechanism).items() if p.varies != "no"]
    rest = [f"drift {i}" for i in range(len(start.drift))] + [f"noise of {c.name}" for c in base.spec.channels]
    return own + [f"sd of {n}" for n in varying] + rest
