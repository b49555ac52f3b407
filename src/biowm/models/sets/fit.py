"""The set trunk's fit: prior variances of every group by marginal likelihood, each channel its own, pooled.

A step goes half of the way (in logarithms) to what a variance would be if only as many weights counted as the readings
determine (doi:10.1162/neco.1992.4.3.415). It has the fixed points of expectation maximisation, does not lower the
likelihood either (doi:10.1080/10618600.2018.1529601), and takes a third of the steps.

In NumPy, all channels at once: nothing here is factorised inside a compiled program (docs/findings.md says why).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from biowm.core.path import Path
from biowm.core.spec import WorldSpec

from ..tracker import Frame
from .features import Design, blocks, features, fit_design, own_features
from .readings import Readings, readings_of
from .trunk import SetTrunk

_STEPS, _STRENGTH, _LEAST, _QUIETEST = 15, 2.0, 1e-8, 1e-4
_UNKNOWN = 1e-3  # of a weight: where nothing is known a variance stays as it is
_SETTLED = 5  # steps where the noise alone is sought
_KEPT = 8  # readings of a condition that a belief holds at most


@dataclass(frozen=True)
class SetConfig:
    """Which groups of features, and whether a condition departs on its own from what its set says.

    It does so always, never, or where something is "given": untreated conditions of one context are then one
    reference, known by all their readings and by what the treated ones share with them.

    `penalty`: in place of variances found by likelihood, weights are shrunk as if a reading's noise were so many times
    their prior variance (ridge). `most`: conditions of
    more members are not learned from (all are, where there are no others).
    """

    groups: tuple[str, ...]
    own: Literal["always", "given", "never"] = "always"
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


def rows_of(read: Readings, config: SetConfig, side: Float[np.ndarray, "a e"] | None = None) -> tuple[Design, Rows]:
    """The design and the rows of all readings."""
    dose = np.asarray(read.course.dose)
    design = fit_design(read.frame, dose, config.groups, side, config.own == "given")
    make = jax.jit(jax.vmap(lambda c: (features(design, c), own_features(design, c))))
    psi, own = (np.asarray(a) for a in make(read.course))
    return design, Rows(psi, own, read.z, read.condition, (dose != 0).sum(1))


def fit_sets(
    spec: WorldSpec, frame: Frame, paths: Path, config: SetConfig, side: Float[np.ndarray, "a e"] | None = None
) -> SetTrunk:
    """Fit the hierarchical additive trunk to stacked training conditions (single precision kept by scaling)."""
    read = readings_of(spec, frame, paths)
    side = side_of(spec) if side is None else side
    base, groups = np.zeros_like(read.control), config.groups
    if np.isfinite(read.control).all():
        base, groups = read.control, tuple(g for g in groups if g != "base")
    design, rows = rows_of(read, replace(config, groups=groups), side)
    rows = replace(rows, z=rows.z - base)
    if config.most is not None:
        rows = rows.among(config.most)
    kept = min(_KEPT, int(np.bincount(rows.condition).max()) - 1)
    widths = np.array([b.width for b in blocks(design)], int)
    departs = (rows.own != 0).sum(1) > 0
    several = config.own != "never" and bool(np.bincount(rows.condition[departs], minlength=1).max() > 1)
    condition = np.zeros(len(departs), int)  # of who does not depart there is nothing to tell apart
    if several:
        condition[departs] = np.unique(rows.condition[departs], return_inverse=True)[1]
    member = np.repeat(np.arange(len(widths)), widths)
    level = np.zeros(rows.own.shape[1], int)
    level[1:] = 1
    prior, v_own, noise = _start(len(widths), rows.z.shape[1], several)
    sums = _sums(rows, condition, member, len(widths))
    for _ in range(_STEPS if config.penalty is None else _SETTLED):
        prior, v_own, noise = _stepped(sums, _moments(sums, prior, v_own, noise, level), prior, v_own, config, several)
    found = _moments(sums, prior, v_own, noise, level)
    arrays = (base, found.mean.T, np.linalg.cholesky(found.spread), v_own[level], noise)
    return SetTrunk(
        spec, frame.spacing, kept, frame, design, *(jnp.asarray(a, jnp.float32) for a in arrays)
    )  # fmt: skip


def side_of(spec: WorldSpec) -> Float[np.ndarray, "a e"] | None:
    """What is known of the members beforehand; None where nothing is."""
    known = np.array([card.known for card in spec.actions], float).reshape(len(spec.actions), -1)
    return known if known.shape[1] else None


class _Sums(NamedTuple):
    """What the rows come to, once: axis 0 is the channel, or of length 1 where all channels were read alike.

    `gram` of the features, `cross` with the readings; by condition `inner` of its own features, `left` of these with
    the features, `lefty` with the readings.
    """

    rows: Rows
    seen: Float[np.ndarray, "n d"]
    y: Float[np.ndarray, "n d"]
    condition: Int[np.ndarray, " n"]
    member: Int[np.ndarray, " p"]
    groups: int
    gram: Float[np.ndarray, "k p p"]
    cross: Float[np.ndarray, "d p"]
    inner: Float[np.ndarray, "k c r r"]
    left: Float[np.ndarray, "k c r p"]
    lefty: Float[np.ndarray, "d c r"]


class _Moments(NamedTuple):
    """The posterior given variances, one a channel: of the weights, and what is expected of squares of what is left.

    Of own departures, by kind: the sum of squares of their means, and how many of them the readings determine.
    """

    mean: Float[np.ndarray, "d p"]
    spread: Float[np.ndarray, "d p p"]
    own_power: Float[np.ndarray, "2 d"]
    own_known: Float[np.ndarray, "2 d"]
    squares: Float[np.ndarray, " d"]


def _start(groups: int, d: int, several: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where the search for variances starts: of the groups [g d], of own departures [2 d], of readings [d]."""
    return np.full((groups, d), 0.5 / max(groups, 1)), np.full((2, d), 0.05 if several else _LEAST), np.full(d, 0.3)


