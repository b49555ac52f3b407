"""Fitting the reading noise of the mixed trunk: profile likelihood of the innovations over the share of the noise.

Least squares on raw readings is a stationary point of the likelihood at r = 0, so r is not found by a gradient: a
few shares r / (r + s2) are tried, the other parameters refitted at each. The filter is run with the current ones;
what it expects of a reading is linear in small changes of the weights (the sensitivity of its state runs along, as
in the prediction error method, doi:10.1016/0005-1098(81)90070-4), so that the EM of the trunk refits them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.stats import wilcoxon

from biowm.core.path import Path, take
from biowm.core.rollout import through
from biowm.core.spec import WorldSpec

from ..tracker import Frame
from .em import MixedConfig, Moments, em, few, fit_mixed, masks, root
from .gaps import cross, reaches
from .mixed import Mixed, MixedBelief, target

SHARES = (0.1, 0.3, 0.5, 0.8, 0.9)
_ROUNDS, _CHUNK = 2, 64
_CLEARLY, _LEAST = 0.025, 6  # level, one-sided; subjects that differ


@dataclass(frozen=True)
class Tried:
    """Shares of reading noise, the world refitted at them, and log likelihoods in link units (one a channel)."""

    share: Float[np.ndarray, " d"]
    world: Mixed
    log_lik: Float[np.ndarray, " d"]


def fit_noisy(spec: WorldSpec, frame: Frame, paths: Path, config: MixedConfig) -> Mixed:
    """Fit the mixed trunk with the reading noise of the greatest likelihood in each channel.

    The shares are chosen on at most 200 subjects. The result is never less likely than the trunk without noise.
    """
    plain = fit_reach(spec, frame, paths, config)
    tried = profile(plain, few(paths), config)
    best = np.argmax([t.log_lik for t in tried], axis=0)
    if not best.any():
        return plain
    chosen = [(tried[b].share[j], *(a[j] for a in _fitted(tried[b].world))) for j, b in enumerate(best)]
    share, *arrays = (np.stack(column) for column in zip(*chosen, strict=True))
    noisy = _refit(_refitted(plain, *arrays), share, paths, config)
    return noisy.world if noisy.log_lik.sum() > innovations(plain, paths)[1].sum() else plain


def fit_reach(spec: WorldSpec, frame: Frame, paths: Path, config: MixedConfig) -> Mixed:
    """Fit the trunk without noise with the reach that each channel's readings speak for.

    Every gap up to the longest that was learned from is taken as one, unless subjects (200 at most) are clearly
    likelier where gaps longer than half as much again as the channel's usual one are bridged: then increments over
    such gaps are not learned from. Where there are none there is nothing to choose. Clearly: by Wilcoxon's signed
    ranks, as a few subjects can be unlikely beyond measure (doi:10.2307/3001968).
    """
    longest, usual = reaches(paths, frame.spacing)
    whole = fit_mixed(spec, frame, paths, config, longest)
    if not np.any(usual < longest):
        return whole
    bridged = fit_mixed(spec, frame, paths, config, usual, whole.hold)
    some = few(paths)
    better = np.array([_clearly(g) for g in (likelihoods(bridged, some) - likelihoods(whole, some)).T])
    if better.all() or not better.any():
        return bridged if better.any() else whole
    return fit_mixed(spec, frame, paths, config, np.where(better, usual, longest), whole.hold)


def _clearly(gain: Float[np.ndarray, " n"]) -> bool:
    """Whether what subjects gain is shown to be above 0."""
    gain = gain[gain != 0]
    return len(gain) >= _LEAST and float(np.asarray(wilcoxon(gain, alternative="greater"))[1]) < _CLEARLY


def profile(plain: Mixed, paths: Path, config: MixedConfig, shares: tuple[float, ...] = SHARES) -> tuple[Tried, ...]:
    """The likelihood at each share of reading noise, the same in all channels, until it has fallen in every channel.

    `plain` is the fit without noise; every share starts from the one before. Channels that hold have none: noise does
    not repeat itself.
    """
    d = plain.s2.shape[0]
    tried = [Tried(np.zeros(d), plain, innovations(plain, paths)[1])]
    for value in shares:
        last, share = tried[-1].world, np.where(np.asarray(plain.hold.on) > 0, 0.0, value)
        total = np.asarray(last.s2 + last.r, np.float64)
        moved = _refitted(last, last.W, last.root, (1 - share) * total, share * total)
        tried.append(_refit(moved, share, paths, config))
        if np.all(tried[-1].log_lik < np.max([t.log_lik for t in tried[:-1]], axis=0)):
            break
    return tuple(tried)


def _refit(world: Mixed, share: Float[np.ndarray, " d"], paths: Path, config: MixedConfig) -> Tried:
    """The likeliest of a few rounds of EM on the filter's own rows."""
    used, active = masks(world.spec, config)
    sums, tried = innovations(world, paths)[0], []
    for _ in range(_ROUNDS):
        fits = [em(mo, 0, used, active, config.penalty) for mo in sums]
        s2 = np.array([f.s2 for f in fits])
        world = _refitted(world, [f.W for f in fits], [root(f.D) for f in fits], s2, s2 * share / (1 - share))
        sums, log_lik = innovations(world, paths)
        tried.append(Tried(share, world, log_lik))
    return max(tried, key=lambda t: t.log_lik.sum())


