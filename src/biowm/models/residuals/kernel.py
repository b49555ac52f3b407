"""The kernel residual: what a trunk missed on training subjects like this one, shrunk to zero where there are none.

An anchor is a training subject at one of its readings, with what the trunk then missed, by lead. The miss to expect is
the kernel-weighted mean of the anchors' (Nadaraya-Watson), and its share is W / (W + shrink) with W the sum of the
weights: with a shrink of 3, three anchors exactly alike are believed half. Anchors are alike in the channel's own
reading, in the clock, in traits and in the doses given up to the time that is forecast; what counts is chosen on
subjects left out. The 64 anchors most like the last reading are looked at.
"""

from __future__ import annotations

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from biowm.core.buckets import bucket
from biowm.core.registry import register

from ..candidate import Candidate, Material
from ..residual import Change, Corrected, Residual
from ..tracker import Tracker
from .anchors import Anchors, anchors_of

DOSES = (0.3, 1.0, 3.0)  # widths that are tried, in spreads among the anchors
_READING, _SHRINK = (0.08, 0.15, 0.4, 1.0), (0.3, 3.0)
_CLOCK = 0.4
_LEAST = 0.1  # of the mean dose: smaller differences tell nothing
_NEAREST, _FAR = 64, 1e4


class Nearest(eqx.Module):
    """Since each channel's last real reading: its clock, the anchors most like it, and how unlike they are."""

    clock: Float[Array, " d"]
    anchor: Int[Array, "d k"]
    apart: Float[Array, "d k"]


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
    shrink: Float[Array, ""]

    def blank(self) -> Nearest:
        d, k = self.z.shape[1], min(_NEAREST, self.z.shape[0])
        return Nearest(jnp.zeros(d), jnp.zeros((d, k), jnp.int32), jnp.full((d, k), _FAR))

    def encode(self, latent: Nearest, ahead: Tracker, z: Float[Array, " d"], mask: Bool[Array, " d"]) -> Nearest:
        apart = ((self.z - z[None, :]) / self.width_z[None, :]) ** 2
        unlike = jnp.sum((self.traits - ahead.traits[None, :]) ** 2, axis=1)
        unlike = unlike + ((self.clock - ahead.clock) / self.width_clock) ** 2
        closest, anchor = jax.lax.top_k(-(apart + unlike[:, None]).T, latent.anchor.shape[1])
        new = (jnp.broadcast_to(ahead.clock, mask.shape), anchor.astype(jnp.int32), -closest)
        chosen = (
            jnp.where(mask.reshape(-1, *(1,) * (n.ndim - 1)), n, o) for n, o in zip(new, _parts(latent), strict=True)
        )
        return Nearest(*chosen)

    def __call__(self, latent: Nearest, ahead: Tracker) -> Change:
        def channel(clock, anchor, apart, gap, j):
            lead = ahead.clock - clock
            missed = self.missed[anchor, :, j]
            given = self._at(lead, self.total[anchor]) - ahead.total.reshape(1, -1)
            unlike = jnp.sum((given / self._at(lead, self.width_total[None])) ** 2, axis=1)
            w = jnp.exp(-0.5 * (apart + unlike))
            rise = self._at(lead, missed[..., None]) - self._at(lead - gap, missed[..., None])
            weight = jnp.sum(w)
            return jnp.sum(w * rise[:, 0]) / jnp.maximum(weight, 1e-12), weight / (weight + self.shrink)

        return Change(*jax.vmap(channel)(*_parts(latent), ahead.age, jnp.arange(self.z.shape[1])))

    def _at(self, lead: Float[Array, ""], table: Float[Array, "n h a"]) -> Float[Array, "n a"]:
        """Values at a lead, linear between nodes and held after the last (as a product: draws share the table)."""
        number = jnp.arange(len(self.nodes), dtype=jnp.float32)
        hat = jnp.clip(1 - jnp.abs(number - jnp.interp(lead, self.nodes, number)), 0.0)
        return jnp.einsum("nha,h->na", table, hat)


def _parts(latent: Nearest) -> tuple[Array, Array, Array]:
    return latent.clock, latent.anchor, latent.apart


def with_kernel(base: Candidate, doses: tuple[float, ...] = DOSES) -> Candidate:
    """A candidate and a kernel residual on what it missed on the training subjects."""
    return Candidate(f"{base.name} + kernel", base.is_rule, lambda m: fit_corrected(base, m, doses))


def fit_corrected(base: Candidate, m: Material, doses: tuple[float, ...] = DOSES) -> Corrected:
    """Fit the trunk, look at what it missed, and fit the kernel to that."""
    trunk = base.fit(m)
    return Corrected(m.spec, trunk.spacing, m.frame, trunk, fit_kernel(anchors_of(trunk, m), doses))


def fit_kernel(anchors: Anchors, doses: tuple[float, ...] = DOSES) -> Kernel:
    """The kernel whose widths and shrinkage predict best what was missed on subjects left out."""
    kernels = [_kernel(anchors, *choice) for choice in itertools.product(_READING, doses, _SHRINK)]
    errors = [float((left_out(anchors, kernel) ** 2).mean()) for kernel in kernels]
    return kernels[int(np.argmin(errors))]


def _kernel(a: Anchors, reading: float, doses: float, shrink: float) -> Kernel:
    """Widths in standardised units, spacings and scaled doses, from the spreads among the anchors."""
    least = _LEAST * np.abs(a.total).mean(0) + 1e-3
    clock = _CLOCK * max(float(a.clock.std()), 1.0)
    widths = (reading * np.maximum(a.z.std(0), 1e-3), np.asarray(clock), doses * np.maximum(a.total.std(0), least))
    more = bucket(len(a.z)) - len(a.z)  # nobody is like the padding

    def pad(table: np.ndarray, fill: float = 0.0) -> np.ndarray:
        return np.concatenate([table, np.full((more, *table.shape[1:]), fill)])

    tables = (a.nodes, pad(a.z, _FAR), pad(a.clock), pad(a.traits), pad(a.total), pad(a.missed))
    return Kernel(*(jnp.asarray(v, jnp.float32) for v in (*tables, *widths, np.asarray(shrink))))


def left_out(a: Anchors, kernel: Kernel) -> Float[np.ndarray, "n h d"]:
    """What is still missed of each anchor after correction by the anchors of other subjects."""
    width_z, width_clock, width_total = (
        np.asarray(w) for w in (kernel.width_z, kernel.width_clock, kernel.width_total)
    )
    same = ((a.clock[:, None] - a.clock[None]) / width_clock) ** 2
    same = same + ((a.traits[:, None] - a.traits[None]) ** 2).sum(-1)
    same = np.where(a.subject[:, None] == a.subject[None], np.inf, same)
    rest = np.empty_like(a.missed)
    for h in range(len(a.nodes)):
        given = (((a.total[:, None, h] - a.total[None, :, h]) / width_total[h]) ** 2).sum(-1) + same
        for j in range(a.z.shape[1]):
            w = np.exp(-0.5 * (given + ((a.z[:, None, j] - a.z[None, :, j]) / width_z[j]) ** 2))
            rest[:, h, j] = a.missed[:, h, j] - w @ a.missed[:, h, j] / (w.sum(1) + float(kernel.shrink))
    return rest
