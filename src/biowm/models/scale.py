"""Links and scales: readings in their units to standardised link space, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from biowm.core.arrays import AnyArray, space
from biowm.core.spec import WorldSpec

Numbers = Float[AnyArray, "*b d"]


class Scale(eqx.Module):
    """z = (link(x) - mean) / sd per channel, kept within [lowest, highest].

    The link is log(x + floor), logit((x - low) / (high - low)) or the identity, as the study declares.
    The limits let a rollout go to three times the largest training value, not to infinity.
    """

    is_log: Float[Array, " d"]
    is_logit: Float[Array, " d"]
    floor: Float[Array, " d"]
    low: Float[Array, " d"]
    span: Float[Array, " d"]
    mean: Float[Array, " d"]
    sd: Float[Array, " d"]
    lowest: Float[Array, " d"]
    highest: Float[Array, " d"]

    def link(self, x: Numbers) -> Numbers:
        """Readings [..., d] to link space, not standardised; NaN stays NaN, and NumPy stays NumPy."""
        xp, own = _alike(x)
        share = xp.clip((x - own(self.low)) / own(self.span), _EDGE, 1 - _EDGE)
        logit = xp.log(share) - xp.log1p(-share)
        log = xp.log(xp.maximum(xp.maximum(x, 0.0) + own(self.floor), _TINY))
        return xp.where(own(self.is_log) > 0, log, xp.where(own(self.is_logit) > 0, logit, x))

    def to_z(self, x: Numbers) -> Numbers:
        """Readings [..., d] to standardised link space."""
        _, own = _alike(x)
        return (self.link(x) - own(self.mean)) / own(self.sd)

    def to_x(self, z: Numbers) -> Numbers:
        """Standardised link space to readings [..., d]."""
        xp, own = _alike(z)
        value = z * own(self.sd) + own(self.mean)
        is_log, is_logit = own(self.is_log) > 0, own(self.is_logit) > 0
        logit = own(self.low) + own(self.span) / (1 + xp.exp(-xp.where(is_logit, value, 0.0)))
        log = xp.maximum(xp.exp(xp.where(is_log, value, 0.0)) - own(self.floor), 0.0)
        return xp.where(is_log, log, xp.where(is_logit, logit, value))


def _alike(x: Numbers) -> tuple[Any, Callable[[Array], Numbers]]:
    """The array module of `x`, and what turns one number a channel into an array that goes with it."""
    xp = space(x)
    shape = (1,) * (x.ndim - 1) + (-1,)
    return xp, lambda a: xp.asarray(a).reshape(shape)


_EDGE, _TINY = 1e-3, 1e-12


def fit_scale(spec: WorldSpec, x: Float[np.ndarray, "b t d"]) -> Scale:
    """Links from the spec, means, spreads and limits from the training readings (NaN = missing).

    A log channel that holds zeros and declares no floor gets half its smallest positive reading as floor.
    """
    x = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
    kinds = [c.link for c in spec.channels]
    floor = np.array([c.floor for c in spec.channels])
    for j, kind in enumerate(kinds):
        values = x[np.isfinite(x[:, j]), j]
        if kind == "log" and floor[j] == 0 and (values <= 0).any():
            positive = values[values > 0]
            floor[j] = positive.min() / 2 if len(positive) else 1.0
    low = np.array([0.0 if c.low is None or c.link != "logit" else c.low for c in spec.channels])
    high = np.array([1.0 if c.high is None or c.link != "logit" else c.high for c in spec.channels])
    zero = np.zeros(len(kinds))
    raw = Scale(
        *(jnp.asarray(a, jnp.float32) for a in (
            [k == "log" for k in kinds], [k == "logit" for k in kinds], floor, low, high - low,
            zero, zero + 1, zero, zero,
        ))
    )  # fmt: skip
    linked = np.asarray(raw.link(x.astype(np.float32)), np.float64)
    mean, sd = np.nanmean(linked, 0), np.nanstd(linked, 0)
    sd = _shared(spec, np.where(sd > 1e-6, sd, 1.0))
    least, most = np.nanmin(linked, 0), np.nanmax(linked, 0)
    reach = np.maximum(most - least, 1e-3)
    is_log = np.array([k == "log" for k in kinds])
    bottom = np.where(is_log, np.log(np.maximum(floor, np.exp(least - 3.0))), least - reach)
    top = np.where(is_log, most + np.log(3.0), most + reach)
    lowest, highest = (bottom - mean) / sd, (top - mean) / sd
    return eqx.tree_at(
        lambda s: (s.mean, s.sd, s.lowest, s.highest),
        raw,
        tuple(jnp.asarray(a, jnp.float32) for a in (mean, sd, lowest, highest)),
    )


def _shared(spec: WorldSpec, sd: Float[np.ndarray, " d"]) -> Float[np.ndarray, " d"]:
    """The spreads, one for all components of a vector: the root of their mean square."""
    sd = sd.copy()
    for name in {c.vector for c in spec.channels} - {None}:
        of = [j for j, c in enumerate(spec.channels) if c.vector == name]
        sd[of] = np.sqrt((sd[of] ** 2).mean())
    return sd
