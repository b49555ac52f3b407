"""A cohort drawn from the toy world `Decay`, and toy rules to examine it with."""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from biowm.core.forecast import forecast
from biowm.core.path import Path, stack
from biowm.core.rollout import rollout
from biowm.core.schedule import Entry, schedule
from biowm.core.world import World
from biowm.models.scale import fit_scale
from biowm.train.calibrate import Calibration, calibrate
from biowm.train.horizons import Horizons, ask
from tests.support.decay import Decay, DecayState


class Still(Decay):
    """The last value, with the spread of a random walk; actions are not looked at."""

    def predict(self, belief, action, dt):
        return eqx.tree_at(lambda b: b.t, belief, belief.t + dt)

    def step(self, state, action, dt, *, key):
        return DecayState(state.t + dt, state.x + self.sigma * jnp.sqrt(dt) * jax.random.normal(key, (1,)))

    def impulse(self, state, dose):
        return state


class Deaf(Decay):
    """Decay that forgets every action: an endpoint model that only knows the time."""

    def step(self, state, action, dt, *, key):
        return super().step(state, jnp.zeros_like(action), dt, key=key)

    def impulse(self, state, dose):
        return state


def promise(world: World, paths: Path, horizons: Horizons, factor: float = 1.0) -> Calibration:
    """The calibration of a world on a cohort, its bands made `factor` times as wide."""
    spec = world.spec
    asked = ask(paths, np.arange(len(paths.t)), horizons, origins=4, targets=spec.targets)
    draws = forecast(world, paths, asked.queries, key=jax.random.key(0), draws=60)
    scale = fit_scale(spec, np.asarray(paths.x))
    found = calibrate(spec, scale, asked, np.asarray(scale.to_z(jnp.asarray(draws))), len(horizons.values))
    return replace(found, pointwise=factor * found.pointwise, joint=factor * found.joint)


_rollout = eqx.filter_jit(rollout)


def cohort(n: int = 40, readings: int = 13, seed: int = 0, vary: bool = True) -> tuple[Path, tuple[str, ...]]:
    """`n` subjects of `Decay`, read about daily, each with its own changing rate of `u` (all alike if not `vary`)."""
    rng = np.random.default_rng(seed)
    world = Decay()
    paths = []
    for i in range(n):
        t = np.cumsum(rng.uniform(0.7, 1.3, readings)).astype(np.float32)
        doses = rng.uniform(0, 2, 4) if vary else np.ones(1)
        plan = schedule([Entry(0, float(d), 4.0 * k, 4.0 * k + (4.0 if vary else 40.0)) for k, d in enumerate(doses)])
        x0 = rng.uniform(0, 8)
        start = eqx.tree_at(lambda b: b.x, world.begin(jnp.zeros(0)), jnp.full(1, x0, jnp.float32))
        x = _rollout(world, start, plan, jnp.asarray(t), key=jax.random.key(seed * 1000 + i), draws=1)[0]
        paths.append(Path(t, np.asarray(x, np.float32), plan, np.zeros(0, np.float32), np.asarray(0, np.int32)))
    return stack(paths), tuple(f"s{i:02d}" for i in range(n))
