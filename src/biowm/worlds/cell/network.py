"""Equations of a signalling network: logic gates that are made continuous, with activities between 0 and 1.

Node i goes at its rate r to what drives it:

    x_i' = r_i (g_i - x_i)
    g_i = free_i (1 - (1 - b_i) prod_j (1 - p_ij h_ij) prod_s (1 - q_is u_s)) prod_k (1 - p_ik h_ik)

over what raises it (j: any of these does, with the basal activity b and stimuli u) and what lowers it (k), with
h = (1 + c^n) x^n / (c^n + x^n), which is 0 at 0 and 1 at 1. This is the logic form of CNORode (Wittmann et al. 2009,
doi:10.1186/1752-0509-3-98; Terfve et al. 2012, doi:10.1186/1752-0509-6-133). free_i is the share of node i that no
inhibitor holds: occupied protein does nothing; a knock-out leaves none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .topology import Edge

_LEAST = 1e-6  # activity below which a power goes on by the first power, so that there is a gradient at none


class Network(eqx.Module):
    """Parameters of n nodes [target, source] and s stimuli, of one line of cells.

    `strength` (0: no edge) and `basal` lie between 0 and 1, `sign` is 1 or -1, `half` is the activity of the source at
    which an edge with a `hill` of n acts at about a half, `rate` is per unit of the clock, `receptor` what a full
    stimulus does to each node.
    """

    strength: Float[Array, "*l n n"]
    sign: Float[Array, "*l n n"]
    half: Float[Array, "*l n n"]
    hill: Float[Array, "*l n n"]
    basal: Float[Array, "*l n"]
    rate: Float[Array, "*l n"]
    receptor: Float[Array, "*l n s"]


def drive(
    net: Network, x: Float[Array, " n"], stimulus: Float[Array, " s"], held: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Where each node goes under stimuli (0 to 1) with a share `held` of each node by inhibitors."""
    acts = net.strength * _hill(x, net.half, net.hill)
    raised = jnp.prod(jnp.where(net.sign > 0, 1 - acts, 1.0), axis=1) * jnp.prod(
        1 - net.receptor * stimulus[None], axis=1
    )
    lowered = jnp.prod(jnp.where(net.sign < 0, 1 - acts, 1.0), axis=1)
    return (1 - held) * (1 - (1 - net.basal) * raised) * lowered


def slope(
    net: Network, x: Float[Array, " n"], stimulus: Float[Array, " s"], held: Float[Array, " n"]
) -> Float[Array, " n"]:
    """Change of each activity per unit of the clock."""
    return net.rate * (drive(net, x, stimulus, held) - x)


def network(
    nodes: Sequence[str],
    edges: Sequence[Edge],
    receptors: Mapping[str, Mapping[str, float]],
    *,
    vary: float = 0.0,
    rate: float = 0.1,
    seed: int = 0,
) -> Network:
    """A network of a table of edges: `receptors` says what each stimulus does to which node (0 to 1).

    With `vary` 0 all strengths are .8, halves .5, Hill coefficients 2, basal activities .05 and rates `rate`;
    otherwise halves, rates and the odds of strengths and basal activities vary by a log-normal factor of that sd, and
    Hill coefficients evenly from 1 to 3. Parameters belong to names: however nodes and edges are ordered, the same
    edge has the same. Raises: ValueError for an edge or a stimulus of a node that is not there.
    """
    place = {name: i for i, name in enumerate(nodes)}
    strange = sorted({n for e in edges for n in (e.source, e.target)} | {n for r in receptors.values() for n in r})
    strange = [name for name in strange if name not in place]
    if strange:
        raise ValueError(f"found {', '.join(strange)} in edges or stimuli, expected nodes among {', '.join(nodes)}")
    n = len(nodes)
    one = {k: np.zeros((n, n)) for k in ("strength", "sign")} | {k: np.ones((n, n)) for k in ("half", "hill")}
    for e in edges:
        i, j, z = place[e.target], place[e.source], _luck(seed, e.source, e.target)
        one["strength"][i, j], one["sign"][i, j] = _odds(0.8, vary * z[0]), e.sign
        one["half"][i, j] = min(0.5 * np.exp(vary * z[1]), 0.95)
        one["hill"][i, j] = 2.0 if vary == 0 else 2.0 + np.tanh(z[2])
    own = [_luck(seed, name) for name in nodes]
    receptor = np.array([[receptors[s].get(name, 0.0) for s in receptors] for name in nodes]).reshape(n, -1)
    parts = {
        **one,
        "basal": np.array([_odds(0.05, vary * z[0]) for z in own]),
        "rate": np.array([rate * np.exp(vary * z[1]) for z in own]),
        "receptor": receptor,
    }
    return Network(**{name: jnp.asarray(value, jnp.float32) for name, value in parts.items()})


def _hill(x: Float[Array, " n"], half: Float[Array, "n n"], hill: Float[Array, "n n"]) -> Float[Array, "n n"]:
    source = x[None]
    power = source * jnp.maximum(source, _LEAST) ** (hill - 1)
    scale = half**hill
    return (1 + scale) * power / (scale + power)


def _odds(share: float, shift: float) -> float:
    """A share whose logit is moved by `shift`."""
    return float(1 / (1 + (1 - share) / share * np.exp(-shift)))


def _luck(seed: int, *names: str) -> np.ndarray:
    """Three standard normal numbers that belong to a name."""
    return np.random.default_rng([seed, *(ord(c) for c in "\n".join(names))]).standard_normal(3)
