"""A signalling network in cells of several lines, under stimuli and inhibitors, with everything known about it.

Equations are those of `network.py`. Noise: log odds of activities wander (chance inside cells of one dish), dishes of
one line differ in rates and in how readily a node's targets answer, and a reading errs by a normal number on the
scale on which 0 is no activity and 1 is all of it. Clock: minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from biowm.core.mechanism import runge_kutta
from biowm.core.registry import register
from biowm.core.spec import ActionCard, Channel, Trait, WorldSpec

from ..langevin import Langevin
from ..open import strides
from .network import Network, network, slope
from .topology import GROWTH, Edge, nodes_of

LINES = ("A", "B", "C")
DISHES = 12  # of each line
BETWEEN_LINES, BETWEEN_DISHES = 0.6, 0.15  # sd of log parameters: assumed
READING = 0.03  # sd of a reading: assumed
WANDER = 0.06  # sd of the log odds of an activity after one minute: assumed
RATE = 0.08  # 1/min: phosphorylation follows within ten minutes or so, as in HPN-DREAM (doi:10.1038/nmeth.3773)
SPACING = 15.0  # min
_STABLE = 1.5  # rate x step of the solver for squares, which move at twice the rate of what they are squares of


class Signalling(Langevin):
    """Activities of all nodes under `stimuli` (share of a saturating one) and inhibitors (share of a node they hold).

    The actions are the stimuli, then the inhibitors: `target` says which nodes each of these holds. `networks` are
    those of the lines; `own` holds, for each dish, the logarithms of the factors of its nodes' rates and then of
    their halves.
    Sources: doi:10.1186/1752-0509-6-133, doi:10.1016/j.cels.2020.11.013.
    """

    _: KW_ONLY
    networks: Network
    target: Float[Array, "i n"]
    own: Float[Array, "k p"]
    line: Int[Array, " k"]
    spec: WorldSpec = eqx.field(static=True)
    outlets: tuple[tuple[str, str], ...] = eqx.field(static=True)
    steps: int = eqx.field(static=True)
    spacing: float = eqx.field(static=True, default=SPACING)
    settling: float = eqx.field(static=True, default=600.0)
    low: float = eqx.field(static=True, default=0.0)
    high: float = eqx.field(static=True, default=1.0)
    reading: float = eqx.field(static=True, default=READING)
    wander: float = eqx.field(static=True, default=WANDER)

    def drift(
        self, line: Int[Array, ""], own: Float[Array, " p"], x: Float[Array, " n"], action: Float[Array, " a"]
    ) -> Float[Array, " n"]:
        stimuli = len(action) - len(self.target)
        held = 1 - jnp.prod(1 - self.target * action[stimuli:, None], axis=0)
        return slope(self.dish(line, own), x, action[:stimuli], held)

    def spread(
        self, line: Int[Array, ""], own: Float[Array, " p"], x: Float[Array, " n"], action: Float[Array, " a"]
    ) -> Float[Array, " n"]:
        return self.wander * x * (1 - x)

    def decay(self, line: Int[Array, ""], own: Float[Array, " p"]) -> Float[Array, " n"]:
        return self.dish(line, own).rate

    def error(self, x: Float[Array, " n"]) -> Float[Array, " n"]:
        return jnp.full_like(x, self.reading)

    def first(self, line: Int[Array, ""], own: Float[Array, " p"]) -> Float[Array, " n"]:
        return jnp.take(self.networks.basal, line, axis=0)

    def dish(self, line: Int[Array, ""], own: Float[Array, " p"]) -> Network:
        """The network of one dish."""
        net = jax.tree.map(lambda leaf: leaf[line], self.networks)
        n = len(net.rate)
        half = jnp.minimum(net.half * jnp.exp(own[n:])[None, :], 1.0)
        return eqx.tree_at(lambda m: (m.rate, m.half), net, (net.rate * jnp.exp(own[:n]), half))


def signalling(
    edges: Sequence[Edge],
    receptors: Mapping[str, Mapping[str, float]],
    inhibitors: Mapping[str, Sequence[str]],
    *,
    name: str = "cell/signalling",
    lines: Sequence[str] = LINES,
    dishes: int = DISHES,
    between_lines: float = BETWEEN_LINES,
    between_dishes: float = BETWEEN_DISHES,
    seed: int = 0,
) -> Signalling:
    """A world of a table of edges: what each stimulus acts on and how much, and what each inhibitor holds.

    Any node may be the target of an inhibitor; a dose of 1 is a knock-out. Lines differ in parameters, not in who
    acts on whom. Raises: ValueError for names that are not those of nodes.
    """
    nodes = nodes_of(edges)
    strange = sorted({n for held in inhibitors.values() for n in held} - set(nodes))
    if strange:
        raise ValueError(f"inhibitors hold {', '.join(strange)}, expected nodes among {', '.join(nodes)}")
    nets = [
        network(nodes, edges, receptors, vary=between_lines, rate=RATE, seed=seed + number)
        for number in range(len(lines))
    ]
    cards = [ActionCard(s, "", "set-member", 0.0, 1.0, ", ".join(r), effect="up") for s, r in receptors.items()]
    cards += [ActionCard(i, "", "set-member", 0.0, 1.0, ", ".join(h), effect="down") for i, h in inhibitors.items()]
    luck = np.random.default_rng([seed, 1]).standard_normal((len(lines) * dishes, 2 * len(nodes)))
    fastest = float(max(net.rate.max() for net in nets)) * float(np.exp(between_dishes * luck[:, : len(nodes)]).max())
    return Signalling(
        steps=max(2, int(np.ceil(2 * fastest * SPACING / _STABLE))),
        networks=jax.tree.map(lambda *leaves: jnp.stack(leaves), *nets),
        target=jnp.asarray([[float(n in held) for n in nodes] for held in inhibitors.values()]).reshape(-1, len(nodes)),
        own=jnp.asarray(between_dishes * luck, jnp.float32),
        line=jnp.repeat(jnp.arange(len(lines)), dishes),
        spec=WorldSpec(
            name=name,
            clock="min",
            channels=tuple(Channel(n, "") for n in nodes),
            actions=tuple(cards),
            traits=(Trait("line", kind="category", levels=tuple(lines)),),
        ),
        outlets=tuple((n, "") for n in nodes),
    )


@register("worlds", "cell/signalling")
def growth_signalling() -> Signalling:
    """Eight nodes of growth factor signalling in three lines, two growth factors and three inhibitors.

    Sources: doi:10.1186/1752-0509-6-133, doi:10.1007/s00018-016-2297-8.
    """
    receptors = {"EGF": {"EGFR": 0.9}, "HGF": {"MET": 0.9}}
    return signalling(GROWTH, receptors, {"MEKi": ["MEK"], "AKTi": ["AKT"], "PI3Ki": ["PI3K"]})


@eqx.filter_jit
def true_course(
    world: Signalling,
    line: Int[Array, ""],
    dose: Float[Array, " a"],
    times: Float[Array, " t"],
    without: Float[Array, " n"],
) -> Float[Array, "t n"]:
    """Activities of a typical dish of a line without any noise, from the time at which a set is given.

    `times` (min) rise from 0 or later, `without` is 1 for each node that is knocked out from the start of life: the
    dish settles without it. The effect of a set is the difference to the course under none.
    """
    own = jnp.zeros(world.own.shape[1])
    net = world.dish(line, own)
    stimuli = len(dose) - len(world.target)

    def go(x: Float[Array, " n"], given: Float[Array, " a"], dt: Float[Array, ""]) -> Float[Array, " n"]:
        held = 1 - jnp.prod(1 - world.target * given[stimuli:, None], axis=0) * (1 - without)
        parts = strides(dt, world.spacing)

        def stride(_: Int[Array, ""], y: Float[Array, " n"]) -> Float[Array, " n"]:
            return runge_kutta(
                lambda z: slope(net, z, given[:stimuli], held), y, dt / parts.astype(dt.dtype), 4 * world.steps
            )

        return jax.lax.fori_loop(0, parts, stride, x)

    settled = go(world.first(line, own), jnp.zeros_like(dose), jnp.asarray(world.settling))

    def body(x: Float[Array, " n"], dt: Float[Array, ""]) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
        after = go(x, dose, dt)
        return after, after

    return jax.lax.scan(body, settled, jnp.diff(times, prepend=0.0))[1]