def innovations(world: Mixed, paths: Path) -> tuple[list[Moments], Float[np.ndarray, " d"]]:
    """Moments of the filter's own rows, one a channel, and each channel's log likelihood in link units."""
    d, p = world.root.shape[:2]
    parts: list[list[tuple]] = [[] for _ in range(d)]
    total = np.zeros(d)
    for row, y, weight, log_lik in _streamed(world, paths):
        total += log_lik.sum((0, 1))
        for j, part in enumerate(parts):
            part.append(_sums(row[:, :, j], y[..., j], weight[..., j], p))
    return [_join(part) for part in parts], total


def likelihoods(world: Mixed, paths: Path) -> Float[np.ndarray, "n d"]:
    """Log likelihood in link units of every subject and channel."""
    return np.concatenate([log_lik.sum(1) for *_, log_lik in _streamed(world, paths)])


def _streamed(world: Mixed, paths: Path) -> Iterator[tuple[np.ndarray, ...]]:
    """The rows of all subjects, a chunk at a time, by one compiled program."""
    n = paths.t.shape[0]
    for start in range(0, n, _CHUNK):
        index = np.arange(start, start + _CHUNK).clip(max=n - 1)
        yield tuple(np.asarray(a, np.float64)[: n - start] for a in _rows(world, take(paths, index)))


