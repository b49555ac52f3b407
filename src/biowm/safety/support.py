"""Support: whether the training data cover the question that is asked, and in what they do not."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from biowm.core.futures import Support, Verdict
from biowm.core.path import Path
from biowm.core.schedule import Entry, entries
from biowm.core.spec import WorldSpec
from biowm.models.scale import Scale
from biowm.train.envelope import Envelope, medians

_EDGE, _OUTSIDE = 1.02, 1.5  # of a range seen in training: beyond the first it is the edge, beyond the second outside
_MOST_GAP = 1.5
_SHIFT_EDGE, _SHIFT_OUTSIDE = 0.25, 1.0  # beyond the range of training levels, in widths of that range
_LEAST_RANGE = 0.1  # training SDs: a range of levels counts as no narrower


def judge(
    spec: WorldSpec, scale: Scale, seen: Envelope, path: Path, origin: int, plan: Sequence[Entry], horizon: float
) -> Support:
    """Compare a question with the training data.

    Args: one unbatched path and the index of its last reading used; the interventions after it; the horizon in
    the world's clock. Looks at the horizon, the last readings, the level at which the history
    began and went on, the gaps between readings, and each dose and action.
    """
    found = [*_horizon(spec, seen, horizon), *_sets(spec, seen, plan)]
    if seen.origins == "start":  # asked before anything was read: there is no history to compare
        return _worst([*found, *_doses(spec, seen, plan)])
    z = scale.to_z(np.asarray(path.x[: origin + 1]))
    for j, channel in enumerate(spec.channels):
        values = z[np.isfinite(z[:, j]), j]
        if not len(values):
            found.append(("edge", f"{channel.name} was never read in this history"))
            continue
        excess = max(values[-1] - seen.z_high[j], seen.z_low[j] - values[-1])
        if excess > 0:
            verdict: Verdict = "outside" if excess > 1.0 else "edge"
            found.append(
                (verdict, f"the last {channel.name} lies {excess:.2g} training SDs beyond every training reading")
            )
        found += _shift(spec, scale, seen, j, values)
    found += _gaps(spec, seen, path, origin)
    return _worst([*found, *_doses(spec, seen, plan)])


def judge_schedule(spec: WorldSpec, seen: Envelope, plan: Sequence[Entry], horizon: float) -> Support:
    """Compare a schedule alone, whoever it is given to, with the training data: its horizon, doses and actions."""
    return _worst([*_horizon(spec, seen, horizon), *_sets(spec, seen, plan), *_doses(spec, seen, plan)])


def _worst(found: Sequence[tuple[Verdict, str]]) -> Support:
    order: tuple[Verdict, ...] = ("inside", "edge", "outside")
    worst = order[max((order.index(v) for v, _ in found), default=0)]
    return Support(worst, tuple(reason for _, reason in found))


def _horizon(spec: WorldSpec, seen: Envelope, horizon: float) -> list[tuple[Verdict, str]]:
    if horizon <= seen.longest * _EDGE:
        return []
    clock = spec.clock
    return [("outside", f"the horizon, {horizon:g} {clock}, is beyond what was validated, {seen.longest:g} {clock}")]


def _shift(
    spec: WorldSpec, scale: Scale, seen: Envelope, channel: int, values: Float[np.ndarray, " n"]
) -> list[tuple[Verdict, str]]:
    """A level unlike every training subject's: a sensor with another zero, another unit (RECIPES: sensors drift).

    Looks at the medians of the first 1, 2, 4, ... readings; the worst is told.
    """
    own = medians(values)[: len(seen.levels)]
    low, high = seen.levels[: len(own), :, channel].T
    excess = np.nan_to_num(np.maximum(own - high, low - own) / np.maximum(high - low, _LEAST_RANGE), nan=-np.inf)
    k = int(excess.argmax())
    if excess[k] <= _SHIFT_EDGE:
        return []
    c = spec.channels[channel]
    what = f"the first {c.name}" if k == 0 else f"the median of the first {1 << k} readings of {c.name}"
    levels = np.repeat([[own[k]], [low[k]], [high[k]]], len(spec.channels), axis=1)
    value, least, most = np.asarray(jax.vmap(scale.to_x)(jnp.asarray(levels, jnp.float32)))[:, channel]
    verdict: Verdict = "outside" if excess[k] > _SHIFT_OUTSIDE else "edge"
    return [(verdict, f"{what}, {value:.4g} {c.unit}, lies beyond every training subject's, {least:.4g} to {most:.4g}")]


def _gaps(spec: WorldSpec, seen: Envelope, path: Path, origin: int) -> list[tuple[Verdict, str]]:
    """The median and the mean time between readings: a shift breaks calibration (RECIPES: 28 d against 83 d)."""
    times = np.asarray(path.t[: origin + 1])[np.isfinite(np.asarray(path.x[: origin + 1])).any(-1)]
    if len(times) < 2:
        return [("edge", f"a history of {len(times)} reading says little about this subject")]
    gaps = np.diff(times)
    low, high = seen.gaps[0], seen.gaps[2]
    # Half of all gaps may be as in training and the others missed readings: the mean tells, the median does not.
    usual, mean = float(np.median(gaps)), float(gaps.mean())
    usual = max(usual, mean) if mean > high else usual
    if usual > high or usual < low:
        verdict: Verdict = "outside" if usual > _MOST_GAP * high or usual < low / _MOST_GAP else "edge"
        return [(verdict, f"readings {usual:g} {spec.clock} apart; in training nearly all were {low:g} to {high:g}")]
    return []


def _doses(spec: WorldSpec, seen: Envelope, plan: Sequence[Entry]) -> list[tuple[Verdict, str]]:
    found: list[tuple[Verdict, str]] = []
    for a, card in enumerate(spec.actions):
        doses = [e.dose for e in plan if e.card == a and e.dose != 0]
        if not doses:
            continue
        if seen.given[a] == 0 and any(seen.given[b] > 0 and other.known for b, other in enumerate(spec.actions)):
            found.append(
                ("edge", f"{card.name} was never given in training: answered by what is known of it beforehand")
            )
        elif seen.given[a] == 0:
            found.append(("outside", f"{card.name} was never given in training"))
        elif max(doses) > seen.dose_top[a] * _EDGE:
            ratio = max(doses) / seen.dose_top[a]
            verdict: Verdict = "outside" if ratio > _OUTSIDE else "edge"
            found.append(
                (
                    verdict,
                    f"{card.name} {max(doses):g} {card.unit} is above the largest training dose, {seen.dose_top[a]:g}",
                )
            )
    return found


def _sets(spec: WorldSpec, seen: Envelope, plan: Sequence[Entry]) -> list[tuple[Verdict, str]]:
    """Members that were never together in training: what they do together is taken from what they do apart."""
    members = sorted({e.card for e in plan if e.dose != 0 and spec.actions[e.card].kind == "set-member"})
    known = {(int(a), int(b)) for a, b in seen.together}
    new = [pair for pair in itertools.combinations(members, 2) if pair not in known]
    if not new or any(seen.given[a] == 0 for a in members):  # of one never given more is said elsewhere
        return []
    first, second = (spec.actions[a].name for a in new[0])
    more = f" (and {len(new) - 1} more pairs)" if len(new) > 1 else ""
    return [("edge", f"{first} and {second} were never given together in training{more}")]


def future(path: Path, since: float, until: float) -> list[Entry]:
    """The entries of a path's schedule that act between two times."""
    return [e for e in entries(path.plan) if (e.stop > since or e.onset >= since) and e.onset < until]
