"""Links and scales: readings in their units to standardised link space, and back."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from biowm.core.spec import WorldSpec


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

    def link(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Readings to link space, not standardised; NaN stays NaN."""
        shape = (1,) * (x.ndim - 1) + (-1,)
        floor, low, span = (a.reshape(shape) for a in (self.floor, self.low, self.span))
        share = jnp.clip((x - low) / span, _EDGE, 1 - _EDGE)
        logit = jnp.log(share) - jnp.log1p(-share)
        log = jnp.log(jnp.maximum(jnp.maximum(x, 0.0) + floor, _TINY))
        return jnp.where(self.is_log.reshape(shape) > 0, log, jnp.where(self.is_logit.reshape(shape) > 0, logit, x))

    def to_z(self, x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
        """Readings to standardised link space."""
        shape = (1,) * (x.ndim - 1) + (-1,)
        return (self.link(x) - self.mean.reshape(shape)) / self.sd.reshape(shape)

    def to_x(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        """Standardised link space to readings."""
        value = z * self.sd + self.mean
        logit = self.low + self.span / (1 + jnp.exp(-value))
        log = jnp.maximum(jnp.exp(jnp.where(self.is_log > 0, value, 0.0)) - self.floor, 0.0)
        return jnp.where(self.is_log > 0, log, jnp.where(self.is_logit > 0, logit, value))


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
    linked = np.asarray(raw.link(jnp.asarray(x, jnp.float32)), np.float64)
    mean, sd = np.nanmean(linked, 0), np.nanstd(linked, 0)
    sd = np.where(sd > 1e-6, sd, 1.0)
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
