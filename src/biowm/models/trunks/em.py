"""Fitting the mixed trunk: closed-form EM with generalised least squares, on per-subject moments.

The rows come from the filter itself (`rows_of`), so that training and use see the same features; the moments
make every EM step independent of the number of readings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from biowm.core.path import Path, take
from biowm.core.spec import WorldSpec

from ..features import ACTION_BLOCKS, BLOCKS, columns_of, features, with_traits
from ..holds import Hold, fit_holds, no_holds
from ..tracker import Frame, Tracker, trace
from .gaps import beyond, reaches
from .leftover import correlation, fading
from .mixed import Mixed, target

LAMBDAS = (0.0, 0.25, 0.5, 1.0)
_STEPS, _PRIOR, _CHUNK, _FEW = 15, 3.0, 64, 200
Effects = Literal["none", "action", "full"]


@dataclass(frozen=True)
class MixedConfig:
    """A variant of the mixed trunk.

    Feature blocks, level of random effects, exponents of time (`pace` of the mean, `power` of the noise
    variance), ridge penalty, whether traits enter, whether increments of log channels may be Box-Cox transformed,
    whether readings may hold and noise may fade.
    """

    blocks: tuple[str, ...] = BLOCKS
    effects: Effects = "full"
    pace: float = 1.0
    power: float = 1.0
    penalty: float = 1e-3
    traits: bool = True
    transform: bool = True
    holds: bool = True
    fades: bool = True


@eqx.filter_jit
def _rows(frame: Frame, hold: Hold, paths: Path, n_actions: int, lams: Float[Array, " l"]):
    def subject(path: Path):
        before = trace(frame, path, n_actions).before

        def at_time(tracker: Tracker, x):
            mask = jnp.isfinite(x) & (tracker.seen > 0) & (tracker.age > 0)
            z = frame.scale.to_z(jnp.where(jnp.isfinite(x), x, 1.0))
            mask &= ~hold.held(tracker, z)
            row = features(tracker)
            full = with_traits(row, tracker)
            y, jac = jax.vmap(lambda lam: target(frame, tracker, z, jnp.full_like(z, lam)))(lams)
            start = jnp.maximum(tracker.clock - tracker.age, 0.0)
            return row, full, y, jac, tracker.age, start, mask

        return jax.vmap(at_time)(before, path.x)

    return jax.vmap(subject)(paths)


def _streamed(
    frame: Frame, hold: Hold, paths: Path, n_actions: int, reach: Float[np.ndarray, "*d"]
) -> Iterator[tuple[np.ndarray, ...]]:
    """The rows of all subjects, a chunk at a time, by one compiled program; gaps beyond `reach` are masked."""
    n = paths.t.shape[0]
    for start in range(0, n, _CHUNK):
        index = np.arange(start, start + _CHUNK).clip(max=n - 1)
        got = _rows(frame, hold, take(paths, index), n_actions, jnp.asarray(LAMBDAS))
        *rows, gap, begun, mask = (np.asarray(a, np.float64)[: n - start] for a in got)
        yield *rows, gap, begun, mask * ~beyond(gap, reach)


@dataclass(frozen=True)
class Moments:
    """Per-subject weighted sums for one channel: n rows, B'B, B'F, B'y, F'F and F'y pooled, y'y, log weights."""

    n: Float[np.ndarray, " n"]
    BB: Float[np.ndarray, "n p p"]
    BF: Float[np.ndarray, "n p q"]
    By: Float[np.ndarray, "n l p"]
    FF: Float[np.ndarray, "q q"]
    Fy: Float[np.ndarray, "n l q"]
    yy: Float[np.ndarray, "n l"]
    jac: Float[np.ndarray, " l"]
    log_w: float


def moments(
    frame: Frame, hold: Hold, fade: Float[np.ndarray, " d"], paths: Path, config: MixedConfig, n_actions: int,
    reach: Float[np.ndarray, " d"] | float = np.inf,
) -> list[Moments]:  # fmt: skip
    """One `Moments` a channel, from increments that were not held over gaps up to `reach` (spacings), streamed."""
    parts: list[list[tuple]] = [[] for _ in range(frame.start_mean.shape[0])]
    for row, full, y, jac, gap, start, mask in _streamed(frame, hold, paths, n_actions, np.asarray(reach)):
        worth = (1 + start) ** -fade
        for j, part in enumerate(parts):
            of = (..., j)
            part.append(_sums(row[:, :, j], full[:, :, j], y[of], jac[of], gap[of], worth[of], mask[of], config))
    return [_join(part) for part in parts]


def _sums(B, F, y, jac, gap, worth, mask, config: MixedConfig) -> tuple:
    gap = np.maximum(gap, 1e-3)
    weight = mask * worth * gap ** (2 * config.pace - config.power)
    y = y / gap[:, :, None] ** config.pace * mask[:, :, None]
    wB, wF = B * weight[..., None], F * weight[..., None]
    half_log_w = 0.5 * np.log(gap) * (2 * config.pace - config.power) - config.pace * np.log(gap) + 0.5 * np.log(worth)
    return (
        mask.sum(1),
        np.einsum("ntp,ntq->npq", wB, B, optimize=True),
        np.einsum("ntp,ntq->npq", wB, F, optimize=True),
        np.einsum("ntp,ntl->nlp", wB, y, optimize=True),
        wF.reshape(-1, F.shape[2]).T @ F.reshape(-1, F.shape[2]),
        np.einsum("ntq,ntl->nlq", wF, y, optimize=True),
        np.einsum("nt,ntl->nl", weight, y * y),
        (jac * mask[:, :, None]).sum((0, 1)),
        float((half_log_w * mask).sum()),
    )


def _join(parts: list[tuple]) -> Moments:
    cols = list(zip(*parts, strict=True))
    whole = [np.concatenate(c) for c in cols[:4]]
    return Moments(
        *whole, FF=np.sum(cols[4], 0), Fy=np.concatenate(cols[5]), yy=np.concatenate(cols[6]),
        jac=np.sum(cols[7], 0), log_w=float(np.sum(cols[8])),
    )  # fmt: skip


@dataclass(frozen=True)
class EMFit:
    """Fixed effects, covariance of the random effects, noise, and the log marginal likelihood in link units."""

    W: Float[np.ndarray, " q"]
    D: Float[np.ndarray, "p p"]
    s2: float
    log_lik: float


def em(mo: Moments, lam: int, used: Bool[np.ndarray, " q"], active: Bool[np.ndarray, " p"], penalty: float) -> EMFit:
    """EM for one channel and one power: GLS for W, closed form for D and s2.

    `used` marks the fixed columns, `active` the random ones; the others, and random columns that are zero in
    the data, get no weight and no variance.
    """
    keep = np.flatnonzero(used)
    fit = _em(_columns(mo, keep), lam, active, penalty)
    W = np.zeros(len(used))
    W[keep] = fit.W
    return EMFit(W, fit.D, fit.s2, fit.log_lik)


def _columns(mo: Moments, keep: Int[np.ndarray, " k"]) -> Moments:
    """The moments of some of the fixed columns."""
    return replace(mo, BF=mo.BF[:, :, keep], FF=mo.FF[np.ix_(keep, keep)], Fy=mo.Fy[:, :, keep])


def _em(mo: Moments, lam: int, active: Bool[np.ndarray, " p"], penalty: float) -> EMFit:
    n_rows, q = mo.n.sum(), mo.FF.shape[0]
    has = mo.n > 0
    n = int(has.sum())
    ridge = penalty * np.eye(q)
    Fy = mo.Fy[:, lam].sum(0)
    W = np.linalg.solve(mo.FF + ridge, Fy)
    s2 = max((mo.yy[:, lam].sum() - 2 * W @ Fy + W @ mo.FF @ W) / max(n_rows, 1), 1e-8)
    rms = np.sqrt(np.einsum("npp->p", mo.BB) / max(n_rows, 1))
    live = np.flatnonzero(active & (rms > 1e-4))
    full_D = np.full(len(active), 1e-10)
    if len(live) == 0:
        return EMFit(W, np.diag(full_D), s2, _log_lik(n_rows, s2, n_rows * s2, 0.0, mo, lam))
    BB, BF, By = mo.BB[has][:, live][:, :, live], mo.BF[has][:, live], mo.By[has][:, lam][:, live]
    D = np.diag(0.1 * s2 / np.maximum(rms[live], 1e-2) ** 2)
    for _ in range(_STEPS):
        precision = np.linalg.inv(D)
        Sigma = np.linalg.inv(precision[None] + BB / s2)
        SG = Sigma @ BF
        A = mo.FF - np.einsum("npq,npr->qr", BF, SG, optimize=True) / s2
        b = Fy - np.einsum("npq,np->q", SG, By) / s2
        W = np.linalg.solve(A + ridge, b)
        r = By - BF @ W
        m = np.einsum("npk,nk->np", Sigma, r) / s2
        rss = mo.yy[:, lam].sum() - 2 * W @ Fy + W @ mo.FF @ W
        fit = (m * r).sum()
        spread = np.einsum("npk,nk,np->", BB, m, m) + np.einsum("npk,nkp->", BB, Sigma)
        s2 = max((rss - 2 * fit + spread) / n_rows, 1e-8)
        second = (m[:, :, None] * m[:, None, :] + Sigma).mean(0)
        D = n / (n + _PRIOR) * second
        D = 0.5 * (D + D.T) + 1e-10 * np.eye(len(live))
    M = np.eye(len(live))[None] + D @ BB / s2
    quad = rss / s2 - np.einsum("np,npk,nk->", r, np.linalg.inv(np.linalg.inv(D)[None] + BB / s2), r) / s2**2
    log_lik = _log_lik(n_rows, s2, quad * s2, np.linalg.slogdet(M)[1].sum(), mo, lam)
    whole = np.diag(full_D)
    whole[np.ix_(live, live)] = D
    return EMFit(W, whole, s2, log_lik)


def root(D: Float[np.ndarray, "p p"]) -> Float[np.ndarray, "p p"]:
    """Lower Cholesky factor, on the correlation scale with jitter: a dead feature must not blow up a rollout."""
    sd = np.sqrt(np.maximum(np.diag(D), 1e-12))
    corr = D / np.outer(sd, sd) + 1e-8 * np.eye(len(D))
    return sd[:, None] * np.linalg.cholesky(corr)


def _log_lik(n_rows, s2, rss, log_det, mo: Moments, lam: int) -> float:
    gauss = -0.5 * (n_rows * np.log(2 * np.pi * s2) + rss / s2 + log_det)
    return float(gauss + mo.jac[lam] + mo.log_w)


def masks(spec: WorldSpec, config: MixedConfig) -> tuple[Bool[np.ndarray, " q"], Bool[np.ndarray, " p"]]:
    """Which columns of the fixed effects a variant uses, and which of the random ones."""
    n_actions, d = len(spec.actions), len(spec.channels)
    used = columns_of(config.blocks, d, n_actions)
    chosen = {"none": (), "action": ACTION_BLOCKS, "full": config.blocks}[config.effects]
    active = used & columns_of(chosen, d, n_actions)
    crossed = int(columns_of(ACTION_BLOCKS, d, n_actions).sum()) * spec.trait_width
    return np.concatenate([used, np.full(crossed, config.traits)]), active


def few(paths: Path) -> Path:
    """At most 200 subjects, spread evenly: enough to choose a transform or a share of noise on."""
    n = paths.t.shape[0]
    return paths if n <= _FEW else take(paths, np.linspace(0, n - 1, _FEW).astype(int))


def fit_mixed(
    spec: WorldSpec, frame: Frame, paths: Path, config: MixedConfig, reach: Float[np.ndarray, " d"] | None = None,
    hold: Hold | None = None,
) -> Mixed:  # fmt: skip
    """Fit the mixed trunk to stacked training paths, read exactly; the Box-Cox power by likelihood of a few.

    A first fit says whether the noise fades; where it does, a second one knows it. Increments over gaps beyond `reach`
    (spacings; default: the longest there are) are not learned from; a channel that holds does so over any gap. `hold`
    spares finding out which do, where another fit to the same readings has.
    """
    d, a = len(spec.channels), len(spec.actions)
    if hold is None:
        hold = fit_holds(frame, paths, a) if config.holds else no_holds(d, a)
    reach = reaches(paths, frame.spacing)[0] if reach is None else reach
    reach = np.where(np.asarray(hold.on) > 0, np.inf, reach)
    world = _fit(spec, frame, hold, np.zeros(d), reach, paths, config)
    fade = fading(*unexplained(world, paths)) if config.fades else np.zeros(d)
    if fade.any():
        world = _fit(spec, frame, hold, fade, reach, paths, config)
    if d == 1:
        return world
    left = unexplained(world, few(paths))[0].reshape(-1, d)
    return eqx.tree_at(lambda w: w.mix, world, jnp.asarray(np.linalg.cholesky(correlation(left)), jnp.float32))


def _fit(
    spec: WorldSpec, frame: Frame, hold: Hold, fade: np.ndarray, reach: np.ndarray, paths: Path, config: MixedConfig
) -> Mixed:
    """The fit where it is known which channels hold and how noise fades, channel by channel."""
    used, active = masks(spec, config)
    some = few(paths)
    everyone = moments(frame, hold, fade, paths, config, len(spec.actions), reach)
    tried_on = everyone if some is paths else moments(frame, hold, fade, some, config, len(spec.actions), reach)
    fits, lams = [], []
    for channel, mo, part in zip(spec.channels, everyone, tried_on, strict=True):
        options = range(len(LAMBDAS)) if channel.link == "log" and config.transform else (0,)
        tried = {i: em(part, i, used, active, config.penalty) for i in options}
        best = max(tried, key=lambda i: tried[i].log_lik)
        fits.append(tried[best] if part is mo else em(mo, best, used, active, config.penalty))
        lams.append(LAMBDAS[best])

    def cast(values) -> Array:
        return jnp.asarray(np.array(values), jnp.float32)

    x, t = np.asarray(paths.x), np.asarray(paths.t)
    longest = np.where(np.isfinite(x), t[:, :, None] - t[:, :1, None], 0.0).max((0, 1)) / frame.spacing
    return Mixed(
        spec, frame.spacing, frame, cast(config.pace), cast(config.power), cast(lams), cast([f.W for f in fits]),
        cast([root(f.D) for f in fits]), cast([f.s2 for f in fits]), cast(np.zeros(len(fits))), cast(np.eye(len(fits))),
        hold, cast(fade), cast(longest), cast(reach),
    )  # fmt: skip


def unexplained(world: Mixed, paths: Path) -> tuple[Float[np.ndarray, "n t d"], Float[np.ndarray, "n t d"]]:
    """What is left of every increment at its subject's expected random effects, in sd of the noise (NaN: none).

    Beside it when each began, since the start.
    """
    parts, starts = [], []
    pace, power, lam, W, R, s2, fade = (
        np.asarray(a, np.float64)
        for a in (world.pace, world.power, world.lam, world.W, world.root, world.s2, world.fade)
    )
    chosen = np.abs(np.array(LAMBDAS)[:, None] - lam).argmin(0)
    told = _streamed(world.frame, world.hold, paths, len(world.spec.actions), np.asarray(world.reach))
    for row, full, y, _, gap, start, mask in told:
        gap = np.maximum(gap, 1e-3)
        y = np.take_along_axis(y, chosen[None, None, None], axis=2)[:, :, 0] / gap**pace
        unit = np.sqrt(gap ** (2 * pace - power) / (s2 * (1 + start) ** fade)) * mask
        miss = (y - np.einsum("ntdq,dq->ntd", full, W)) * unit
        own = np.einsum("ntdp,dpk->ndtk", row, R, optimize=True) * np.moveaxis(unit, 2, 1)[..., None]
        turned = np.swapaxes(own, 2, 3)
        pull = turned @ np.moveaxis(miss, 2, 1)[..., None]
        e = np.linalg.solve(np.eye(R.shape[1]) + turned @ own, pull)
        left = miss - np.moveaxis((own @ e)[..., 0], 1, 2)
        parts.append(np.where(mask > 0, left, np.nan))
        starts.append(start)
    return np.concatenate(parts), np.concatenate(starts)
