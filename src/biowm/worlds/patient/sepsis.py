"""Sepsis in intensive care: the tables of ICU-Sepsis as a functional world.

716 clusters of patients of MIMIC-III, 25 actions (5 levels of intravenous fluid x 5 of vasopressor, each for 4 h), and
where each leads (Choudhary et al. 2024, arXiv:2406.05646). It is no `World`: its state is a name, not a number, so
there is no mean reading and no slope in a dose; its clock counts decisions, so there is no half step; and the exact
belief is the state itself, which is read without error. It keeps what is left of the contract: pure functions of one
subject with explicit keys, for callers to vmap.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from biowm.core.tabular import Log

from .sepsis_tables import ACTIONS, LIVE, STATES, SURVIVAL, tables

HOURS = 4.0  # of one action
LONGEST = 500  # decisions; the package icu-sepsis stops there, too
_STRIDE = 32  # decisions that are simulated before episodes that have ended are put aside


class Sepsis(eqx.Module):
    """Where a patient with sepsis goes next, by inverse transform of the published tables.

    `first` and `rows` are cumulative probabilities. Source: arXiv:2406.05646.
    """

    first: Float[Array, " n"] = eqx.field(default_factory=lambda: _cumulative(tables().mdp.start))
    rows: Float[Array, "r n"] = eqx.field(default_factory=lambda: _cumulative(tables().mdp.rows))

    def begin(self, *, key: PRNGKeyArray) -> Int[Array, ""]:
        """The state of a new patient."""
        return _draw(self.first[None], jnp.zeros((), jnp.int32), key)

    def step(self, state: Int[Array, ""], action: Int[Array, ""], *, key: PRNGKeyArray) -> Int[Array, ""]:
        """The state after 4 h of `action` (5 x level of fluid + level of vasopressor); an end is for good."""
        alive = state < LIVE
        row = jnp.where(alive, state, 0) * ACTIONS + action
        return jnp.where(alive, _draw(self.rows, row, key), state)


def ended(state: Int[Array, "*b"]) -> Bool[Array, "*b"]:
    """Whether the patient has died or survived."""
    return state >= LIVE


def survived(state: Int[Array, "*b"]) -> Bool[Array, "*b"]:
    """Whether the patient has survived: the reward, 1, of the step that leads there."""
    return state == SURVIVAL


def _cumulative(p: Float[np.ndarray, "*r n"]) -> Float[Array, "*r n"]:
    """Cumulative probabilities that end at exactly 1."""
    total = p.cumsum(-1)
    return jnp.asarray(total / total[..., -1:], jnp.float32)


def _draw(cumulative: Float[Array, "r n"], row: Int[Array, ""], key: PRNGKeyArray) -> Int[Array, ""]:
    """The first entry of a row above a uniform number, by halving.

    `jnp.searchsorted` does the same, but under vmap it copies a whole row for each subject.
    """
    u, n = jax.random.uniform(key), cumulative.shape[1]

    def halve(_: Int[Array, ""], ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = (low + high) // 2
        above = cumulative[row, middle] > u
        return jnp.where(above, low, middle + 1), jnp.where(above, middle, high)

    ends = (jnp.zeros((), jnp.int32), jnp.full((), n - 1, jnp.int32))
    return jax.lax.fori_loop(0, (n - 1).bit_length(), halve, ends)[1]


@eqx.filter_jit
def _go_on(
    world: Sepsis, policy: Float[Array, "live a"], states: Int[Array, " e"], key: PRNGKeyArray
) -> tuple[Int[Array, "m e"], Int[Array, "t e"]]:
    """The states before each of the next `_STRIDE` decisions and after the last, and the actions."""

    def one(state: Int[Array, ""], key: PRNGKeyArray) -> tuple[Int[Array, ""], Int[Array, ""]]:
        act, move = jax.random.split(key)
        action = _draw(policy, jnp.minimum(state, LIVE - 1), act)
        return world.step(state, action, key=move), action

    def body(states: Int[Array, " e"], key: PRNGKeyArray) -> tuple[Array, tuple[Array, Array]]:
        after, action = jax.vmap(one)(states, jax.random.split(key, len(states)))
        return after, (after, action)

    _, (after, action) = jax.lax.scan(body, states, jax.random.split(key, _STRIDE))
    return jnp.concatenate([states[None], after]), action


def log(policy: Float[np.ndarray, "live a"], episodes: int, *, key: PRNGKeyArray) -> Log:
    """Episodes of patients treated by `policy`; the few that have not ended after 500 decisions are cut there."""
    world, cumulative = Sepsis(), _cumulative(policy)
    key, k_first = jax.random.split(key)
    first = np.asarray(jax.jit(jax.vmap(lambda k: world.begin(key=k)))(jax.random.split(k_first, episodes)))
    number, states, parts = np.arange(episodes), first, []
    for k in jax.random.split(key, -(-LONGEST // _STRIDE)):
        number, states = number[states < LIVE], states[states < LIVE]
        if not len(states):
            break
        size = 1 << (len(states) - 1).bit_length()  # few sizes, few compilations
        padded = np.concatenate([states, np.full(size - len(states), STATES - 1, states.dtype)])
        seen, action = (np.asarray(a)[:, : len(states)] for a in _go_on(world, cumulative, jnp.asarray(padded), k))
        made = seen[:-1] < LIVE
        who = np.broadcast_to(number, made.shape)
        parts.append([a[made] for a in (who, seen[:-1], action, seen[1:])])
        states = seen[-1]
    who, state, action, after = (np.concatenate(column).astype(np.int64) for column in zip(*parts, strict=True))
    order = np.argsort(who, kind="stable")
    return Log(who[order], state[order], action[order], after[order], first.astype(np.int64))
