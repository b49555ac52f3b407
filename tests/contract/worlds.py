"""Every world that the contract suite holds to its promises. A learned world joins by a line in `make_worlds`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from biowm.core import registry
from biowm.core.path import Path
from biowm.core.rollout import assimilate, at, rollout
from biowm.core.schedule import Entry, Schedule, schedule
from biowm.core.world import Belief, World
from tests.support.burden import burden_world
from tests.support.decay import Decay
from tests.support.tiny import learned

# The direct rules share the belief of knn, and a blend is made of such members.
LEARNED = ("mixed(full)", "knn", "smooth", "recurrent")


def make_worlds() -> dict[str, Callable[[], World]]:
    """How to make each world, by name; nothing is made (or imported) before it is asked for."""
    simulators = {name: lambda name=name: registry.get("worlds", name)() for name in registry.names("worlds")}
    fitted = {name: lambda name=name: learned(name) for name in LEARNED}
    return {"decay": Decay, "mechanism": burden_world, **simulators, **fitted}


@dataclass(frozen=True)
class Case:
    """A world, a subject it simulated itself, the belief after that history, and what to ask next."""

    world: World
    path: Path
    belief: Belief
    plan: Schedule
    times: np.ndarray

    @property
    def now(self) -> float:
        return float(self.path.t[-1])


def dose(world: World, card: int) -> float:
    """A dose of medium size."""
    action = world.spec.actions[card]
    return 1.0 if action.kind == "switch" or action.high is None else action.high / 2


def treat(world: World, stretches: list[tuple[float, float]], size: int | None = None) -> Schedule:
    """Every action over the same stretches of time (a bolus: at their start)."""
    rows = [
        Entry(card, dose(world, card), start, start if action.kind == "bolus" else stop)
        for card, action in enumerate(world.spec.actions)
        for start, stop in stretches
    ]
    return schedule(rows, size)


def make_case(world: World) -> Case:
    """Five readings of a subject under some treatment, then six questions under more of it."""
    h = world.spacing
    traits, place = np.zeros(world.spec.trait_width, np.float32), 0
    for trait in world.spec.traits:  # a category is one-hot: take its first level
        traits[place] = 1.0 if trait.kind == "category" else 0.0
        place += 1 if trait.kind == "real" else len(trait.levels)
    plan = treat(world, [(1 * h, 2 * h), (3 * h, 4 * h), (5 * h, 7 * h), (8 * h, 9 * h)])
    seen = (h * np.arange(5)).astype(np.float32)
    prior = world.begin(jnp.asarray(traits))
    readings = eqx.filter_jit(rollout)(world, prior, plan, seen, key=jax.random.key(3), draws=1)[0]
    path = Path(seen, np.asarray(readings), plan, traits, np.int32(0))
    belief = at(eqx.filter_jit(assimilate)(world, path), -1)
    return Case(world, path, belief, plan, (h * np.arange(5, 11)).astype(np.float32))
