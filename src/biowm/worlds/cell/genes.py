"""Genes that regulate each other, cell by cell: transcripts are made and lost by chance, under genes that are changed.

The chemical Langevin equation of transcripts x (SERGIO, Dibaeinia and Sinha 2020, doi:10.1016/j.cels.2020.08.003;
BoolODE, Pratapa et al. 2020, doi:10.1038/s41592-019-0690-6):

    dx_i = (m_i - d_i x_i) dt + sqrt((1 + 2 B) m_i + d_i x_i) dW,
    m_i = c f_i(u_i) (b_i + sum_j K_ij h_ij(x_j))

with h = x^n / (a^n + x^n) of what raises gene i and 1 - h of what lowers it, c the size of the cell (chance outside
the gene, that all genes of a cell share) and B transcripts in a burst of the promoter beyond the first: at rest a
gene alone has mean m / d and a variance 1 + B times that (Poisson where B is 0; doi:10.1073/pnas.0803850105). A
member of a set with dose u changes production: f = 1 + u for u < 0 (-1 is a knock-out) and 1 + (fold - 1) u above (1
is the full activation). Clock: hours. A cell here may be read again and again; `snapshot.py` reads each once, as
sequencing does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from biowm.core.registry import register
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec

from ..langevin import Langevin
from .topology import Edge, nodes_of, random_edges

LINES = ("A", "B")
SIZES = 6  # sizes of cells, of each line: a belief holds a covariance for each
SIZE = 0.2  # sd of the log size: assumed
FOLD = 4.0  # of production at full activation: as CRISPRa often reaches
CAPTURE = 0.5  # share of transcripts that a reading of the world counts
LOSS = 0.25  # 1/h: a transcript lasts some hours (doi:10.1038/nature10098)
_LEAST = 1e-3  # transcripts below which a power goes on by the first power


class Regulation(eqx.Module):
    """Parameters of n genes [target, source] of one line: transcripts per hour, transcripts, 1/h."""

    basal: Float[Array, "*l n"]
    most: Float[Array, "*l n n"]
    sign: Float[Array, "*l n n"]
    half: Float[Array, "*l n n"]
    loss: Float[Array, "*l n"]


class Genes(Langevin):
    """Transcripts of every gene of one cell, while genes are changed: `targets` (index of a gene) by action.

    `own` holds the logarithm of the size of each kind of cell. With `burst`, `hill` and `fold` as above.
    Sources: doi:10.1016/j.cels.2020.08.003, doi:10.1038/s41592-019-0690-6.
    """

    _: KW_ONLY
    regulation: Regulation
    own: Float[Array, "k p"]
    line: Int[Array, " k"]
    targets: tuple[int, ...] = eqx.field(static=True)
    spec: WorldSpec = eqx.field(static=True)
    outlets: tuple[tuple[str, str], ...] = eqx.field(static=True)
    spacing: float = eqx.field(static=True, default=2.0)
    steps: int = eqx.field(static=True, default=4)
    settling: float = eqx.field(static=True, default=48.0)
    low: float = eqx.field(static=True, default=0.0)
    high: float = eqx.field(static=True, default=float("inf"))
    burst: float = eqx.field(static=True, default=0.0)
    hill: float = eqx.field(static=True, default=2.0)
    fold: float = eqx.field(static=True, default=FOLD)
    capture: float = eqx.field(static=True, default=CAPTURE)

    def drift(
        self, line: Int[Array, ""], own: Float[Array, " p"], x: Float[Array, " n"], action: Float[Array, " a"]
    ) -> Float[Array, " n"]:
        return self.made(line, own, x, action) - self.regulation.loss[line] * x

    def spread(
        self, line: Int[Array, ""], own: Float[Array, " p"], x: Float[Array, " n"], action: Float[Array, " a"]
    ) -> Float[Array, " n"]:
        events = (1 + 2 * self.burst) * self.made(line, own, x, action) + self.regulation.loss[line] * x
        some = events > 0  # at none there is no slope to infinity
        return jnp.where(some, jnp.sqrt(jnp.where(some, events, 1.0)), 0.0)

    def decay(self, line: Int[Array, ""], own: Float[Array, " p"]) -> Float[Array, " n"]:
        return self.regulation.loss[line]

    def error(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        """What the binomial capture of transcripts leaves open, and that they are whole numbers."""
        return jnp.sqrt(jnp.maximum(x, 0.0) * (1 - self.capture) / self.capture + 0.25)

    def first(self, line: Int[Array, ""], own: Float[Array, " p"]) -> Float[Array, " n"]:
        reg = self.regulation
        return jnp.exp(own[0]) * (reg.basal[line] + jnp.sum(reg.most[line], axis=1) / 2) / reg.loss[line]

    def made(
        self, line: Int[Array, ""], own: Float[Array, " p"], x: Float[Array, " n"], action: Float[Array, " a"]
    ) -> Float[Array, " n"]:
        """Transcripts that are made per hour."""
        reg = jax.tree.map(lambda leaf: leaf[line], self.regulation)
        ratio = jnp.maximum(x, 0.0)[None] / reg.half
        power = ratio * jnp.maximum(ratio, _LEAST) ** (self.hill - 1)
        raised = power / (1 + power)
        total = reg.basal + jnp.sum(reg.most * jnp.where(reg.sign > 0, raised, 1 - raised), axis=1)
        factor = jnp.where(action < 0, 1 + action, 1 + (self.fold - 1) * action)
        return jnp.exp(own[0]) * total * jnp.ones_like(x).at[jnp.asarray(self.targets, int)].set(factor)


def genes(
    edges: Sequence[Edge],
    *,
    targets: Sequence[str] = (),
    alone: Sequence[str] = (),
    name: str = "cell/genes",
    lines: Sequence[str] = LINES,
    level: float = 30.0,
    between_genes: float = 0.5,
    between_lines: float = 0.4,
    sizes: int = SIZES,
    size: float = SIZE,
    burst: float = 0.0,
    seed: int = 0,
) -> Genes:
    """A world of a table of who regulates whom, and of genes that are `alone`; `targets` (default: all) may be changed.

    A gene has `level` transcripts at rest or so (log-normal, sd `between_genes`), a fifth of its production is its own.
    Regulators act by a half where they are at their own usual level, as in SERGIO. Lines differ in all parameters by
    a log-normal factor of sd `between_lines`; `size` is the sd of the log size of cells, of which there are `sizes`.
    Raises: ValueError for a target that is no gene.
    """
    names = nodes_of([*edges, *(Edge(g, g, 1) for g in alone)])
    targets = tuple(dict.fromkeys(targets or names))
    strange = [t for t in targets if t not in names]
    if strange:
        raise ValueError(f"targets {', '.join(strange)}, expected genes among {', '.join(names)}")
    parts = [
        _regulation(names, edges, level, between_genes, between_lines * (k > 0), [seed, k]) for k in range(len(lines))
    ]
    quantiles = (np.arange(sizes) + 0.5) / sizes
    log_size = size * np.asarray(jax.scipy.special.ndtri(jnp.asarray(quantiles, jnp.float32)))
    return Genes(
        regulation=jax.tree.map(lambda *leaves: jnp.stack(leaves), *parts),
        own=jnp.asarray(np.tile(log_size, len(lines))[:, None], jnp.float32),
        line=jnp.repeat(jnp.arange(len(lines)), sizes),
        targets=tuple(names.index(t) for t in targets),
        spec=WorldSpec(
            name=name,
            clock="h",
            channels=tuple(Channel(g, "copies", low=0.0) for g in names),
            actions=tuple(ActionCard(f"{t} changed", "", "set-member", -1.0, 1.0, target=t) for t in targets),
            traits=(Trait("line", kind="category", levels=tuple(lines)),),
        ),
        outlets=tuple((g, "copies") for g in names),
        burst=burst,
    )


@register("worlds", "cell/genes")
def regulated_genes() -> Genes:
    """Ten genes in a random network of two lines; five of them may be activated, repressed or knocked out.

    Sources: doi:10.1016/j.cels.2020.08.003, doi:10.1038/s41592-019-0690-6.
    """
    edges = random_edges(10, seed=3, prefix="G")
    return genes(edges, targets=nodes_of(edges)[:5])


def _regulation(
    names: Sequence[str], edges: Sequence[Edge], level: float, between: float, lines: float, seed: list[int]
) -> Regulation:
    n = len(names)
    place = {name: i for i, name in enumerate(names)}
    usual = level * np.exp(between * np.random.default_rng(seed[0]).standard_normal(n))
    luck = np.random.default_rng(seed).standard_normal((n, n + 2))
    share, sign = np.zeros((n, n)), np.ones((n, n))
    for e in edges:
        i, j = place[e.target], place[e.source]
        share[i, j], sign[i, j] = np.exp(lines * luck[i, j]), e.sign
    usual, loss = usual * np.exp(lines * luck[:, n]), LOSS * np.exp(lines / 2 * luck[:, n + 1])
    regulated = share.sum(1) > 0
    # At rest each edge acts by a half: basal + sum(most) / 2 = usual level x loss.
    basal = np.where(regulated, 0.2, 1.0) * usual * loss
    most = 2 * 0.8 * (usual * loss)[:, None] * share / np.where(regulated, share.sum(1), 1.0)[:, None]
    half = np.broadcast_to(usual, (n, n))
    return Regulation(*(jnp.asarray(v, jnp.float32) for v in (basal, most, sign, half, loss)))
