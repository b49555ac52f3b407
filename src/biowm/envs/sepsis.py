"""`biowm/ICUSepsis-v0`: fluids and vasopressors in intensive care, from the published tables."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

from biowm.worlds.patient.sepsis import HOURS, LONGEST, Sepsis, survived
from biowm.worlds.patient.sepsis_tables import ACTIONS, DEATH, LEVELS, LIVE, STATES, tables

from .base import Policy, Quantity, SubjectEnv

_world = functools.cache(Sepsis)  # its tables are large and never change
_begin = eqx.filter_jit(lambda world, key: world.begin(key=key))
_step = eqx.filter_jit(lambda world, state, action, key: world.step(state, action, key=key))


class ICUSepsis(SubjectEnv[np.int64, np.int64]):
    """Data sheet of `biowm/ICUSepsis-v0`: treat one patient with sepsis until discharge or death.

    - Patient: a Markov chain over 713 clusters of patients of MIMIC-III, from the tables of the package icu-sepsis.
    - Decision: every 4 h, 500 at most.
    - Observation: Discrete(716), the cluster, read exactly (a name: near numbers are not near patients); 713 is death,
      714 survival, 715 is never entered.
    - Action: Discrete(25), 5 x level of intravenous fluid + level of vasopressor; level 0 is none, 1 to 4 are quarters
      of the doses that were given, lowest first.
    - Reward: 1 on survival, else 0, undiscounted.
    - Cost: `info["cost"]`, 1 for an action that is too rare in the data for its effect to be known (not admissible),
      else 0; such an action leads where the admissible ones of its state lead on average.
    - `info`: "t" (h), "given" (levels of "fluid" and "vasopressor"), "sofa" (mean SOFA score of the cluster, points),
      "admissible" (25 flags).
    - End: terminated by death or survival; truncated after 500 decisions.

    Source: Choudhary et al. 2024, arXiv:2406.05646; its actions and clusters follow doi:10.1038/s41591-018-0213-5.
    """

    steps = LONGEST
    clock = "h"
    shows = (Quantity("state", ""),)
    gives = (Quantity("fluid", "level"), Quantity("vasopressor", "level"))

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode, self.world = render_mode, _world()
        self.observation_space = gymnasium.spaces.Discrete(STATES)
        self.action_space = gymnasium.spaces.Discrete(ACTIONS)
        self._state, self._made = DEATH, 0
        self._key = jax.random.key(0)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.int64, dict]:
        super().reset(seed=seed)
        self._key = jax.random.key(int(self.np_random.integers(2**31)))
        self._state, self._made = int(_begin(self.world, self._key)), 0
        return np.int64(self._state), self._info(0, 0.0)

    def step(self, action: np.int64) -> tuple[np.int64, float, bool, bool, dict[str, Any]]:
        if self._state >= LIVE or self._made >= LONGEST:
            raise RuntimeError("step after the end of an episode: expected reset() first")
        if not self.action_space.contains(action):
            raise ValueError(f"found action {action}, expected {self.action_space}")
        cost = 0.0 if tables().admissible[self._state, action] else 1.0
        self._made += 1
        key = jax.random.fold_in(self._key, self._made)
        now = jnp.asarray([self._state, int(action)], jnp.int32)
        self._state = int(_step(self.world, now[0], now[1], key))
        done = self._state >= LIVE
        reward = float(survived(jnp.asarray(self._state)))
        return np.int64(self._state), reward, done, not done and self._made == LONGEST, self._info(int(action), cost)

    def policies(self) -> Mapping[str, Policy]:
        return {"none": lambda rng: lambda seen: np.int64(0), "clinician": _clinician}

    def _info(self, action: int, cost: float) -> dict[str, Any]:
        fluid, vasopressor = divmod(action, LEVELS)
        known = tables().admissible
        return {
            "cost": cost,
            "t": HOURS * self._made,
            "given": {"fluid": float(fluid), "vasopressor": float(vasopressor)},
            "sofa": float(tables().sofa[self._state]),
            "admissible": known[self._state].copy() if self._state < LIVE else np.zeros(ACTIONS, bool),
        }


def _clinician(rng: np.random.Generator) -> Callable[[np.int64], np.int64]:
    """As clinicians do in the same state."""
    return lambda state: np.int64(rng.choice(ACTIONS, p=tables().clinician[state]))