def _sums(rows: Rows, condition: Int[np.ndarray, " n"], member: Int[np.ndarray, " p"], groups: int) -> _Sums:
    seen = np.isfinite(rows.z).astype(float)
    y, psi, own = np.where(seen > 0, rows.z, 0.0).astype(float), rows.features.astype(float), rows.own.astype(float)
    hot = np.eye(int(condition.max()) + 1)[condition]
    masks, which = np.unique(seen, axis=1, return_inverse=True)
    masks, which = (masks, np.zeros(1, int)) if masks.shape[1] == 1 else (masks, which.ravel())
    n, c, r, p = len(psi), hot.shape[1], own.shape[1], psi.shape[1]
    ours = (hot[:, :, None] * own[:, None, :]).reshape(n, c * r)
    gram = np.stack([(psi * mask[:, None]).T @ psi for mask in masks.T])[which]
    left = np.stack([(ours * mask[:, None]).T @ psi for mask in masks.T]).reshape(masks.shape[1], c, r, p)[which]
    inner = np.einsum("nk,nc,nr,ns->kcrs", masks, hot, own, own, optimize=True)[which]
    lefty = (y.T @ ours).reshape(y.shape[1], c, r)
    return _Sums(rows, seen, y, condition, member, groups, gram, y.T @ psi, inner, left, lefty)


