"""The set trunk's fit: prior variances of every group by expectation maximisation, each channel its own, pooled."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from biowm.core.path import Path
from biowm.core.spec import WorldSpec

from ..tracker import Frame
from .course import courses, fit_set_frame
from .features import Design, blocks, features, fit_design, own_features
from .trunk import SetTrunk

_STEPS, _STRENGTH, _LEAST = 40, 2.0, 1e-8
_KEPT = 8  # readings of a condition that a belief holds at most


@dataclass(frozen=True)
class SetConfig:
    """Which groups of features, and whether a condition departs on its own from what its set says.

    `penalty`: in place of variances found by likelihood, weights are shrunk as if a reading's noise were so many times
    their prior variance (ridge). `most`: conditions of
    more members are not learned from (all are, where there are no others).
    """

    groups: tuple[str, ...]
    own: bool = True
    penalty: float | None = None
    most: int | None = None


@dataclass(frozen=True)
class Rows:
    """Training readings (standardised), their features, own features and condition."""

    features: Float[np.ndarray, "n p"]
    own: Float[np.ndarray, "n r"]
    z: Float[np.ndarray, "n d"]
    condition: Int[np.ndarray, " n"]
    members: Int[np.ndarray, " n"]

    def among(self, most: int) -> Rows:
        """Rows of conditions of at most so many members; all rows where no such condition was read."""
        kept = self.members <= most
        if not kept.any() or (most and not (kept & (self.members > 0)).any()):
            return self
        return Rows(*(getattr(self, f.name)[kept] for f in fields(self)))


def rows_of(
    spec: WorldSpec, frame: Frame, paths: Path, config: SetConfig, side: Float[np.ndarray, "a e"] | None = None
) -> tuple[Design, Rows]:
    """The design and the rows of stacked training conditions."""
    scales = fit_set_frame(spec, paths)
    along = courses(scales, paths, len(spec.actions))
    x = np.asarray(paths.x)
    b, t = np.nonzero(np.isfinite(x).any(-1))
    here = jax.tree.map(lambda leaf: leaf[b, t], along)
    design = fit_design(scales, np.asarray(here.dose), config.groups, side)
    make = jax.jit(jax.vmap(lambda c: (features(design, c), own_features(design, c))))
    psi, own = (np.asarray(a) for a in make(here))
    held = (np.asarray(here.dose) != 0).sum(1)
    return design, Rows(psi, own, np.asarray(frame.scale.to_z(x[b, t])), b, held)


def fit_sets(
    spec: WorldSpec, frame: Frame, paths: Path, config: SetConfig, side: Float[np.ndarray, "a e"] | None = None
) -> SetTrunk:
    """Fit the hierarchical additive trunk to stacked training conditions (single precision kept by scaling)."""
    known = [c.control for c in spec.channels]
    base, groups = np.zeros(len(known), np.float32), config.groups
    if None not in known:
        base = np.asarray(frame.scale.to_z(np.array(known, np.float32)[None])[0])
        groups = tuple(g for g in groups if g != "base")
    design, rows = rows_of(spec, frame, paths, replace(config, groups=groups), side)
    rows = replace(rows, z=rows.z - base)
    if config.most is not None:
        rows = rows.among(config.most)
    kept = min(_KEPT, int(np.bincount(rows.condition).max()) - 1)
    widths = np.array([b.width for b in blocks(design)])
    several = config.own and np.bincount(rows.condition).max() > 1
    condition = np.unique(rows.condition, return_inverse=True)[1] if several else np.zeros(len(rows.condition), int)
    member = jnp.asarray(np.repeat(np.arange(len(widths)), widths))
    level = np.zeros(rows.own.shape[1], int)
    level[1:] = 1
    with jax.enable_x64(True):
        found = _em(
            *(jnp.asarray(a, jnp.float64) for a in (rows.features, rows.own, rows.z)),
            jnp.asarray(condition), member, jnp.asarray(level), len(widths), int(condition.max()) + 1, several,
            jnp.inf if config.penalty is None else config.penalty,
        )  # fmt: skip
        mean, root, own, noise = (np.asarray(a, np.float32) for a in found)
    return SetTrunk(
        spec, frame.spacing, kept, frame.scale, design, jnp.asarray(base), jnp.asarray(mean), jnp.asarray(root),
        jnp.asarray(own[level]), jnp.asarray(noise),
    )  # fmt: skip


@partial(jax.jit, static_argnums=(6, 7, 8))
def _em(
    psi: Array, own: Array, z: Array, condition: Array, member: Array, level: Array, groups: int, n: int, several: bool,
    penalty: float | Array,
) -> tuple[Array, Array, Array, Array]:
    """Posterior mean [p d], root [d p p], own variances [2 d] and noise [d] after a fixed number of steps.

    The condition's own departure is integrated out: rows of one condition are whitened together.
    """
    p, d = psi.shape[1], z.shape[1]
    seen = jnp.isfinite(z)
    y = jnp.where(seen, z, 0.0)
    count = jnp.zeros(groups).at[member].add(1.0)
    hot = jax.nn.one_hot(condition, n, dtype=psi.dtype)  # [rows, conditions]

    def channel(prior: Array, v_own: Array, noise: Array, mask: Array, values: Array) -> tuple[Array, ...]:
        """Moments of one channel given its variances."""
        w = mask.astype(psi.dtype)
        rows, ours, v = psi * w[:, None], own * w[:, None], v_own[level]
        # Woodbury by condition: what the own departure takes off the precision.
        inner = jnp.einsum("nc,nr,ns->crs", hot, ours, ours) / noise
        cov = jnp.linalg.inv(jnp.diag(1.0 / v)[None] + inner)  # [c r r]
        left = jnp.einsum("nc,nr,np->crp", hot, ours, rows) / noise
        lefty = jnp.einsum("nc,nr,n->cr", hot, ours, values) / noise
        gram = rows.T @ rows / noise - jnp.einsum("crp,crs,csq->pq", left, cov, left)
        cross = rows.T @ values / noise - jnp.einsum("crp,crs,cs->p", left, cov, lefty)
        chol = jnp.linalg.cholesky(jnp.diag(1.0 / prior[member]) + gram)
        spread = jax.scipy.linalg.cho_solve((chol, True), jnp.eye(p))
        mean = spread @ cross
        bent = jnp.einsum("crs,csp->crp", cov, left)
        own_mean = jnp.einsum("crs,cs->cr", cov, lefty) - bent @ mean
        own_cov = cov + jnp.einsum("crp,pq,csq->crs", bent, spread, bent)
        # E of the squared residual: its mean, and what weights and departures still leave open.
        miss = values - rows @ mean - jnp.einsum("nr,nr->n", ours, own_mean[condition])
        open_rows = rows - jnp.einsum("nr,nrp->np", ours, bent[condition])
        rest = jnp.einsum("np,pq,nq->n", open_rows, spread, open_rows)
        rest = rest + jnp.einsum("nr,nrs,ns->n", ours, cov[condition], ours)
        power = jnp.zeros(groups).at[member].add(mean**2 + jnp.diag(spread))
        own_power = jnp.mean(own_mean**2 + jnp.einsum("crr->cr", own_cov), axis=0)
        own_power = jnp.zeros(2).at[level].add(own_power) / jnp.maximum(jnp.zeros(2).at[level].add(1.0), 1.0)
        return mean, chol, power, own_power, jnp.sum(w * (miss**2 + rest)), jnp.sum(w)

    def step(_: int, now: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        prior, v_own, noise = now
        _, _, power, own_power, sse, number = jax.vmap(channel, in_axes=(1, 1, 0, 1, 1))(prior, v_own, noise, seen, y)
        pooled = jnp.exp(jnp.mean(jnp.log(prior), axis=1, keepdims=True))
        prior = jnp.maximum((power.T + _STRENGTH * pooled) / (count[:, None] + _STRENGTH), _LEAST)
        quiet = jnp.exp(jnp.mean(jnp.log(noise)))
        noise = jnp.maximum((sse + _STRENGTH * quiet) / (number + _STRENGTH), 1e-4)
        prior = jnp.where(jnp.isfinite(penalty), noise / jnp.where(jnp.isfinite(penalty), penalty, 1.0), prior)
        v_own = jnp.maximum(own_power.T, _LEAST) if several else v_own
        return prior, v_own, noise

    start = (
        jnp.full((groups, d), 0.5 / groups),
        jnp.full((2, d), 0.05 if several else _LEAST),
        jnp.full(d, 0.3),
    )
    prior, v_own, noise = jax.lax.fori_loop(0, _STEPS, step, start)
    mean, chol, *_ = jax.vmap(channel, in_axes=(1, 1, 0, 1, 1))(prior, v_own, noise, seen, y)
    upper = jax.vmap(lambda c: jax.scipy.linalg.solve_triangular(c, jnp.eye(p), lower=True).T)(chol)
    return mean.T, upper, v_own, noise
