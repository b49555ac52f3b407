"""In-silico screens: every set of interventions in every context, read at given times, from any simulator.

A condition is a path (docs/decisions/0006): what is held is held from its start on, so that a screen is fitted as any
other study is (`fit_paths` with horizons asked from the start). What each condition would have read under another set
is known: `cohort.had_been`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from biowm.core.path import RUNNING, Path, stack
from biowm.core.rollout import time_grid
from biowm.core.schedule import Entry, Schedule, schedule
from biowm.core.spec import WorldSpec
from biowm.core.world import World

from .cohort import Cohort, had_been

Doses = Mapping[str, float]
"""A set: action -> dose; those that are not named are not given."""


@dataclass(frozen=True)
class Screen:
    """Paths of a simulated screen, with the set and the context of each (`unit`: replicates share it)."""

    cohort: Cohort
    sets: tuple[Doses, ...]
    contexts: tuple[Mapping[str, str], ...]

    @property
    def units(self) -> tuple[str, ...]:
        """The condition of each path in words: what must stay on one side of a split."""
        return tuple(_words(s, c) for s, c in zip(self.sets, self.contexts, strict=True))


def crossed(*factors: Sequence[Doses]) -> list[dict[str, float]]:
    """Every combination of one set out of each factor (stimuli, inhibitors); a later factor wins over an earlier."""
    return [{k: v for part in parts for k, v in part.items()} for parts in product(*factors)]


def simulate_screen(
    world: World,
    sets: Sequence[Doses],
    times: Sequence[float],
    *,
    contexts: Sequence[Mapping[str, str]] = ({},),
    replicates: int = 1,
    at_start: bool = False,
    seed: int = 0,
) -> Screen:
    """Every set in every context (trait -> level), `replicates` times, read at `times` after it was given (clock > 0).

    Each path is a subject of its own, with its own chances. `at_start`: whether it is also read at time 0, just
    before the set works. Raises: KeyError for an action that the world does not have, ValueError for a trait or a
    level, for a bolus (which cannot be held) and for times that do not rise from above 0.
    """
    wanted = np.array([0.0, *times])
    if not (np.diff(wanted) > 0).all():
        raise ValueError(f"found times {', '.join(f'{t:g}' for t in times)}, expected them to rise from above 0")
    spec = world.spec
    rows = [(dict(s), dict(c)) for c, s, _ in product(contexts, sets, range(replicates))]
    plans = [_held(spec, doses, float(wanted[-1])) for doses, _ in rows]
    traits = [_traits(spec, context) for _, context in rows]
    nothing = np.full((len(wanted), len(spec.channels)), np.nan, np.float32)
    time = wanted.astype(np.float32)
    event = np.asarray(RUNNING, np.int32)
    paths = stack([Path(time, nothing, p, t, event) for p, t in zip(plans, traits, strict=True)])
    keys = jax.vmap(lambda i: jax.random.fold_in(jax.random.key(seed), i))(jnp.arange(len(rows), dtype=jnp.uint32))
    grid, place = time_grid(0.0, wanted, world.spacing)
    cohort = Cohort(world, paths, keys)
    read = had_been(cohort, np.arange(len(rows)), paths.plan, grid)[:, place]
    x = np.array(paths.x)
    x[:, : len(wanted)] = read
    if not at_start:
        x[:, 0] = np.nan
    filled = eqx.tree_at(lambda p: p.x, paths, x)
    return Screen(Cohort(world, filled, keys), tuple(s for s, _ in rows), tuple(c for _, c in rows))


def _held(spec: WorldSpec, doses: Doses, until: float) -> Schedule:
    entries = []
    for name, dose in doses.items():
        card = spec.action(name)
        if spec.actions[card].kind == "bolus":
            raise ValueError(f"action {name!r}: found a bolus, expected what is held")
        entries.append(Entry(card, float(dose), 0.0, until, True))
    return schedule(entries)


def _traits(spec: WorldSpec, context: Mapping[str, str]) -> Float[np.ndarray, " s"]:
    found = np.zeros(spec.trait_width, np.float32)
    places = dict(zip((t.name for t in spec.traits), zip(spec.traits, spec.trait_places, strict=True), strict=True))
    for name, level in context.items():
        if name not in places or level not in places[name][0].levels:
            known = "; ".join(f"{t.name}: {', '.join(t.levels)}" for t in spec.traits) or "none"
            raise ValueError(f"found context {name}={level}, expected a trait and one of its levels ({known})")
        trait, place = places[name]
        found[place.start + trait.levels.index(level)] = 1.0
    return found


def _words(doses: Doses, context: Mapping[str, str]) -> str:
    given = "+".join(f"{name} {dose:g}" for name, dose in sorted(doses.items())) or "none"
    return ", ".join([given, *(f"{name}={level}" for name, level in context.items())])
