"""Fitting a mechanism: what all subjects share by the likelihood of their readings, batches by EM.

All that is unbounded has a prior, also the spreads of shifts: none is ever fitted freely.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from biowm.core import registry
from biowm.core.errors import BadInput
from biowm.core.mechanism import Mechanism, parameters
from biowm.core.mechanism_units import Declared, Wiring, wire
from biowm.core.path import Path
from biowm.core.spec import WorldSpec

from ..candidate import Candidate
from ..tracker import Frame
from .mechanism import Mechanistic, Notes
from .mechanism_climb import EDGE, Free, at, climb, flattened, split
from .mechanism_start import accurate, blank
from .mechanism_walk import Walk, gaps_of, walk_of

_ROUNDS = 3
_FIRST = tuple(float(np.log(v)) for v in (0.4, 0.15, 0.2))  # of shifts, drift and noise (see Free)
_WIDE = float(np.log(2.5))  # the search begins with wide shifts: from narrow ones it can end where drift explains all


Fit = Callable[[WorldSpec, Frame, Path, Mechanism, Wiring], Mechanistic]


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
    flat, kept, notes = flattened(start._replace(sd=start.sd + _WIDE)), None, ()
    for _ in range(_ROUNDS if levels and by_batch.any() else 1):
        try:
            found = climb(base, walk, start, flat)
        except BadInput:
            if kept is None:
                raise
            base, flat, found = kept
            notes = ("with the batches' own shifts there was no likelihood: left as before",)
            break
        flat, kept = found.flat, (base, found.flat, found)
        off = found.shifts - np.asarray(jax.vmap(lambda traits, w=base: w.expected(traits)[0])(walk.traits))
        base = _batches(at(base, split(flat, start)), walk, found.shifts[:count], by_batch)
        flat, base = _centred(flat, base)
    world = at(base, split(flat, start))
    notes = (*found.notes, *notes, *edges(world, start, flat))
    shrinkage = 1 - np.std(off[:count], axis=0) / np.asarray(world.sd, np.float64)
    doubt = np.sqrt(np.diag(found.covariance))
    told = (jnp.asarray(a, jnp.float32) for a in (doubt, shrinkage))
    world = eqx.tree_at(lambda w: (w.doubt, w.shrinkage), accurate(world, *gaps), tuple(told))
    return dataclasses.replace(world, notes=Notes(notes))


def entrant(declared: Declared, spec: WorldSpec, fit: Fit = fit_mechanism, how: str = "") -> Candidate:
    """The candidate of a declared mechanism, fitted by `fit` (said in its name as `how`); BadInput if it cannot run."""
    wiring = wire(declared, spec)
    return Candidate(named(declared, how), False, lambda m: fit(m.spec, m.frame, m.paths, declared.mechanism, wiring))


def named(declared: Declared, how: str = "") -> str:
    """The name of the candidate of a declared mechanism."""
    kind = type(declared.mechanism)
    return f"mechanism({', '.join(filter(None, (registry.name_of(kind) or kind.__name__, how)))})"


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
