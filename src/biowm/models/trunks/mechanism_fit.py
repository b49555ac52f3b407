"""Fitting a mechanism: what all subjects share by the filter's likelihood and its gradient, batches by EM.

Gradients are taken subject by subject: the sum of their outer products is the information in the data (Berndt, Hall,
Hall and Hausman 1974). All that is unbounded has a prior, also the spreads of shifts: none is ever fitted freely.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import minimize

from biowm.core import registry
from biowm.core.buckets import bucket
from biowm.core.errors import BadInput
from biowm.core.mechanism import Mechanism, parameters, with_parameters
from biowm.core.mechanism_units import Declared, Wiring, wire
from biowm.core.path import Path, take
from biowm.core.schedule import between
from biowm.core.spec import WorldSpec

from ..candidate import Candidate
from ..tracker import Frame
from .mechanism import Mechanistic, Notes
from .mechanism_start import accurate, blank

MOST_TIMES, MOST_READINGS = 96, 4096  # of a subject, and of all: more subjects where they are read less often
EDGE = 6.0  # how far a parameter may go from its start, on the unbounded scale (a factor of 400 above a bound)
_ROUNDS, _STEPS = 3, 100
_FIRST = tuple(float(np.log(v)) for v in (0.4, 0.15, 0.2))  # of shifts, drift and noise (see Free)
_WIDE = float(np.log(2.5))  # the search begins with wide shifts: from narrow ones it can end where drift explains all
_PRIOR_SD = (3.0, 0.7, 1.0, 1.0)  # about the start


class Free(NamedTuple):
    """What is fitted, unbounded: parameters, and logarithms of the sd of shifts, of drift and of noise."""

    theta: Float[Array, " p"]
    sd: Float[Array, " e"]
    drift: Float[Array, " k"]
    noise: Float[Array, " d"]


Fit = Callable[[WorldSpec, Frame, Path, Mechanism, Wiring], Mechanistic]


class Walk(NamedTuple):
    """Training paths as the filter walks them: gap, rates and doses before each reading, the reading, the traits."""

    dt: Float[Array, "*b t"]
    rate: Float[Array, "*b t a"]
    bolus: Float[Array, "*b t a"]
    x: Float[Array, "*b t d"]
    traits: Float[Array, "*b s"]


def fit_mechanism(spec: WorldSpec, frame: Frame, paths: Path, mechanism: Mechanism, wiring: Wiring) -> Mechanistic:
    """Fit a wired mechanism to training paths (stacked), from the values it holds.

    Raises: BadInput where a parameter starts outside its bounds, a gradient is not a number there, or the equations
    cannot be solved to 1 % in steps of a 64th of a gap.
    """
    walk, count = walk_of(spec, paths)
    gaps = gaps_of(walk)
    base = accurate(blank(spec, frame, paths, mechanism, wiring), *gaps)
    start = first_values(base)
    by_batch = np.array([p.varies == "batch" for p in parameters(mechanism).values() if p.varies != "no"], bool)
    levels = base.shift.shape[0]
    if levels and by_batch.any():
        base = eqx.tree_at(lambda w: w.between, base, jnp.asarray(np.where(by_batch, 0.4, 0.0), jnp.float32))
    flat, notes = _flat(start._replace(sd=start.sd + _WIDE)), ()
    information, kept = np.empty((0, 0)), None
    for _ in range(_ROUNDS if levels and by_batch.any() else 1):
        try:
            flat, information, shifts, notes = _climb(base, walk, start, flat)
        except BadInput:
            if kept is None:
                raise
            (base, flat), notes = kept, (*notes, "with the batches' own shifts there was no likelihood: left as before")
            break
        kept = base, flat
        base = _batches(at(base, _split(flat, start)), walk, shifts[:count], by_batch)
        flat, base = _centred(flat, base)
    world = at(base, _split(flat, start))
    doubt = np.sqrt(np.diag(np.linalg.inv(information)))[: len(start.theta)]
    notes = (*notes, *edges(world, start, flat))
    return dataclasses.replace(accurate(world, *gaps), doubt=jnp.asarray(doubt, jnp.float32), notes=Notes(notes))


def entrant(declared: Declared, spec: WorldSpec, fit: Fit = fit_mechanism, how: str = "") -> Candidate:
    """The candidate of a declared mechanism, fitted by `fit` (said in its name as `how`); BadInput if it cannot run."""
    wiring = wire(declared, spec)
    return Candidate(named(declared, how), False, lambda m: fit(m.spec, m.frame, m.paths, declared.mechanism, wiring))


def named(declared: Declared, how: str = "") -> str:
    """The name of the candidate of a declared mechanism."""
    kind = type(declared.mechanism)
    return f"mechanism({', '.join(filter(None, (registry.name_of(kind) or kind.__name__, how)))})"


def valued(mechanism: Mechanism, theta: Float[Array, " p"]) -> Mechanism:
    """The mechanism with these values of its parameters (unbounded scale)."""
    return with_parameters(mechanism, {n: p.value(theta[i]) for i, (n, p) in enumerate(parameters(mechanism).items())})


def at(base: Mechanistic, free: Free) -> Mechanistic:
    """The world with these values."""
    values = (valued(base.mechanism, free.theta), jnp.exp(free.sd), jnp.exp(free.drift), jnp.exp(free.noise))
    return eqx.tree_at(lambda w: (w.mechanism, w.sd, w.drift, w.noise), base, values)


def score(world: Mechanistic, walk: Walk) -> tuple[Float[Array, ""], Float[Array, " e"]]:
    """Log likelihood of one subject's readings, and the mean of its shifts after the last."""

    def body(belief, now):
        dt, rate, bolus, x = now
        ahead = world.predict(world.impulse(belief, bolus), rate, dt)
        belief = jax.tree.map(lambda a, b: jnp.where(dt > 0, a, b), ahead, belief)
        mask = jnp.isfinite(x)
        belief, gained = world.assimilate(belief, jnp.where(mask, x, 1.0), mask)
        return belief, jnp.sum(gained)

    end, gained = jax.lax.scan(body, world.begin(walk.traits), (walk.dt, walk.rate, walk.bolus, walk.x))
    return jnp.sum(gained), end.m[: world.sd.shape[0]]


