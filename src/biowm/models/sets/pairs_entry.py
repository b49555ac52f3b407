"""The trunk of pairwise interventions in the race: where it runs, and how its tables are made from readings."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from biowm.core.path import Path
from biowm.core.registry import register
from biowm.core.spec import WorldSpec

from ..candidate import Candidate, Material
from ..tracker import Frame
from .pairs import PairTrunk
from .pairs_fit import learn_weights, low_rank, posterior
from .pairs_terms import Members
from .readings import readings_of

_CHANNELS = 8  # each is a fit of its own
_LEAST_NOISE = 1e-4
_TOGETHER = 6  # members of a set that are looked at two by two, at most


@register("candidates", "pairs")
def candidates() -> tuple[Candidate, ...]:
    """The Gaussian process over pairs, where two members were held together often enough and few channels are read."""

    def fit(m: Material) -> PairTrunk:
        return fit_pairs(m.spec, m.frame, m.paths)

    return (Candidate("pairs", False, fit, origins=("start",), sets=True, runs=runs),)


def runs(spec: WorldSpec, paths: Path) -> bool:
    """Whether conditions of two members are as many as these members, channels are 8 at most, and one time is read."""
    if len(spec.channels) > _CHANNELS:
        return False
    card = np.sort(np.asarray(paths.plan.card), axis=1)
    new = np.concatenate([card[:, :1] >= 0, (np.diff(card, axis=1) > 0) & (card[:, 1:] >= 0)], axis=1)
    two = new.sum(1) == 2
    t, seen = np.asarray(paths.t), np.isfinite(np.asarray(paths.x)).any(-1)
    leads = np.unique((t - t[:, :1])[seen])
    return int(two.sum()) >= max(len(np.unique(card[two][card[two] >= 0])), 3) and int((leads > 0).sum()) == 1


def fit_pairs(spec: WorldSpec, frame: Frame, paths: Path) -> PairTrunk:
    """Tables of every member and every two of them, each channel for itself, from stacked training conditions.

    Responses to one member are the means of what was read of it; a member never read alone is taken for a usual one,
    and the spread of the others is added to what is not known of it and of its pairs. Readings of larger sets are not
    learned from.
    """
    read = readings_of(spec, frame, paths)
    given, z = np.asarray(read.course.dose) != 0, read.z.astype(np.float64)
    target = targets(spec)
    tables = []
    for j, control in enumerate(read.control.tolist()):
        seen = np.isfinite(z[:, j])
        tables.append(_channel(given[seen], z[seen, j], target, control))
    base, single, beyond, single_var, pair_var, noise = (np.stack(parts, -1) for parts in zip(*tables, strict=True))
    arrays = (base, single, beyond, single_var, pair_var, noise)
    together = int(np.clip(given.sum(1).max(), 2, _TOGETHER))
    return PairTrunk(spec, frame.spacing, together, frame, read.frame, *(jnp.asarray(a, jnp.float32) for a in arrays))


def targets(spec: WorldSpec) -> Int[np.ndarray, " a"]:
    """A number for what each member aims at; one that names no target is by itself."""
    names = [f"target {c.target}" if c.target else f"member {c.name}" for c in spec.actions]
    return np.unique(names, return_inverse=True)[1]


def _channel(
    given: np.ndarray, z: Float[np.ndarray, " r"], target: Int[np.ndarray, " a"], control: float
) -> tuple[np.ndarray, ...]:
    """Base, singles, what pairs do beyond them, variances and noise of one channel (`control` NaN: not known)."""
    count, n = given.sum(1), given.shape[1]
    alone, none, two = (count == k for k in (1, 0, 2))
    base = control if np.isfinite(control) else float(z[none].mean()) if none.any() else 0.0
    times = given[alone].sum(0)
    read = np.flatnonzero(times)
    total = given[alone].T.astype(float) @ (z[alone] - base)
    usual = total.sum() / max(times.sum(), 1)
    single = np.where(times > 0, total / np.maximum(times, 1), usual)
    spread = float(single[read].var()) if len(read) > 1 else 1.0

    pairs = np.stack([given[two].argmax(1), n - 1 - given[two][:, ::-1].argmax(1)], 1)
    middle, scale = float(z[two].mean()), max(float(z[two].std()), 1e-6)
    y = (z[two] - middle) / scale
    sd = float(single[read].std()) if len(read) else 0.0
    members = Members((single - single[read].mean()) / sd if sd > 1e-9 else np.zeros(n), target)
    weights = learn_weights(members, pairs, y)
    every = np.stack(np.triu_indices(n, 1), 1)
    found = posterior(members, weights, pairs, y, np.concatenate([every, pairs]))
    rest = low_rank(members, weights, pairs, y - found.mean[len(every) :])
    i, j = every.T
    mean, variance = np.zeros((n, n)), np.zeros((n, n))
    mean[i, j] = middle + scale * (found.mean[: len(every)] + rest[i, j]) - base - single[i] - single[j]
    unread = np.where(times > 0, 0.0, spread)
    noise = max(weights.noise * scale**2, _LEAST_NOISE)
    variance[i, j] = scale**2 * found.variance[: len(every)] + unread[i] + unread[j]
    single_var = np.where(times > 0, noise / np.maximum(times, 1), spread)
    return np.asarray(base), single, mean + mean.T, single_var, variance + variance.T, np.asarray(noise)