@eqx.filter_jit
def _rows(world: Mixed, paths: Path):
    """Rows and targets of the linearised filter, weights s2 / variance (0: nothing to learn), log likelihoods."""
    d, q = world.W.shape

    def landed(carry, far: Bool[Array, " d"]):
        """A gap is bridged: as below, without a reading."""
        belief, G, off = carry
        ahead, after = world.ahead(belief), world.bridge(belief, far)
        moved, _ = target(world.frame, belief.tracker, after.tracker.z, world.lam)
        G_now = (ahead.carry[:, None] * G + ahead.full) / ahead.bend[:, None]
        off_now = (ahead.carry * off - moved) / ahead.bend
        return after, jnp.where(far[:, None], G_now, G), jnp.where(far, off_now, off)

    def at_time(belief: MixedBelief, G: Float[Array, "d q"], off: Float[Array, " d"], x: Float[Array, " d"]):
        """`off` + G w: state of the filter that had the weights w all along, less that of this one (link units)."""
        mask = jnp.isfinite(x)
        tracker, frame = belief.tracker, world.frame
        after = world.update(belief, jnp.where(mask, x, 1.0), mask)
        ahead = world.ahead(belief)
        now = frame.scale.to_z(jnp.where(mask, x, 1.0))
        y, jac = target(frame, tracker, now, world.lam)
        moved, _ = target(frame, tracker, after.tracker.z, world.lam)
        noise = ahead.a2 + ahead.r
        spread = jnp.sum(ahead.c**2, axis=1) + noise
        log_lik = jac - 0.5 * (jnp.log(2 * jnp.pi * spread) + (y - ahead.mean) ** 2 / spread)
        learn = mask & (tracker.seen > 0) & (tracker.age > 0) & ~world.hold.held(tracker, now)
        gain, past = ahead.a2 / noise, ahead.carry * off
        row = ahead.carry[:, None] * G + ahead.full
        G_now = ((1 - gain) / ahead.bend)[:, None] * row
        off_now = ((1 - gain) * past + gain * y - moved) / ahead.bend
        G = jnp.where(learn[:, None], G_now, jnp.where(mask[:, None], 0.0, G))
        off = jnp.where(learn, off_now, jnp.where(mask, 0.0, off))
        after = jax.tree.map(lambda a, b: jnp.where(jnp.any(mask), a, b), after, belief)
        zero = jnp.zeros(d)
        return after, G, off, (row, y - past, jnp.where(learn, world.s2 / noise, zero), jnp.where(learn, log_lik, zero))

    def subject(path: Path):
        def go(carry, rate, bolus, until, dt):
            given = (world.impulse(carry[0], bolus), *carry[1:])
            later = cross(given, lambda c: c[0].tracker, landed, world.frame, world.reach, rate, dt)
            return eqx.tree_at(lambda c: c[0].t, later, until)

        def body(carry, now):
            before, (t, x) = carry[0].t, now
            parts = world.strides(carry[0], jnp.maximum(t - before, 0.0))
            later = through(path.plan, before, t, parts, len(world.spec.actions), go, carry)
            belief, G, off = jax.tree.map(lambda a, b: jnp.where(t > before, a, b), later, carry)
            belief, G, off, out = at_time(belief, G, off, x)
            return (belief, G, off), out

        start = eqx.tree_at(lambda b: b.t, world.begin(path.traits), path.t[0])
        return jax.lax.scan(body, (start, jnp.zeros((d, q)), jnp.zeros(d)), (path.t, path.x))[1]

    return jax.vmap(subject)(paths)


def _sums(F, y, weight, p: int) -> tuple:
    """Sums by subject; the random rows are the first `p` columns of the fixed ones."""
    B, wF, y = F[..., :p], F * weight[..., None], y * (weight > 0)
    return (
        (weight > 0).sum(1).astype(float),
        np.einsum("ntp,ntq->npq", wF[..., :p], B, optimize=True),
        np.einsum("ntp,ntq->npq", wF[..., :p], F, optimize=True),
        np.einsum("ntp,nt->np", wF[..., :p], y)[:, None],
        wF.reshape(-1, F.shape[2]).T @ F.reshape(-1, F.shape[2]),
        np.einsum("ntq,nt->nq", wF, y)[:, None],
        np.einsum("nt,nt->n", weight, y * y)[:, None],
    )


def _join(parts: list[tuple]) -> Moments:
    n, BB, BF, By, FF, Fy, yy = zip(*parts, strict=True)
    whole = (np.concatenate(a) for a in (n, BB, BF, By))
    return Moments(*whole, FF=np.sum(FF, 0), Fy=np.concatenate(Fy), yy=np.concatenate(yy), jac=np.zeros(1), log_w=0.0)


def _fitted(world: Mixed):
    return world.W, world.root, world.s2, world.r


def _refitted(world: Mixed, *arrays) -> Mixed:
    return eqx.tree_at(_fitted, world, tuple(jnp.asarray(np.array(a), jnp.float32) for a in arrays))