@eqx.filter_jit
def _scores(base: Mechanistic, flat: Float[Array, " h"], walk: Walk, like: Free) -> tuple[Array, Array, Array]:
    """Per subject: log likelihood, its gradient by what is fitted, and the mean of the shifts."""

    def one(flat: Array, walk: Walk) -> tuple[Array, tuple[Array, Array]]:
        value, shifts = score(at(base, _split(flat, like)), walk)
        return value, (value, shifts)

    gradient, (value, shifts) = jax.vmap(jax.grad(one, has_aux=True), (None, 0))(flat, walk)
    return value, gradient, shifts


def _climb(
    base: Mechanistic, walk: Walk, start: Free, flat: Float[np.ndarray, " h"]
) -> tuple[Float[np.ndarray, " h"], Float[np.ndarray, "h h"], Float[np.ndarray, "b e"], tuple[str, ...]]:
    """The best values found, the information there, each subject's shifts, and what went wrong on the way."""
    centre = _flat(start)
    precision = np.concatenate([np.full(len(a), 1 / sd**2) for a, sd in zip(start, _PRIOR_SD, strict=True)])
    best: list = [np.inf]
    broken: list[str] = []

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        found = _scores(base, jnp.asarray(flat, jnp.float32), walk, start)
        value, gradient, shifts = (np.asarray(a, np.float64) for a in found)
        loss = 0.5 * np.sum(precision * (flat - centre) ** 2) - value.sum()
        slope = precision * (flat - centre) - gradient.sum(0)
        bad = ~np.isfinite(slope)
        if bad.any() or not np.isfinite(loss):
            broken.extend(n for n, b in zip(_names(base, start), bad, strict=True) if b and n not in broken)
            return 1e12, np.zeros_like(flat)  # the search turns back to where it was
        if loss < best[0]:
            best[:] = [loss, flat.copy(), gradient.T @ gradient + np.diag(precision), shifts]
        return loss / len(value), slope / len(value)

    reach = np.concatenate([np.full(len(a), EDGE if i == 0 else 4.0) for i, a in enumerate(start)])
    limits = list(zip(centre - reach, centre + reach, strict=True))
    minimize(objective, flat, jac=True, method="L-BFGS-B", bounds=limits, options={"maxiter": _STEPS, "ftol": 1e-7})
    if not np.isfinite(best[0]):
        raise BadInput(
            f"mechanism {type(base.mechanism).__name__}: found a gradient that is not a number for "
            f"{', '.join(broken) or 'the likelihood'} at the start, expected equations that can be solved from there"
        )
    note = f"gradients of {', '.join(broken)} were not numbers for some values: the last good ones are kept"
    return best[1], best[2], best[3], (note,) if broken else ()


def _batches(world: Mechanistic, walk: Walk, shifts: Float[np.ndarray, "n e"], by_batch: np.ndarray) -> Mechanistic:
    """One EM step of the shifts that the subjects of a batch share, and of their spread among batches."""
    levels = world.shift.shape[0]
    if levels == 0 or not by_batch.any():
        return world
    place = world.wiring.batch
    member = np.nan_to_num(np.asarray(walk.traits, np.float64)[: len(shifts), place[0] : place[1]])
    within = np.maximum(np.asarray(world.sd, np.float64), 1e-2) ** 2
    among = np.maximum(np.asarray(world.between, np.float64), 1e-2) ** 2
    n = member.sum(0)[:, None]
    shift = np.where(by_batch, member.T @ shifts / (n + within / among), 0.0)
    spread = np.sqrt(np.mean(shift**2 + 1 / (n / within + 1 / among), axis=0))
    shift = np.where(n > 0, shift, np.nan)
    values = (jnp.asarray(shift, jnp.float32), jnp.asarray(np.where(by_batch, spread, 0.0), jnp.float32))
    return eqx.tree_at(lambda w: (w.shift, w.between), world, values)


