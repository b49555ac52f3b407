"""The tracker: what every learned world remembers of one subject's past, updated reading by reading.

The same object is carried by the filter over a history, by the rows a trunk is trained on and by a
free-running rollout, so that a model never meets features it was not trained on.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from biowm.core.path import Path
from biowm.core.schedule import between
from biowm.core.spec import WorldSpec

from .scale import Scale, fit_scale

EXPOSURE_TAUS = (0.7, 1.5, 3.0, 8.0)  # in spacings (RECIPES: section 1)
MEMORY_TAUS = (1.5, 8.0)
_SAME = 1e-5


class Frame(eqx.Module):
    """Scales that all models of one study share: links, the usual gap, action and trait scales."""

    scale: Scale
    spacing: float = eqx.field(static=True)
    action_scale: Float[Array, " a"]
    trait_mean: Float[Array, " s"]
    trait_sd: Float[Array, " s"]
    start_mean: Float[Array, " d"]
    start_sd: Float[Array, " d"]


def fit_frame(spec: WorldSpec, paths: Path, spacing: float) -> Frame:
    """Scales from the training paths (stacked)."""
    x = np.asarray(paths.x)
    scale = fit_scale(spec, x)
    z = scale.to_z(np.asarray(x))
    seen = np.isfinite(z)
    first = np.take_along_axis(z, np.argmax(seen, axis=1)[:, None], axis=1)[:, 0]
    first = np.where(seen.any(1), first, np.nan)
    card, dose = np.asarray(paths.plan.card), np.abs(np.asarray(paths.plan.dose))
    top = [dose[card == a].max(initial=0.0) for a in range(len(spec.actions))]
    bolus = np.array([a.kind == "bolus" for a in spec.actions], bool)
    actions = np.where(bolus, np.array(top) / spacing, np.array(top)) if top else np.zeros(0)
    traits = np.asarray(paths.traits, np.float64)
    traits = np.where(np.isfinite(traits).any(0), traits, 0.0)  # a trait that nobody has is the same for everybody
    mean, sd = np.nanmean(traits, 0), np.nanstd(traits, 0)
    arrays = (
        np.where(actions > 0, actions, 1.0), mean, np.where(sd > 1e-6, sd, 1.0),
        np.nanmean(first, 0), np.maximum(np.nanstd(first, 0), 1e-3),
    )  # fmt: skip
    return Frame(scale, float(spacing), *(jnp.asarray(a, jnp.float32) for a in arrays))


class Tracker(eqx.Module):
    """Last readings, their pace and leaky averages, and what was given since; times in spacings.

    z, prev: last two readings of each channel (standardised link space); lag: time between them; age: time
    since the last; still: how long, at the last reading, it had been read the same; mean: leaky averages of z;
    e: leaky averages of each action; given, felt: integrals of the actions and of `e` since each channel's last
    reading; total: integrals of each action, and of it
    times the clock, since the start (how much was given, and when); pending: boluses not yet spread over a
    step; moments: running count, mean time, mean z, S_tt and S_tz for the subject's own trend.
    """

    clock: Float[Array, ""]
    z: Float[Array, " d"]
    prev: Float[Array, " d"]
    lag: Float[Array, " d"]
    age: Float[Array, " d"]
    seen: Float[Array, " d"]
    still: Float[Array, " d"]
    mean: Float[Array, "d m"]
    e: Float[Array, "a k"]
    given: Float[Array, "d a"]
    felt: Float[Array, "d a k"]
    total: Float[Array, "a 2"]
    pending: Float[Array, " a"]
    traits: Float[Array, " s"]
    moments: Float[Array, "5 d"]


def fresh(frame: Frame, traits: Float[Array, " s"]) -> Tracker:
    """The tracker of a subject of whom nothing has been read."""
    d, a = frame.start_mean.shape[0], frame.action_scale.shape[0]
    k, m = len(EXPOSURE_TAUS), len(MEMORY_TAUS)
    known = jnp.where(jnp.isnan(traits), 0.0, (traits - frame.trait_mean) / frame.trait_sd)
    zero = jnp.zeros(d)
    return Tracker(
        clock=jnp.zeros(()),
        z=frame.start_mean,
        prev=frame.start_mean,
        lag=zero,
        age=zero,
        seen=zero,
        still=zero,
        mean=jnp.broadcast_to(frame.start_mean[:, None], (d, m)),
        e=jnp.zeros((a, k)),
        given=jnp.zeros((d, a)),
        felt=jnp.zeros((d, a, k)),
        total=jnp.zeros((a, 2)),
        pending=jnp.zeros(a),
        traits=known,
        moments=jnp.zeros((5, d)),
    )


def give(tracker: Tracker, frame: Frame, dose: Float[Array, " a"]) -> Tracker:
    """Boluses at this instant; they are spread over the next step."""
    more = dose / (frame.action_scale * frame.spacing)
    return eqx.tree_at(lambda s: s.pending, tracker, tracker.pending + more)


def advance(tracker: Tracker, frame: Frame, action: Float[Array, " a"], dt: Float[Array, ""]) -> Tracker:
    """Let `dt` (world clock) pass under mean `action` rates; the readings stay as they are."""
    step = dt / frame.spacing
    safe = jnp.maximum(step, 1e-6)
    u = action / frame.action_scale + tracker.pending / safe
    taus = jnp.asarray(EXPOSURE_TAUS)[None, :]
    left = jnp.exp(-safe / taus)
    swing = tracker.e - u[:, None]
    area = u[:, None] * safe + swing * taus * (1 - left)
    moved = (
        tracker.clock + step,
        tracker.age + step,
        u[:, None] + swing * left,
        tracker.given + (u * safe)[None, :],
        tracker.felt + area[None, :, :],
        tracker.total + (u * safe)[:, None] * jnp.stack([jnp.ones(()), tracker.clock + step / 2])[None, :],
        jnp.zeros_like(tracker.pending),
    )
    return eqx.tree_at(lambda s: (s.clock, s.age, s.e, s.given, s.felt, s.total, s.pending), tracker, moved)


def same(a: Float[Array, " d"], b: Float[Array, " d"]) -> Bool[Array, " d"]:
    """Whether standardised readings are one reading, up to the last bits of single precision."""
    return jnp.abs(a - b) < _SAME


def read(tracker: Tracker, z: Float[Array, " d"], mask: Bool[Array, " d"]) -> Tracker:
    """Take in readings of the channels in `mask`."""
    again = mask & (tracker.seen > 0)
    held = tracker.z[:, None] + (tracker.mean - tracker.z[:, None]) * jnp.exp(
        -tracker.age[:, None] / jnp.asarray(MEMORY_TAUS)[None, :]
    )
    zero = jnp.zeros_like(tracker.age)
    count, t_mean, z_mean, s_tt, s_tz = tracker.moments
    more = count + 1
    dt, dz = tracker.clock - t_mean, z - z_mean
    moments = jnp.stack([
        more, t_mean + dt / more, z_mean + dz / more,
        s_tt + dt * dt * count / more, s_tz + dt * dz * count / more,
    ])  # fmt: skip
    return eqx.tree_at(
        lambda s: (s.z, s.prev, s.lag, s.age, s.seen, s.still, s.mean, s.given, s.felt, s.moments),
        tracker,
        (
            jnp.where(mask, z, tracker.z),
            jnp.where(mask, jnp.where(again, tracker.z, z), tracker.prev),
            jnp.where(mask, jnp.where(again, tracker.age, zero), tracker.lag),
            jnp.where(mask, zero, tracker.age),
            jnp.where(mask, 1.0, tracker.seen),
            jnp.where(mask, jnp.where(again & same(z, tracker.z), tracker.still + tracker.age, 0.0), tracker.still),
            jnp.where(mask[:, None], jnp.where(again[:, None], held, z[:, None]), tracker.mean),
            jnp.where(mask[:, None], 0.0, tracker.given),
            jnp.where(mask[:, None, None], 0.0, tracker.felt),
            jnp.where(mask[None, :], moments, tracker.moments),
        ),
    )


class Trace(eqx.Module):
    """A history as the tracker saw it: just before and just after each time."""

    before: Tracker
    after: Tracker


def trace(frame: Frame, path: Path, n_actions: int) -> Trace:
    """Run the tracker along one path, stacked along T."""

    def body(carry, now):
        tracker, t0 = carry
        t, x = now
        rate, bolus = between(path.plan, t0, t, n_actions)
        dt = jnp.maximum(t - t0, 0.0)
        before = advance(give(tracker, frame, bolus), frame, rate, dt)
        before = jax.tree.map(lambda a, b: jnp.where(t > t0, a, b), before, tracker)
        mask = jnp.isfinite(x)
        after = read(before, frame.scale.to_z(jnp.where(mask, x, 1.0)), mask)
        after = jax.tree.map(lambda a, b: jnp.where(jnp.any(mask), a, b), after, before)
        return (after, t), Trace(before, after)

    start = (fresh(frame, path.traits), path.t[0])
    return jax.lax.scan(body, start, (path.t, path.x))[1]