def _moments(sums: _Sums, prior: np.ndarray, v_own: np.ndarray, noise: np.ndarray, level: np.ndarray) -> _Moments:
    """The posterior; a condition's own departure is integrated out of the weights' precision (Woodbury)."""
    s2 = noise[:, None, None]
    own = np.eye(len(level)) / v_own[level].T[:, None, None, :]
    cov = np.linalg.inv(own + sums.inner / s2[..., None])  # [d c r r]
    taken = np.einsum("dcrs,kcsp->dcrp" if len(sums.left) == 1 else "dcrs,dcsp->dcrp", cov, sums.left, optimize=True)
    bent = taken / s2[..., None]
    k, c, r, p = sums.left.shape  # conditions and own features as one axis:
    lost = np.swapaxes(sums.left.reshape(k, c * r, p), 1, 2) @ bent.reshape(len(noise), c * r, p)
    kept = sums.gram - lost
    eye = np.eye(len(sums.member))
    spread = np.linalg.inv(eye / prior[sums.member].T[:, None, :] + kept / s2)
    spread = 0.5 * (spread + np.swapaxes(spread, 1, 2))
    cross = sums.cross - np.einsum("dcrp,dcr->dp", bent, sums.lefty, optimize=True)
    mean = np.einsum("dpq,dq->dp", spread, cross) / noise[:, None]
    own_mean = np.einsum("dcrs,dcs->dcr", cov, sums.lefty) / s2 - np.einsum("dcrp,dp->dcr", bent, mean)
    half = (bent.reshape(len(noise), c * r, p) @ spread).reshape(bent.shape)
    own_cov = cov + half @ np.swapaxes(bent, 2, 3)
    power = (own_mean**2).sum(1).T
    known = (1 - np.einsum("dcrr->dcr", own_cov) / v_own[level].T[:, None]).sum(1).T
    own_power, own_known = (np.array([a[level == k].sum(0) for k in range(2)]) for a in (power, known))
    psi, ours = sums.rows.features.astype(float), sums.rows.own.astype(float)
    miss = sums.seen * (sums.y - psi @ mean.T - np.einsum("nr,dnr->nd", ours, own_mean[:, sums.condition]))
    # What weights and departures still leave open of the squares.
    rest = np.einsum("dpq,dpq->d", spread, sums.gram - 2 * lost)
    rest = rest + np.einsum("dcrp,dcrs,dcsp->d", half, np.broadcast_to(sums.inner, cov.shape), bent, optimize=True)
    rest = rest + np.einsum("dcrs,dcrs->d", cov, np.broadcast_to(sums.inner, cov.shape))
    return _Moments(mean, spread, own_power, own_known, (miss**2).sum(0) + rest)


def _stepped(
    sums: _Sums, now: _Moments, prior: np.ndarray, v_own: np.ndarray, config: SetConfig, several: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The variances after one step: each channel's own, drawn to what is usual among the channels."""
    number = sums.seen.sum(0)
    noise = now.squares / np.maximum(number, 1.0)
    quiet = np.exp(np.log(np.maximum(noise, 1e-12)).mean())
    noise = np.maximum((now.squares + _STRENGTH * quiet) / (number + _STRENGTH), _QUIETEST)
    own = _towards(v_own, now.own_power, now.own_known) if several else v_own
    if config.penalty is not None:
        return np.broadcast_to(noise / config.penalty, prior.shape).copy(), own, noise
    hot = np.eye(sums.groups)[sums.member]
    power = hot.T @ (now.mean**2).T
    known = hot.T @ (1 - np.einsum("dpp->dp", now.spread).T / prior[sums.member])
    return _towards(prior, power, known), own, noise


def _towards(
    v: Float[np.ndarray, "g d"], power: Float[np.ndarray, "g d"], known: Float[np.ndarray, "g d"]
) -> Float[np.ndarray, "g d"]:
    """Variances after one step, from the sum of squares of `known` (as many as the readings determine) weights.

    Each is drawn to what is usual among the channels after the step, as if some more weights had that variance.
    """
    known = np.maximum(known, 0.0)
    alone = np.sqrt(v * (power + _UNKNOWN * v) / (known + _UNKNOWN))
    usual = np.exp(np.log(np.maximum(alone, _LEAST)).mean(1, keepdims=True))
    return np.maximum(np.sqrt(v * (power + _STRENGTH * usual) / (known + _STRENGTH)), _LEAST)