def _centred(flat: Float[np.ndarray, " h"], world: Mechanistic) -> tuple[Float[np.ndarray, " h"], Mechanistic]:
    """What all batches that were met share belongs to the parameter, not to their shifts."""
    met = jnp.isfinite(world.shift)
    total = np.asarray(jnp.sum(jnp.where(met, world.shift, 0.0), 0), np.float64)
    mean = total / np.maximum(np.asarray(met).sum(0), 1)
    moved, varying = flat.copy(), [i for i, p in enumerate(parameters(world.mechanism).values()) if p.varies != "no"]
    moved[varying] += mean
    return moved, eqx.tree_at(lambda w: w.shift, world, world.shift - jnp.asarray(mean, jnp.float32)[None, :])


def edges(world: Mechanistic, start: Free, flat: Float[np.ndarray, " h"]) -> tuple[str, ...]:
    """Parameters that ran as far from their start as they may: the data do not hold them."""
    notes = []
    for i, (name, p) in enumerate(parameters(world.mechanism).items()):
        if abs(flat[i] - float(start.theta[i])) > EDGE - 1e-3:
            value = float(getattr(world.mechanism, name))
            notes.append(f"parameter {name} ran off and was stopped at {value:.3g} [{p.unit}]: the data do not hold it")
    return tuple(notes)


def first_values(base: Mechanistic) -> Free:
    """Where the search begins: the parameters the mechanism holds."""
    theta = []
    for name, p in parameters(base.mechanism).items():
        value = p.free(getattr(base.mechanism, name))
        if not np.isfinite(value):
            raise BadInput(
                f"mechanism {type(base.mechanism).__name__}, parameter {name!r}: found "
                f"{float(getattr(base.mechanism, name)):g}, expected a value within its bounds ({p.low}, {p.high})"
            )
        theta.append(float(value))
    sizes = (base.sd.shape[0], base.drift.shape[0], base.noise.shape[0])
    rest = (jnp.full(n, first, jnp.float32) for n, first in zip(sizes, _FIRST, strict=True))
    return Free(jnp.asarray(theta, jnp.float32), *rest)


def _names(base: Mechanistic, start: Free) -> list[str]:
    own = list(parameters(base.mechanism))
    varying = [n for n, p in parameters(base.mechanism).items() if p.varies != "no"]
    rest = [f"drift {i}" for i in range(len(start.drift))] + [f"noise of {c.name}" for c in base.spec.channels]
    return own + [f"sd of {n}" for n in varying] + rest


def _flat(free: Free) -> Float[np.ndarray, " h"]:
    return np.concatenate([np.asarray(a, np.float64) for a in free])


def _split(flat: Array | np.ndarray, like: Free) -> Free:
    ends = np.cumsum([a.shape[0] for a in like])
    flat = jnp.asarray(flat, jnp.float32)
    return Free(*(flat[e - a.shape[0] : e] for e, a in zip(ends, like, strict=True)))


def walk_of(spec: WorldSpec, paths: Path, most: int | None = None) -> tuple[Walk, int]:
    """Some of the subjects (all, where they are few), padded with unread ones; how many they are."""
    most = MOST_READINGS // min(paths.t.shape[1], MOST_TIMES) if most is None else most
    chosen = np.random.default_rng(0).permutation(paths.t.shape[0])[:most]
    padded = np.concatenate([chosen, np.repeat(chosen[-1:], bucket(len(chosen)) - len(chosen))])
    some = take(paths, padded)
    x = np.array(some.x, np.float32)
    x[len(chosen) :] = np.nan
    dt, rate, bolus = (a[:, :MOST_TIMES] for a in _intervals(some, len(spec.actions)))
    return Walk(dt, rate, bolus, jnp.asarray(x[:, :MOST_TIMES]), jnp.asarray(some.traits)), len(chosen)


@eqx.filter_jit
def _intervals(paths: Path, n_actions: int) -> tuple[Array, Array, Array]:
    def one(path: Path) -> tuple[Array, Array, Array]:
        before = jnp.concatenate([path.t[:1], path.t[:-1]])
        rate, bolus = jax.vmap(lambda a, b: between(path.plan, a, b, n_actions))(before, path.t)
        return path.t - before, rate, bolus

    return jax.vmap(one)(paths)


def gaps_of(walk: Walk, most: int = 256) -> tuple[Array, Array, Array]:
    """Rates, lengths and first readings of some of the gaps."""
    dt = np.asarray(walk.dt[:, 1:]).reshape(-1)
    ahead = np.flatnonzero(dt > 0)
    some = np.random.default_rng(0).choice(ahead, most)
    rate, x = (np.asarray(a).reshape(dt.size, a.shape[-1])[some] for a in (walk.rate[:, 1:], walk.x[:, :-1]))
    return jnp.asarray(rate), jnp.asarray(dt[some]), jnp.asarray(x)
