"""The kernel residual: what a trunk missed on training subjects like this one, shrunk to zero where there are none.

An anchor is a training subject at one of its readings, with what the trunk then missed, by lead. The miss to expect is
the kernel-weighted mean of the anchors' (Nadaraya-Watson), and its share is W / (W + 3) with W the sum of the weights:
three anchors exactly alike are believed half. Anchors are alike in the channel's own reading, in the clock, in traits
and in the doses given up to the time that is forecast; how much each counts is chosen on subjects left out.
"""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from biowm.core.registry import register

from ..candidate import Candidate, Material
from ..residual import Change, Corrected, Residual
from ..tracker import Tracker
from .anchors import Anchors, anchors_of

LAMBDA = 3.0
_READING, _DOSES = (0.15, 0.4, 1.0), (0.3, 1.0, 3.0)  # widths that are tried, in spreads among the anchors
_CLOCK = 0.4
_LEAST = 0.1  # of the mean dose: smaller differences tell nothing
_FAR = 1e6


class Origin(eqx.Module):
    """The last real reading of each channel (standardised) and its clock, and the traits."""

    z: Float[Array, " d"]
    clock: Float[Array, " d"]
    traits: Float[Array, " s"]


@register("models", "Kernel")
class Kernel(Residual):
    """Anchors, and the doses given and what was missed at the leads `nodes` (spacings, the first 0).

    Differences of one width (`width_*`) are one standard deviation of the Gaussian kernel.
    """

    nodes: Float[Array, " h"]
    z: Float[Array, "n d"]
    clock: Float[Array, " n"]
    traits: Float[Array, "n s"]
    total: Float[Array, "n h a"]
    missed: Float[Array, "n h d"]
    width_z: Float[Array, " d"]
    width_clock: Float[Array, ""]
    width_total: Float[Array, "h a"]

    def blank(self) -> Origin:
        d, s = self.z.shape[1], self.traits.shape[1]
        return Origin(jnp.full(d, _FAR), jnp.zeros(d), jnp.zeros(s))

    def encode(self, latent: Origin, ahead: Tracker, z: Float[Array, " d"], mask: Bool[Array, " d"]) -> Origin:
        return Origin(jnp.where(mask, z, latent.z), jnp.where(mask, ahead.clock, latent.clock), ahead.traits)

    def __call__(self, latent: Origin, ahead: Tracker) -> Change:
        unlike = jnp.sum((self.traits - latent.traits[None, :]) ** 2, axis=1)

        def channel(z, clock, gap, anchor_z, width_z, missed):
            lead = ahead.clock - clock
            given = self._at(self.total, lead) - ahead.total[None, :]
            apart = jnp.sum((given / self._at(self.width_total[None], lead)) ** 2, axis=1)
            apart = apart + ((anchor_z - z) / width_z) ** 2 + ((self.clock - clock) / self.width_clock) ** 2
            w = jnp.exp(-0.5 * (apart + unlike))
            rise = self._at(missed[..., None], lead) - self._at(missed[..., None], lead - gap)
            weight = jnp.sum(w)
            return jnp.sum(w * rise[:, 0]) / jnp.maximum(weight, 1e-12), weight / (weight + LAMBDA)

        columns = (latent.z, latent.clock, ahead.age, self.z.T, self.width_z, jnp.moveaxis(self.missed, 2, 0))
        return Change(*jax.vmap(channel)(*columns))

    def _at(self, table: Float[Array, "n h a"], lead: Float[Array, ""]) -> Float[Array, "n a"]:
        """Values at a lead, linear between nodes and held after the last (as a product: draws share the table)."""
        number = jnp.arange(len(self.nodes), dtype=jnp.float32)
        hat = jnp.clip(1 - jnp.abs(number - jnp.interp(lead, self.nodes, number)), 0.0)
        return jnp.einsum("nha,h->na", table, hat)


def with_kernel(base: Candidate) -> Candidate:
    """A candidate and a kernel residual on what it missed on the training subjects."""
    return Candidate(f"{base.name} + kernel", base.is_rule, lambda m: fit_corrected(base, m))


def fit_corrected(base: Candidate, m: Material) -> Corrected:
    """Fit the trunk, look at what it missed, and fit the kernel to that."""
    trunk = base.fit(m)
    return Corrected(m.spec, trunk.spacing, m.frame, trunk, fit_kernel(anchors_of(trunk, m)))


def fit_kernel(anchors: Anchors) -> Kernel:
    """The kernel whose widths predict best what was missed on subjects left out."""
    tried = [(_left_out(anchors, *widths), widths) for widths in itertools.product(_READING, _DOSES)]
    reading, doses = min(tried)[1]
    width_z, width_clock, width_total = _widths(anchors, reading, doses)
    arrays = (
        anchors.nodes, anchors.z, anchors.clock, anchors.traits, anchors.total, anchors.missed,
        width_z, width_clock, width_total,
    )  # fmt: skip
    return Kernel(*(jnp.asarray(a, jnp.float32) for a in arrays))


def _widths(a: Anchors, reading: float, doses: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Widths in standardised units, spacings and scaled doses."""
    spread = a.total.std(0)
    least = _LEAST * np.abs(a.total).mean(0) + 1e-3
    clock = _CLOCK * max(float(a.clock.std()), 1.0)
    return reading * np.maximum(a.z.std(0), 1e-3), np.asarray(clock), doses * np.maximum(spread, least)


def _left_out(a: Anchors, reading: float, doses: float) -> float:
    """Mean squared miss, after correction by the anchors of other subjects."""
    width_z, width_clock, width_total = _widths(a, reading, doses)
    same = ((a.clock[:, None] - a.clock[None]) / width_clock) ** 2
    same = same + ((a.traits[:, None] - a.traits[None]) ** 2).sum(-1)
    same = np.where(a.subject[:, None] == a.subject[None], np.inf, same)
    error = 0.0
    for h in range(len(a.nodes)):
        given = (((a.total[:, None, h] - a.total[None, :, h]) / width_total[h]) ** 2).sum(-1) + same
        for j in range(a.z.shape[1]):
            w = np.exp(-0.5 * (given + ((a.z[:, None, j] - a.z[None, :, j]) / width_z[j]) ** 2))
            rest = a.missed[:, h, j] - w @ a.missed[:, h, j] / (w.sum(1) + LAMBDA)
            error += float(np.mean(rest * rest))
    return error
