"""Training the network of a refined trunk: multi-step CRPS of free-running futures from many readings of many subjects.

The trunk stays as it was fitted, so its beliefs, and draws from them, are computed once. A window is a reading of a
training subject, such draws, and what was given and read at the times that follow. The network starts at zero, which
is the trunk itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.path import Path, take
from biowm.core.registry import register
from biowm.core.rollout import assimilate
from biowm.core.schedule import between

from ..candidate import Candidate, Material
from ..tracker import advance
from ..trunks.em import MixedConfig
from ..trunks.mixed import Mixed, MixedState, draw_luck
from ..trunks.statespace_fit import fit_reach
from ..trunks.variants import LIBRARY
from .descent import averaged, chosen, descended, fair_crps
from .network import Net, Refined, inputs

_CHUNK, _MOST, _EACH, _DRAWS = 64, 256, 8, 16  # subjects at once and at most, windows a subject, draws a window
_SPREAD = 0.1  # least sd of an input: smaller differences tell nothing


@dataclass(frozen=True)
class Training:
    """Width of the two hidden layers, steps of the optimiser, windows and draws a step, readings ahead, step size."""

    width: int = 24
    steps: int = 200
    batch: int = 96
    draws: int = 4
    ahead: int = 6
    rate: float = 3e-3
    decay: float = 1e-2


class Windows(eqx.Module):
    """W windows: `start` draws of the state, then of each time ahead mean rates, boluses, gap (0: none) and readings.

    `first` are the network's inputs at the first time of the first draw, `z` and `mask` the readings (standardised
    link space) and which of them there are.
    """

    start: MixedState
    rate: Float[Array, "*w k a"]
    bolus: Float[Array, "*w k a"]
    gap: Float[Array, "*w k"]
    z: Float[Array, "*w k d"]
    mask: Bool[Array, "*w k d"]
    first: Float[Array, "*w q"]


def fit_refined(m: Material, training: Training = Training()) -> Refined:
    """Fit the full mixed trunk with memory, and the network on top of it; the same material gives the same world."""
    trunk = fit_reach(m.spec, m.frame, m.paths, MixedConfig((*LIBRARY, "memory")))
    windows = windows_of(trunk, m.paths, training.ahead)
    net = blank(np.asarray(windows.first), 2 * len(m.spec.channels), training.width, key=jax.random.key(0))
    targets = jnp.asarray(np.isin(np.arange(len(m.spec.channels)), m.spec.targets))
    world = Refined(m.spec, m.frame.spacing, trunk, net)
    return train(world, windows, targets, training, key=jax.random.key(1))[0]


@register("candidates", "network")
def candidates() -> tuple[Candidate, ...]:
    """The trunk with all random effects and memory, refined; a few readings would not repay the training."""
    return (Candidate("mixed(full, memory) + network", False, fit_refined, least=500),)


def windows_of(trunk: Mixed, paths: Path, ahead: int) -> Windows:
    """Eight windows of each of 256 subjects (again and again the same where there are fewer): one compiled program."""
    subjects, origins = chosen(paths, _MOST, _EACH)
    chunks = np.arange(_MOST).reshape(-1, _CHUNK)
    parts = [
        _windows(trunk, take(paths, subjects[rows]), jnp.asarray(origins[rows]), jax.random.key(i), ahead)
        for i, rows in enumerate(chunks)
    ]
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *parts)


@eqx.filter_jit
def _windows(trunk: Mixed, paths: Path, origins: Int[Array, "b e"], key: PRNGKeyArray, ahead: int) -> Windows:
    def subject(path: Path, origins: Int[Array, " e"], key: PRNGKeyArray) -> Windows:
        beliefs = assimilate(trunk, path)
        before = jnp.concatenate([path.t[:1], path.t[:-1]])
        rates, boluses = jax.vmap(lambda a, b: between(path.plan, a, b, len(trunk.spec.actions)))(before, path.t)
        read = jnp.isfinite(path.x)
        z = jax.vmap(trunk.frame.scale.to_z)(jnp.where(read, path.x, 1.0))

        def window(origin: Int[Array, ""], key: PRNGKeyArray) -> Windows:
            belief = jax.tree.map(lambda leaf: leaf[origin], beliefs)
            start = jax.vmap(lambda k: trunk.draw(belief, key=k))(jax.random.split(key, _DRAWS))
            place = origin + 1 + jnp.arange(ahead)
            there = place < path.t.shape[0]
            place = jnp.minimum(place, path.t.shape[0] - 1)
            gap = jnp.where(there, path.t[place] - before[place], 0.0)
            one = trunk.impulse(jax.tree.map(lambda leaf: leaf[0], start), boluses[place[0]])
            tracker = advance(one.tracker, trunk.frame, rates[place[0]], gap[0])
            first = inputs(tracker, trunk.expect(tracker, one.theta), jnp.sqrt(trunk.s2))
            mask = read[place] & (gap > 0)[:, None]
            return Windows(start, rates[place], boluses[place], gap, z[place], mask, first)

        return jax.vmap(window)(origins, jax.random.split(key, _EACH))

    found = jax.vmap(subject)(paths, origins, jax.random.split(key, _CHUNK))
    return jax.tree.map(lambda leaf: leaf.reshape((_CHUNK * _EACH, *leaf.shape[2:])), found)


def blank(first: Float[np.ndarray, "w q"], answers: int, width: int, *, key: PRNGKeyArray) -> Net:
    """A network of two hidden layers that answers zero, scaled to its inputs."""
    mean, sd = first.mean(0), np.maximum(first.std(0), _SPREAD)
    z = (first - mean) / sd
    sizes = (first.shape[1], width, width)
    hidden = [
        jax.random.normal(k, (i, o)) / np.sqrt(i).astype(np.float32)
        for k, i, o in zip(jax.random.split(key, 2), sizes[:-1], sizes[1:], strict=True)
    ]
    mean, sd, low, high = (jnp.asarray(a, jnp.float32) for a in (mean, sd, z.min(0), z.max(0)))
    biases = tuple(jnp.zeros(n) for n in (width, width, answers))
    return Net(mean, sd, low, high, (*hidden, jnp.zeros((width, answers))), biases)


def futures(
    world: Refined, start: MixedState, rate: Float[Array, "k a"], bolus: Float[Array, "k a"],
    gap: Float[Array, " k"], noise: Float[Array, "k d"], luck: Float[Array, "k d"],
) -> Float[Array, "k d"]:  # fmt: skip
    """The readings of one free-running future, in standardised link space."""

    def body(state: MixedState, now: tuple[Array, ...]) -> tuple[MixedState, Float[Array, " d"]]:
        rate, bolus, gap, noise, luck = now
        after = world.move(world.impulse(state, bolus), rate, gap, noise, luck)
        state = jax.tree.map(lambda a, b: jnp.where(gap > 0, a, b), after, state)
        return state, state.tracker.z

    return jax.lax.scan(body, start, (rate, bolus, gap, noise, luck))[1]


def loss(
    world: Refined, windows: Windows, targets: Bool[Array, " d"], training: Training, *, key: PRNGKeyArray
) -> Float[Array, ""]:
    """Fair CRPS of some windows' futures, averaged over the readings of the target channels."""
    k_window, k_draw, k_noise = jax.random.split(key, 3)
    which = jax.random.randint(k_window, (training.batch,), 0, windows.gap.shape[0])
    draw = jax.random.randint(k_draw, (training.batch, training.draws), 0, _DRAWS)
    start = jax.tree.map(lambda leaf: leaf[which[:, None], draw], windows.start)
    rate, bolus, gap, z, mask = (
        leaf[which] for leaf in (windows.rate, windows.bolus, windows.gap, windows.z, windows.mask)
    )
    noise = jax.random.normal(k_noise, (*draw.shape, *z.shape[1:]))
    chance = draw_luck(k_noise, noise)
    many = jax.vmap(futures, in_axes=(None, 0, None, None, None, 0, 0))
    drawn = jax.vmap(many, in_axes=(None, 0, 0, 0, 0, 0, 0))(world, start, rate, bolus, gap, noise, chance)
    score = fair_crps(jnp.moveaxis(drawn, 1, 0), z)
    return averaged(score, mask & targets[None, None, :])


@eqx.filter_jit
def train(
    world: Refined, windows: Windows, targets: Bool[Array, " d"], training: Training, *, key: PRNGKeyArray
) -> tuple[Refined, Float[Array, " steps"]]:
    """Fit the weights of the network by AdamW; returns the world and the loss of every step.

    A step whose loss or gradient is not finite changes nothing.
    """
    marks = jax.tree.map(lambda _: False, world)
    marks = eqx.tree_at(lambda w: (w.net.weights, w.net.biases), marks, replace_fn=lambda part: (True,) * len(part))
    start, rest = eqx.partition(world, marks)
    net, losses = descended(
        lambda net, key: loss(eqx.combine(net, rest), windows, targets, training, key=key),
        start,
        jax.random.split(key, training.steps),
        rate=training.rate,
        decay=training.decay,
    )
    return eqx.combine(net, rest), losses
